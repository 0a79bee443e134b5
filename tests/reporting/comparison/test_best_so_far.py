# mypy: ignore-errors
"""The best so far against what was spent: every episode is counted, and only what may win counts as best."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_tune.reporting.analysis.spend import busy_seconds
from ppo_tune.reporting.comparison import best_so_far
from ppo_tune.reporting.comparison.beside import summary_table
from ppo_tune.reporting.comparison.comparability import Contender
from tests.reporting.contenders import make

FULL = 640


def completed(score: float, **more: Any) -> tuple[str, list[float], dict[str, Any]]:
    return "completed", [score] * 5, more


@pytest.fixture
def slow(tmp_path: Path) -> Contender:
    """Default 0.5; one pruned after 256 episodes; 0.9; 0.7; 2.0 beyond the KL budget."""
    trials = [completed(0.5), ("pruned", [0.1, 0.2]), completed(0.9), completed(0.7), completed(2.0, kl=3.5)]
    return make(tmp_path, "slow", trials, spans=[(0, 10), (10, 12), (12, 22), (100, 110), (105, 115)])


def test_episodes_of_all_trials_are_spent_and_only_completed_ones_within_the_budget_are_best(
    slow: Contender,
) -> None:
    table = best_so_far.progress_table([slow])

    assert table["episodes"].tolist() == [FULL, FULL + 256, 2 * FULL + 256, 3 * FULL + 256, 4 * FULL + 256]
    assert table["best_so_far"].tolist() == [0.5, 0.5, 0.9, 0.9, 0.9]
    assert table["gain"].tolist() == pytest.approx([0.0, 0.0, 0.4, 0.4, 0.4])


def test_a_pause_is_not_counted_and_trials_side_by_side_count_once(slow: Contender) -> None:
    table = best_so_far.progress_table([slow])

    assert table["seconds"].tolist() == [10.0, 12.0, 22.0, 32.0, 37.0]


def test_trials_count_when_they_end_and_not_by_their_numbers(tmp_path: Path) -> None:
    study = make(tmp_path, "a", [completed(0.5), completed(0.9)], spans=[(0, 30), (0, 10)])

    table = best_so_far.progress_table([study])

    assert table["trial"].tolist() == [1, 0]
    assert table["best_so_far"].tolist() == [0.9, 0.9]
    assert table["seconds"].tolist() == [10.0, 30.0]


def test_a_trial_that_was_cut_off_is_paid_for(tmp_path: Path) -> None:
    study = make(tmp_path, "a", [completed(0.5), ("lost", [0.4, 0.6])])

    table = best_so_far.progress_table([study])

    assert table["ending"].tolist() == ["completed", "lost"]
    assert table["episodes"].tolist() == [FULL, FULL + 256]


def test_a_running_trial_is_not_there_yet(tmp_path: Path) -> None:
    study = make(tmp_path, "a", [completed(0.5), ("running", [0.4])])

    assert best_so_far.progress_table([study])["trial"].tolist() == [0]


def test_the_smallest_kl_budget_holds_for_all_whose_scores_are_compared(tmp_path: Path) -> None:
    far = [completed(0.5, kl=0.1), completed(0.9, kl=2.5)]
    wide = make(tmp_path, "wide", far, kl_budget=3.0)
    narrow = make(tmp_path, "narrow", [completed(0.4, kl=0.1)], kl_budget=2.0)
    other = make(tmp_path, "other", [completed(0.4, kl=0.1)], kl_budget=2.0, task={"heldout_prompts": 5})

    def best(*contenders: Contender) -> float:
        return float(best_so_far.progress_table(contenders).groupby("study")["best_so_far"].max()["wide"])

    assert best(wide, narrow) == 0.5
    assert best(wide, other) == 0.9  # not compared, so each has its own budget


def test_without_a_completed_default_there_is_no_gain(tmp_path: Path) -> None:
    lost = make(tmp_path, "a", [("kl_limit", [0.5]), completed(0.9)])
    other = make(tmp_path, "b", [completed(0.5)], task={"heldout_prompts": 5})

    table = best_so_far.progress_table([lost, other])

    assert table[table["study"] == "a"]["gain"].isna().all()
    words = best_so_far.lines_reading([lost, other], table, shared=False)
    assert words.endswith("a has no line: its default config was not completed.")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), min_size=1, max_size=8))
def test_busy_seconds_are_those_in_which_any_trial_ran(spans: list[tuple[int, int]]) -> None:
    spans = sorted(spans, key=lambda span: sum(span))

    busy = busy_seconds(*np.array([(start, start + length) for start, length in spans], dtype=float).T)

    ran = [
        {t for start, length in spans for t in range(start, start + length) if t < sum(end)} for end in spans
    ]
    assert busy.tolist() == [len(seconds) for seconds in ran]


def test_busy_seconds_of_nothing_are_nothing() -> None:
    assert busy_seconds(np.zeros(0), np.zeros(0)).tolist() == []


def test_a_line_of_seeds_is_their_mean_and_range_and_keeps_what_ended(tmp_path: Path) -> None:
    one = make(tmp_path, "one", [completed(0.2), completed(0.8)], seed=0)
    two = make(tmp_path, "two", [("pruned", [0.0]), completed(0.4), completed(0.6)], seed=1)
    progress = best_so_far.progress_table([one, two])

    lines = best_so_far.lines_table(progress, [one, two], "episodes", "best_so_far")

    # one: 0.2 at 640, 0.8 at 1280. two: 0.4 at 128 + 640, 0.6 at 128 + 1280.
    assert lines["study"].unique().tolist() == ["one (2 runs)"]
    assert lines["episodes"].tolist() == [768, 1280, 1408]
    assert lines["mean"].tolist() == pytest.approx([0.3, 0.6, 0.7])
    assert lines["low"].tolist() == pytest.approx([0.2, 0.4, 0.6])
    assert lines["high"].tolist() == pytest.approx([0.4, 0.8, 0.8])


def test_comparable_studies_share_one_panel_and_are_told_apart_by_colour_and_dash(tmp_path: Path) -> None:
    contenders = [make(tmp_path, name, [completed(0.5)], sampler=name) for name in ("tpe", "random", "qmc")]
    progress = best_so_far.progress_table(contenders)

    sections = best_so_far.sections(contenders, progress)

    figure = sections[0].figure
    assert figure is not None
    assert [trace.name for trace in figure.data] == ["tpe", "random", "qmc"]
    assert (
        len({trace.line.color for trace in figure.data})
        == len({trace.line.dash for trace in figure.data})
        == 3
    )
    assert {trace.yaxis for trace in figure.data} == {"y"}
    assert {trace.line.shape for trace in figure.data} == {"hv"}


def test_studies_that_cannot_be_compared_have_panels_of_their_own_and_no_ranking(tmp_path: Path) -> None:
    contenders = [make(tmp_path, "a", [completed(0.5), completed(0.7)]),
                  make(tmp_path, "b", [completed(50.0), completed(60.0)], task={"heldout_prompts": 5})]  # fmt: skip
    progress = best_so_far.progress_table(contenders)

    sections = best_so_far.sections(contenders, progress)

    assert [section.anchor for section in sections] == ["against-episodes", "against-seconds"]
    figure = sections[0].figure
    assert figure is not None
    assert [trace.yaxis for trace in figure.data] == ["y", "y2"]
    assert [list(trace.y) for trace in figure.data] == [[0.0, 0.2], [0.0, 10.0]]
    assert "their heights do not compare" in sections[0].reading


def test_a_band_stands_behind_seeds_only(tmp_path: Path) -> None:
    seeds = [make(tmp_path, f"s{i}", [completed(0.5 + i)], seed=i) for i in range(2)]
    alone = make(tmp_path, "alone", [completed(0.7)], sampler="random")
    contenders = [*seeds, alone]
    lines = best_so_far.lines_table(
        best_so_far.progress_table(contenders), contenders, "episodes", "best_so_far"
    )

    figure = best_so_far.lines_figure(lines, "episodes", best_so_far.styles(contenders), shared=True)

    assert [trace.fill for trace in figure.data] == [None, "tonexty", None, None]
    assert [list(trace.y) for trace in figure.data] == [[0.5], [1.5], [1.0], [0.7]]


def test_studies_that_have_not_begun_have_no_chapter(tmp_path: Path) -> None:
    contenders = [make(tmp_path, "a"), make(tmp_path, "b")]

    assert best_so_far.sections(contenders, best_so_far.progress_table(contenders)) == []


def test_one_study_that_has_not_begun_does_not_stop_the_other(tmp_path: Path) -> None:
    contenders = [make(tmp_path, "a"), make(tmp_path, "b", [completed(0.5)], sampler="random")]
    progress = best_so_far.progress_table(contenders)

    lines = best_so_far.lines_table(progress, contenders, "seconds", "best_so_far")

    assert lines["study"].tolist() == ["b"]
    assert np.isfinite(lines["mean"]).all()


def test_a_config_counts_by_all_its_trials(tmp_path: Path) -> None:
    """0.9 and 0.5 of one config are 0.7; the default that ran again is 0.3."""
    cells = [{"learning_rate": rate, "batch_size": 16, "ppo_epochs": 2} for rate in (1e-4, 1e-3)]
    told = [(0, 0.2), (1, 0.9), (1, 0.5), (0, 0.4)]
    study = make(tmp_path, "a", [completed(score, params=cells[cell]) for cell, score in told])

    progress = best_so_far.progress_table([study])
    row = summary_table([study], progress).loc[0]

    assert progress["best_so_far"].tolist() == pytest.approx([0.3, 0.7, 0.7, 0.7])
    assert (row["best_trial"], row["score"], row["gain"]) == pytest.approx(("trial 1", 0.7, 0.4))
