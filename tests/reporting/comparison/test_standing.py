"""Who is ahead at equal spend and who got there first, and no more certainty than so few runs give."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.reporting.comparison import standing
from ppo_tune.reporting.comparison.best_so_far import progress_table
from ppo_tune.reporting.comparison.comparability import Contender
from tests.reporting.contenders import make

FULL = 640


def study(folder: Path, label: str, *scores: float, **changes: Any) -> Contender:
    """Completed trials of 640 episodes and 10 seconds, one after the other."""
    trials = [("completed", [score] * 5) for score in scores]
    return make(folder, label, trials, spans=[(10 * i, 10 * i + 10) for i in range(len(scores))], **changes)


def lines(**bests: list[float | None]) -> pd.DataFrame:
    """A table of progress: the best so far after each 100 episodes and second."""
    rows = [
        {"study": label, "episodes": 100 * i, "seconds": float(i), "best_so_far": best}
        for label, values in bests.items()
        for i, best in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows).astype({"best_so_far": float})


def test_studies_are_compared_where_the_smallest_ended(tmp_path: Path) -> None:
    quick = study(tmp_path, "quick", 0.5, 0.9)
    slow = study(tmp_path, "slow", 0.5, 0.7, 2.0, sampler="random")

    words = standing.at_equal_spend([slow, quick], progress_table([slow, quick]))

    assert words == (
        "After the same 1,280 episodes (all of the smallest study) the best score is 0.900 in quick and 0.700 in slow."
    )


def test_a_study_without_a_best_is_named(tmp_path: Path) -> None:
    ready = study(tmp_path, "ready", 0.5)
    barren = make(tmp_path, "barren", [("completed", [0.9] * 5, {"kl": 9.0})], sampler="random")

    words = standing.at_equal_spend([ready, barren], progress_table([ready, barren]))

    assert words == (
        "After the same 640 episodes the best score is 0.500 in ready. "
        "barren had no completed trial within the KL budget by then."
    )


def test_seeds_stand_together_with_mean_and_range(tmp_path: Path) -> None:
    runs = [study(tmp_path, f"s{i}", score, seed=i) for i, score in enumerate((0.2, 0.6, 0.7))]
    other = study(tmp_path, "other", 0.4, sampler="random")

    words = standing.at_equal_spend([*runs, other], progress_table([*runs, other]))

    assert words.endswith(
        "the best score is 0.500 (0.200 to 0.700 over 3 runs) in s0 (3 runs) and 0.400 in other."
    )


def test_only_the_first_few_of_many_are_named(tmp_path: Path) -> None:
    many = [study(tmp_path, f"s{i}", float(i), ppo={"kl_coef": 0.1 + i}) for i in range(8)]

    words = standing.at_equal_spend(many, progress_table(many))

    assert words.endswith(
        "7.000 in s7, 6.000 in s6, 5.000 in s5, 4.000 in s4, 3.000 in s3 and less in 3 others."
    )


def test_before_any_trial_ended_there_is_nothing_to_say(tmp_path: Path) -> None:
    both = [make(tmp_path, "a"), make(tmp_path, "b", sampler="random")]

    assert standing.at_equal_spend(both, progress_table(both)) == "No trial has ended yet."
    assert standing.certainty(both, progress_table(both)) == ""


def certainty(folder: Path, *groups: list[float]) -> str:
    """What is said of groups of seeds that end at these scores."""
    contenders = [
        study(folder, f"g{g}s{s}", score, seed=s, ppo={"kl_coef": 0.1 + g})
        for g, scores in enumerate(groups)
        for s, score in enumerate(scores)
    ]
    return standing.certainty(contenders, progress_table(contenders))


def test_one_run_each_shows_nothing_about_samplers(tmp_path: Path) -> None:
    words = certainty(tmp_path, [0.5], [0.9])

    assert words.startswith("A single run cannot show that one way of searching is better than another")
    assert words.endswith(
        "Studies that differ in nothing but search.seed are shown as one, with their range."
    )


def test_ranges_that_overlap_show_nothing_either(tmp_path: Path) -> None:
    assert certainty(tmp_path, [0.5, 0.8], [0.7, 0.9]).startswith(
        "Where ranges overlap, these runs do not show"
    )


def test_ranges_apart_come_with_the_chance_that_nothing_is_behind_them(tmp_path: Path) -> None:
    words = certainty(tmp_path, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6])

    # Of the 20 ways to deal six scores to three and three, two keep the groups apart.
    assert words == (
        "The ranges do not overlap; with 3 and 3 runs chance alone would do that in 10 % of cases."
    )


def test_runs_of_one_way_of_searching_show_what_the_seed_does(tmp_path: Path) -> None:
    assert certainty(tmp_path, [0.1, 0.2]) == "So there is nothing to compare but seeds."


def test_levels_are_round_and_lie_between_where_all_began_and_the_best() -> None:
    progress = lines(a=[0.22, 0.9, 1.16], b=[0.61, 0.61, 1.03])

    assert standing.levels(progress) == [0.7, 0.8, 0.9, 1.0, 1.1]


@pytest.mark.parametrize(
    "progress", [lines(a=[0.5, 0.5], b=[0.5, 0.4]), lines(a=[None, None])], ids=["no-rise", "nothing"]
)
def test_without_a_rise_there_are_no_levels(progress: pd.DataFrame) -> None:
    assert standing.levels(progress) == []
    assert standing.reach_table(progress).empty


@given(st.floats(1e-6, 1e6))
def test_a_round_step_is_the_next_of_1_2_and_5(least: float) -> None:
    step = standing.round_step(least)

    assert least * (1 - 1e-6) <= step <= 2.5 * least * (1 + 1e-6)
    assert f"{step:.0e}"[0] in "125"


def test_the_first_to_reach_what_all_reached_is_named_first() -> None:
    table = standing.reach_table(lines(slow=[0.1, 0.3, 0.85], quick=[0.1, 0.85, 0.9]))

    assert (
        standing.reach_reading(table) == "quick reached 0.8 after 200 episodes (2 s), slow after 300 (3 s)."
    )


def test_who_never_got_there_is_named_too() -> None:
    table = standing.reach_table(lines(a=[0.1, 0.9], b=[0.1, 0.1], c=[0.1, 0.9]))

    assert (
        standing.reach_reading(table)
        == "a reached 0.9 after 200 episodes (2 s), c after 200 (2 s); b did not."
    )


def test_every_level_has_a_row_and_every_study_a_column() -> None:
    words = standing.reach_words(standing.reach_table(lines(z=[0.1, 0.5, 0.5], a=[0.1, 0.1, 0.3])))

    assert words.columns.tolist() == ["score", "z", "a"]
    assert words["score"].tolist() == pytest.approx([0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5])
    assert words["z"].tolist() == ["200 (2 s)"] * 8
    assert words["a"].tolist() == ["300 (3 s)"] * 4 + ["–"] * 4
