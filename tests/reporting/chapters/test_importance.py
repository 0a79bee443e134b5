# mypy: ignore-errors
"""What a study says of its hyperparameters: for the score, for failing, in a table, a figure and words."""

import numpy as np
import pandas as pd
import pytest

from ppo_tune.config.methods import RandomSamplerConfig, Sampler, TPESamplerConfig
from ppo_tune.reporting.analysis import importance
from ppo_tune.reporting.chapters.importance import chapter
from ppo_tune.search import effects
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
    planted(hand_made, 30, ending="completed")

    table = importance.importance_table(hand_made.record())

    assert list(table.columns) == list(importance.SCORE_COLUMNS)
    assert table["name"][0] == "learning_rate"
    assert table["clear"].tolist() == [True, False, False]
    assert table["direction"][0].startswith("the best completed within the KL budget at 0.00")
    assert table["direction"][1:].tolist() == ["not distinguishable from noise"] * 2


def runaways(hand_made: HandMade) -> None:
    """Scores rise with the learning rate, and beyond 2e-3 trials leave the KL budget or pass its limit."""
    rng = np.random.default_rng(3)
    for i, exponent in enumerate(np.linspace(-4, -2, 40)):
        rate = float(10**exponent)
        params = {"learning_rate": rate, "batch_size": int(rng.choice([8, 16, 32])), "ppo_epochs": 1 + i % 4}
        kl = 3 * 10 ** (exponent + 2.7)
        if kl > 6:
            hand_made.add("kl_limit", [float(exponent)] * 2, params=params, kl=kl)
        elif i % 3 == 0:
            hand_made.add("pruned", [float(exponent)] * 2, params=params, kl=kl)
        else:
            hand_made.add("completed", [float(exponent)] * 5, params=params, kl=kl)


def test_runaways_are_the_worst(hand_made: HandMade) -> None:
    runaways(hand_made)
    record = hand_made.record()

    sample, trials = importance.score_sample(record)
    row = importance.importance_table(record).set_index("name").loc["learning_rate"]

    failed = np.array([t.params["learning_rate"] > 2e-3 for t in trials])
    assert len(trials) == 40
    assert (sample.target[failed] == -4.0).all()
    assert not sample.mark(sample.target)[failed].any()
    assert row["clear"]
    low, high = (float(word) for word in row["direction"].split(" at ")[1].split(" to "))
    assert 5e-4 < low < high < 2.1e-3


def test_the_question_and_the_model_stand_beside_the_figure(hand_made: HandMade) -> None:
    runaways(hand_made)
    record = hand_made.record()

    section = chapter.chapter(record).sections[0]

    n_scores = sum(t.user_attrs["ending"] != "kl_limit" for t in record.trials)
    assert section.title == "For the score within the KL budget"
    assert section.reading.startswith("learning_rate (the best completed within the KL budget at ")
    assert (
        f" That is by the model of all results, with {n_scores} scores at full length, expected ones where a trial did "
        "not get there, and with every KL; a config beyond the KL budget counts as the lowest score. "
    ) in section.reading
    assert section.reading.endswith(chapter.TOTAL_EFFECT)
    assert section.figure is not None
    assert section.figure.layout.xaxis.title.text == "share of the variance of the score within the KL budget"
    assert len(section.figure.data) == 2  # evidence has no tick


def test_nothing_is_said_of_too_few_trials(hand_made: HandMade) -> None:
    planted(hand_made, 11)
    record = hand_made.record()

    table = importance.importance_table(record)

    assert table.empty
    assert chapter.score_reading(record, table) == (
        "Not enough evidence: 11 of 11 trials have a score and passed no limit, and 12 are needed."
    )
    assert [section.figure for section in chapter.chapter(record).sections] == [None, None]


def test_nothing_is_said_without_a_model(hand_made: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(hand_made, 12)
    monkeypatch.setattr(effects, "effects", lambda *_: [])
    record = hand_made.record()

    table = importance.importance_table(record)

    assert chapter.score_reading(record, table) == (
        "Not enough evidence: no model can be fitted to the results."
    )


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


def test_what_a_tick_means_stands_beside_it(hand_made: HandMade) -> None:
    planted(hand_made, 40, fails=True)
    record = hand_made.record()

    assert chapter.failing_reading(record, importance.failing_table(record)).endswith(chapter.LEGEND)


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
    planted(hand_made, 40, fails=True)
    table = importance.failing_table(hand_made.record())

    clear, other, noise = chapter.importance_figure(table, "this").data

    rows = table[table["clear"]].iloc[::-1]
    assert (clear.name, other.name) == ("stands out", importance.NOISE)
    assert (list(clear.y), list(clear.x)) == (list(rows["name"]), list(rows["share"].round(4)))
    assert clear.error_x.array == pytest.approx((rows["high"] - rows["share"]).to_numpy(), abs=1e-4)
    assert clear.error_x.arrayminus == pytest.approx((rows["share"] - rows["low"]).to_numpy(), abs=1e-4)
    assert len(other.y) == 3 - len(rows)
    assert dict(zip(noise.y, noise.x, strict=True)) == dict(
        zip(table["name"], table["noise"].round(4), strict=True)
    )
