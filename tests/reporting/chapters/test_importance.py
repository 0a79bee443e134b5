# mypy: ignore-errors
"""What a study says of its hyperparameters: for the score, for failing, in a table, a figure and words."""

import numpy as np
import pandas as pd
import pytest

from ppo_tune.config.methods import RandomSamplerConfig, Sampler, TPESamplerConfig
from ppo_tune.reporting.analysis import compared, importance
from ppo_tune.reporting.analysis.evidence import COLUMNS
from ppo_tune.reporting.chapters.importance import chapter
from tests.reporting.conftest import HandMade


def planted(
    hand_made: HandMade, n: int, *, noise: bool = False, fails: bool = False, ending: str = "pruned"
) -> None:
    """Trials whose score follows the learning rate alone, or nothing; those with a high one may diverge."""
    rng = np.random.default_rng(1)
    for _ in range(n):
        rate = float(10 ** rng.uniform(-4, -2))
        params = {
            "learning_rate": rate,
            "batch_size": int(rng.choice([8, 16, 32])),
            "ppo_epochs": int(rng.integers(1, 5)),
        }
        score = float(rng.normal()) if noise else np.log10(rate) + 0.05 * float(rng.normal())
        if fails and rate > 4e-3:
            hand_made.add("diverged", [], params=params)
        else:
            scores = [score] * (5 if ending == "completed" else 2)
            hand_made.add(ending, scores, params=params)


def test_the_planted_parameter_stands_out(hand_made: HandMade) -> None:
    planted(hand_made, 40, ending="completed")

    table = importance.importance_table(hand_made.record())

    assert list(table.columns) == ["name", *COLUMNS, "clear", "direction"]
    assert table["name"][0] == "learning_rate"
    assert table["clear"].tolist() == [True, False, False]
    assert table["direction"][0].startswith("higher is better, half of the best quarter at 0.00")
    assert table["direction"][1:].tolist() == ["not distinguishable from noise"] * 2


def runaways(hand_made: HandMade) -> None:
    """Early scores rise with the learning rate; beyond 2e-3 trials leave the KL limit, and at the end 1e-3 is best.

    Of those that are completed within the budget the order at the end is not that of the second milestone.
    """
    rng = np.random.default_rng(3)
    for i, exponent in enumerate(np.linspace(-4, -2, 40)):
        rate = float(10**exponent)
        params = {"learning_rate": rate, "batch_size": int(rng.choice([8, 16, 32])), "ppo_epochs": 1 + i % 4}
        early = float(exponent)
        if rate > 2e-3:
            hand_made.add("kl_limit", [early, early], params=params, kl=9.0)
        else:
            last = -abs(exponent + 3) if i % 3 == 0 else -2 - float(rng.random())
            hand_made.add("completed", [early, early, early, early, last], params=params)


def test_runaways_are_not_the_best_and_early_scores_give_no_direction(hand_made: HandMade) -> None:
    runaways(hand_made)
    record = hand_made.record()

    sample = importance.score_sample(record)
    table = importance.importance_table(record)
    reading = chapter.score_reading(record, table)

    failed = np.array([t.params["learning_rate"] > 2e-3 for t in record.trials])
    assert (sample.target[failed] == -4.0).all()  # the lowest score of all
    assert not sample.mark(sample.target)[failed].any()
    assert importance.early_sample(record).target[failed].min() > -2.8  # as they were
    assert "better" not in reading
    ends = [t for t in record.trials if not t.params["learning_rate"] > 2e-3]
    best = sorted(ends, key=lambda t: t.value)[-7:]  # a quarter of 26, rounded up
    low, high = (f(t.params["learning_rate"] for t in best) for f in (min, max))
    row = table.set_index("name").loc["learning_rate"]
    assert row["clear"]
    assert row["direction"] == f"the best completed within the KL budget at {low:.3g} to {high:.3g}"


def test_the_target_its_episode_and_the_caveat_stand_beside_the_figure(hand_made: HandMade) -> None:
    runaways(hand_made)
    record = hand_made.record()

    section = chapter.chapter(record).sections[0]

    n_failed = sum(t.params["learning_rate"] > 2e-3 for t in record.trials)
    assert section.reading.startswith(
        f"40 trials compared by their scores after 256 episodes (40 %). {n_failed} that left the KL budget or diverged "
        "count as the worst. "
    )
    assert "cannot be told from chance as a forecast of the end (rank agreement τ" in section.reading
    assert "So no direction is read from them." in section.reading
    assert section.figure is not None
    assert section.figure.layout.xaxis.title.text == (
        "share of the variance of being in the best quarter after 256 episodes (40 %)"
    )


def test_scores_of_the_end_need_no_caveat(hand_made: HandMade) -> None:
    planted(hand_made, 40, ending="completed")
    record = hand_made.record()

    reading = chapter.score_reading(record, importance.importance_table(record))

    assert reading.startswith(
        "40 trials compared by their scores at the end. learning_rate (higher is better"
    )
    assert "foretell" not in reading
    assert "chance" not in reading.partition(chapter.LEGEND)[0]


def test_early_scores_that_foretell_the_end_may_give_a_direction(hand_made: HandMade) -> None:
    planted(hand_made, 20)
    planted(hand_made, 20, ending="completed")
    record = hand_made.record()

    seen = compared.foresight(record)

    assert (seen.episodes, seen.tells) == (256, True)
    assert "agree with those of the end (rank agreement τ +1.00)." in seen.words
    assert importance.importance_table(record)["direction"][0].startswith("higher is better")


def test_too_few_trials_at_the_end_foretell_nothing(hand_made: HandMade) -> None:
    planted(hand_made, 40)
    record = hand_made.record()

    reading = chapter.score_reading(record, importance.importance_table(record))

    assert (
        "learning_rate (too few completed within the KL budget to say which values are good) stands out."
        in reading
    )
    assert "Too few trials reached the end to say whether such scores foretell it." in reading


def test_nothing_is_said_of_too_few_trials(hand_made: HandMade) -> None:
    planted(hand_made, 11)
    record = hand_made.record()

    table = importance.importance_table(record)

    assert table.empty
    assert chapter.score_reading(record, table) == (
        "Not enough evidence: 11 of 11 trials have a score after 256 episodes (40 %), and 12 are needed."
    )
    assert [section.figure for section in chapter.chapter(record).sections] == [None, None]


def test_pure_noise_is_called_noise(hand_made: HandMade) -> None:
    planted(hand_made, 40, noise=True)
    record = hand_made.record()

    table = importance.importance_table(record)

    assert not table["clear"].any()
    assert "No hyperparameter is distinguishable from noise." in chapter.score_reading(record, table)
    assert [section.anchor for section in chapter.chapter(record).sections] == [
        "importance-score",
        "importance-failing",
    ]


def test_trials_are_compared_where_the_first_was_pruned(hand_made: HandMade) -> None:
    """One ended at the first milestone, before any may be pruned; of the others the shortest reached the third."""
    hand_made.add("kl_limit", [9.0])
    hand_made.add("pruned", [0.0, 0.0, 1.0])
    hand_made.add("completed", [0.0, 0.0, 2.0, 3.0, 4.0])
    hand_made.add("running", [0.0, 0.0])
    hand_made.add("running", [0.0, 0.0, 5.0])

    record = hand_made.record()

    assert compared.compared(record)[0] == 3
    assert importance.score_sample(record).target.tolist() == [1.0, 2.0, 5.0]


def test_a_score_that_is_not_a_number_is_not_compared(hand_made: HandMade) -> None:
    hand_made.add("pruned", [0.0, 1.0])
    hand_made.add("diverged", [0.0, float("nan")])

    assert importance.score_sample(hand_made.record()).target.tolist() == [1.0]


def test_what_makes_trials_fail_is_found(hand_made: HandMade) -> None:
    planted(hand_made, 40, fails=True)
    record = hand_made.record()

    table = importance.failing_table(record)

    n_failed = sum(trial.params["learning_rate"] > 4e-3 for trial in record.trials)
    assert table["name"][0] == "learning_rate"
    assert table["clear"][0]
    assert chapter.failing_reading(record, table).startswith(
        f"{n_failed} of 40 ended trials diverged or went beyond the KL limit. learning_rate (fails more when high, "
        "half of the failed at 0.00"
    )


def test_failing_needs_five_that_do_and_five_that_do_not(hand_made: HandMade) -> None:
    for i in range(12):
        hand_made.add("kl_limit" if i < 4 else "pruned", [0.0, 0.0])
    hand_made.add("out_of_memory", [])
    hand_made.add("running", [0.0])
    record = hand_made.record()

    table = importance.failing_table(record)

    assert table.empty
    assert chapter.failing_reading(record, table) == (
        "4 of 12 ended trials diverged or went beyond the KL limit; not enough evidence to say why: 5 that do and 5 "
        "that do not are needed."
    )


def test_a_study_in_which_nothing_failed_says_so(usual: HandMade) -> None:
    usual.study = type(usual)(usual.folder).study
    usual.add("completed", [1.0] * 5)

    record = usual.record()

    assert chapter.failing_reading(record, importance.failing_table(record)) == (
        "None of 1 ended trials diverged or went beyond the KL limit."
    )


def test_an_empty_study_has_no_chapter(hand_made: HandMade) -> None:
    assert chapter.chapter(hand_made.record()).sections == ()


def table_of(clear: list[bool]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": list("abc"),
            "clear": clear,
            "direction": ["higher is better", "best with 8", "lower is better"],
        }
    )


@pytest.mark.parametrize(
    ("clear", "words"),
    [
        ([False] * 3, "No hyperparameter is distinguishable from noise."),
        ([True, False, False], "a (higher is better) stands out. b and c are not distinguishable from noise."),
        ([True, True, False],
         "a (higher is better) and b (best with 8) stand out. c is not distinguishable from noise."),
        ([True] * 3, "a (higher is better), b (best with 8) and c (lower is better) stand out."),
    ],
)  # fmt: skip
def test_words_name_what_is_clear_and_what_is_not(clear: list[bool], words: str) -> None:
    assert chapter.clear_reading(table_of(clear)) == words


@pytest.mark.parametrize(
    ("clear", "sampler", "warned"),
    [
        ([True, True, False], TPESamplerConfig(name="tpe"), True),
        ([True, True, False], RandomSamplerConfig(name="random"), False),
        ([True, False, False], TPESamplerConfig(name="tpe"), False),
    ],
)
def test_two_that_stand_out_of_a_search_that_learns_may_have_moved_together(
    hand_made: HandMade, clear: list[bool], sampler: Sampler, warned: bool
) -> None:
    search = hand_made.config.search.model_copy(update={"sampler": sampler})
    hand_made.config = hand_made.config.model_copy(update={"search": search})

    assert ("went along with another" in chapter.score_reading(hand_made.record(), table_of(clear))) == warned


def test_the_figure_shows_shares_with_intervals_and_noise(hand_made: HandMade) -> None:
    planted(hand_made, 40)
    table = importance.importance_table(hand_made.record())

    clear, other, noise = chapter.importance_figure(table, "this").data

    row = table.iloc[0]
    assert (clear.name, other.name) == ("stands out", importance.NOISE)
    assert (list(clear.y), list(clear.x)) == ([row["name"]], [round(row["ped_anova"], 4)])
    assert clear.error_x.array[0] == pytest.approx(row["ped_high"] - row["ped_anova"], abs=1e-4)
    assert clear.error_x.arrayminus[0] == pytest.approx(row["ped_anova"] - row["ped_low"], abs=1e-4)
    assert len(other.y) == 2
    assert dict(zip(noise.y, noise.x, strict=True)) == dict(
        zip(table["name"], table["ped_noise"].round(4), strict=True)
    )
