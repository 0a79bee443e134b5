"""Score against KL: what nothing beats, and what each KL budget could have bought."""

import math

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppo_tune.files import write_json
from ppo_tune.reporting.chapters import front
from ppo_tune.reporting.section import Section
from tests.reporting.conftest import HandMade


def write_base(hand_made: HandMade, score: float = 0.0, gold: float | None = 0.0) -> None:
    facts = {"score": score, "gold": gold, "kl_per_sequence": 0.0, "score_standard_error": 0.1}
    write_json(
        hand_made.folder / "base.json",
        {**{f"heldout/{name}": value for name, value in facts.items()}, "n_prompts": 64, "samples": []},
    )


def section_of(hand_made: HandMade) -> Section:
    (section,) = front.chapter(hand_made.record()).sections
    return section


def test_kl_counts_each_trial_once(usual: HandMade) -> None:
    assert section_of(usual).reading.endswith("2 of 7 trials went beyond 3 nats.")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    points=st.lists(
        st.tuples(st.integers(1, 9).map(lambda i: i / 2), st.integers(-3, 9).map(float)),
        min_size=1,
        max_size=8,
    )
)
def test_the_front_is_what_nothing_beats(
    points: list[tuple[float, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    hand_made = HandMade(tmp_path_factory.mktemp("study"))
    write_base(hand_made)
    for kl, score in points:
        hand_made.add("completed", [score], kl=kl)

    table = front.front_table(hand_made.record())

    everything = {(0.0, 0.0), *points}
    unbeaten = {
        (kl, score)
        for kl, score in everything
        if not any(k <= kl and s >= score and (k, s) != (kl, score) for k, s in everything)
    }
    assert set(zip(table["kl"], table["score"], strict=True)) == unbeaten
    assert table["kl"].is_monotonic_increasing
    assert len(table) == len(unbeaten)


def test_trials_that_were_not_completed_are_not_on_the_front_and_those_beyond_the_budget_are(
    usual: HandMade,
) -> None:
    usual.add("pruned", [9.0], kl=0.01)

    table = front.front_table(usual.record())

    assert table["number"].tolist() == [front.UNTRAINED, 0, 1, 2]
    assert table["kl"].tolist() == [0.0, 0.5, 2.5, 3.5]  # the budget is 3


def test_without_the_untrained_model_the_front_begins_at_the_first_trial(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0], kl=2.0)

    assert front.front_table(hand_made.record())["number"].tolist() == [0]


@pytest.mark.parametrize(
    ("kls", "budgets"),
    [
        ([], [3.0]),
        ([2.0], [3.0]),
        ([1.4], [1.5, 3.0]),
        ([0.01], [0.375, 0.75, 1.5, 3.0]),
        ([2.0, 3.5], [3.0, 6.0]),
        ([1.0, 500.0], [1.5, 3.0, 6.0, 12.0, 24.0, 48.0]),
    ],
)
def test_budgets_are_halves_and_doubles_of_the_studys_own(kls: list[float], budgets: list[float]) -> None:
    table = pd.DataFrame({"number": [-1, *range(len(kls))], "kl": [0.0, *kls]})

    assert front.budgets_of(3.0, table) == budgets


def test_each_budget_has_its_best_trial_and_what_it_gains(usual: HandMade) -> None:
    table = front.budgets_table(usual.record())

    assert table["budget"].tolist() == [0.75, 1.5, 3.0, 6.0]
    assert table["best"].tolist() == ["trial 0", "trial 0", "trial 1", "trial 2"]
    assert table["score"].tolist() == [0.5, 0.5, 1.0, 1.6]
    assert table["gold"].tolist() == [0.5, 0.5, 0.8, 0.1]
    assert table["kl"].tolist() == [0.5, 0.5, 2.5, 3.5]
    assert table["gain"].tolist() == pytest.approx(
        [1.0, 0.0, 0.5, 0.6]
    )  # the first over the untrained model's -0.5
    assert table["gold_gain"].tolist() == pytest.approx([0.2, 0.0, 0.3, -0.7])
    reach = 1.959964 * 0.1 * math.sqrt(2)
    assert (table["gain_high"] - table["gain"]).tolist() == pytest.approx(
        [reach, 0.0, reach, reach], abs=1e-6
    )


def test_the_words_say_what_the_budget_bought_and_what_twice_of_it(usual: HandMade) -> None:
    words = section_of(usual).reading

    assert "Within 3 nats the search's best is trial 1 with 1.000." in words
    assert (
        "Doubling the budget from 1.5 to 3 nats bought +0.50 (95 % +0.22 to +0.78), and +0.30 of gold."
        in words
    )
    assert (
        "Twice the budget, 6 nats, where the search does not look for its best, bought +0.60 (95 % +0.32"
        in words
    )
    assert "3 of 3 completed trials are on the front" in words


def test_a_budget_that_buys_nothing_says_so(hand_made: HandMade) -> None:
    write_base(hand_made)
    hand_made.add("completed", [1.0], kl=0.5)
    hand_made.add("completed", [0.5], kl=5.0)

    assert "from 1.5 to 3 nats bought nothing" in section_of(hand_made).reading


def test_a_single_trial_is_measured_against_the_untrained_model(hand_made: HandMade) -> None:
    write_base(hand_made, gold=None)
    hand_made.add("completed", [1.0], kl=2.0)

    words = section_of(hand_made).reading

    assert (
        "Within 3 nats the search's best is trial 0 with 1.000. That is +1.00 (95 % +0.72 to +1.28) over the untrained"
        in words
    )


def test_a_front_of_the_untrained_model_alone_says_so(hand_made: HandMade) -> None:
    write_base(hand_made)
    hand_made.add("completed", [-1.0], kl=2.0)

    section = section_of(hand_made)

    assert section.reading.startswith(
        "No completed trial scores more than the untrained model, so there is no front"
    )
    assert section.table is not None
    assert section.table["best"].tolist() == ["untrained model"]


def test_without_a_completed_trial_there_is_no_front(hand_made: HandMade) -> None:
    hand_made.add("pruned", [1.0])

    section = section_of(hand_made)

    assert section.reading.startswith("No trial is completed yet, so there is no front.")
    assert section.table is not None
    assert section.table.empty
    assert section.figure is not None
    assert "best score at no more KL" not in [trace.name for trace in section.figure.data]


def test_without_a_score_there_is_no_chapter(hand_made: HandMade) -> None:
    assert front.chapter(hand_made.record()).sections == ()


def test_the_front_is_drawn_as_steps_to_the_largest_kl(usual: HandMade) -> None:
    figure = section_of(usual).figure

    assert figure is not None
    steps = next(trace for trace in figure.data if trace.name == "best score at no more KL")
    assert steps.line.shape == "hv"
    assert list(steps.x) == pytest.approx(
        [0.0, 0.5**0.5, 2.5**0.5, 3.5**0.5, 3.0], abs=1e-4
    )  # the last is 9 nats
    assert list(steps.y) == [-0.5, 0.5, 1.0, 1.6, 1.6]
    faint = next(trace for trace in figure.data if trace.name == "not completed, at its last score")
    assert len(faint.x) == 3  # pruned, over the limit, running
    plain = next(trace for trace in figure.data if trace.name == "completed")
    assert faint.marker.opacity < plain.marker.opacity


def test_a_wild_trial_does_not_flatten_the_front_and_is_counted(hand_made: HandMade) -> None:
    write_base(hand_made)
    for i in range(9):
        hand_made.add("completed", [0.1 * i] * 5, kl=0.3 * i)
    hand_made.add("completed", [1e6] * 5, kl=1e5)

    section = section_of(hand_made)

    assert section.reading.endswith("1 of 10 trials went beyond 3 nats. 1 lies outside the axes.")
    assert section.figure is not None
    assert section.figure.layout.xaxis.range[1] < 2
    assert section.figure.layout.yaxis.range[1] < 1


def test_trials_of_one_config_are_one_point_of_the_front(hand_made: HandMade) -> None:
    """0.9 and 0.5 at 1 and 2 nats are 0.7 at 1.5, which 0.8 at 1.2 beats; it goes by its first trial."""
    cells = [{"learning_rate": rate, "batch_size": 16, "ppo_epochs": 2} for rate in (1e-4, 1e-3)]
    for cell, score, kl in ((0, 0.9, 1.0), (1, 0.8, 1.2), (0, 0.5, 2.0)):
        hand_made.add("completed", [score] * 5, gold=[score] * 5, params=cells[cell], kl=kl)
    beaten = hand_made.record()
    hand_made.add("completed", [1.6] * 5, gold=[1.6] * 5, params=cells[0], kl=3.0)  # 1.0 at 2.0 nats
    ahead = hand_made.record()

    assert front.front_table(beaten)["number"].tolist() == [1]
    assert front.front_table(ahead)["number"].tolist() == [1, 0]
    row = front.budgets_table(ahead).set_index("budget").loc[3.0]
    assert (row["best"], row["score"], row["kl"], row["gold"]) == pytest.approx(("trial 0", 1.0, 2.0, 1.0))
