# mypy: ignore-errors
"""The search in its order."""

import math

import numpy as np
import pandas as pd
import pytest

from ppo_tune.reporting.chapters.history import chapter as history
from ppo_tune.reporting.chapters.history import curves
from ppo_tune.search.race import Candidate, Confirmation, Run
from tests.reporting.conftest import HandMade


def test_history_rises_only_with_feasible_trials(usual: HandMade) -> None:
    table = history.history_table(usual.record())

    assert table["number"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert table["best_so_far"].tolist() == [0.5, *[1.0] * 6]  # trial 2 scored more, beyond the budget


def test_there_is_no_best_before_the_first_completed_trial(hand_made: HandMade) -> None:
    hand_made.add("pruned", [0.9])
    hand_made.add("completed", [0.2] * 5)

    table = history.history_table(hand_made.record())

    assert math.isnan(table["best_so_far"][0])
    assert table["best_so_far"][1] == 0.2


def test_every_trial_stands_in_the_figure_even_without_a_score(usual: HandMade) -> None:
    table = history.history_table(usual.record())

    figure = history.history_figure(table, None)

    marks = [
        trace
        for trace in figure.data
        if trace.mode == "markers" and trace.name not in ("best so far", "default")
    ]
    assert sorted(int(number) for trace in marks for number in trace.x) == [0, 1, 2, 3, 4, 5, 6]
    (diverged,) = [trace for trace in marks if trace.name == "diverged"]
    low, _ = figure.layout.yaxis.range
    assert low < diverged.y[0] < 0.1  # below the lowest score
    assert diverged.customdata[0] == "no score"


def test_the_reading_says_when_the_best_came(usual: HandMade) -> None:
    words = history.history_reading(history.history_table(usual.record()), None)

    assert words == (
        "3 of 7 trials were completed; the best within the KL budget is trial 1 with 1.000. A trial that ended early "
        "stands at its last score, one without a score at the foot."
    )


def test_a_wild_trial_does_not_flatten_the_others_and_is_counted(hand_made: HandMade) -> None:
    for i in range(8):
        hand_made.add("completed", [0.1 * i] * 5)
    hand_made.add("completed", [-1e6] * 5)
    table = history.history_table(hand_made.record())

    low, high = history.history_figure(table, None).layout.yaxis.range

    assert -0.1 < low < high < 0.8
    assert history.history_reading(table, None).endswith(" 1 lies outside the axis.")


def test_the_winner_is_always_inside_the_axis(hand_made: HandMade) -> None:
    for i in range(8):
        hand_made.add("completed", [0.001 * i] * 5)
    hand_made.add("completed", [50.0] * 5)
    table = history.history_table(hand_made.record())

    assert history.history_ends(table) == (0.0, 50.0)


def test_nothing_completed_is_said(hand_made: HandMade) -> None:
    hand_made.add("pruned", [0.1])
    table = history.history_table(hand_made.record())

    assert history.history_reading(table, None) == "No trial has been completed yet."
    assert history.history_figure(table, None).data


def test_nothing_within_the_budget_is_said(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.1] * 5, kl=9.0)
    table = history.history_table(hand_made.record())

    words = history.history_reading(table, None)

    assert words == "None of the trials that were completed (1) is within the KL budget."


def confirmation(means: dict[int, list[float]]) -> Confirmation:
    """Candidates whose runs score the same on both of two prompts; a run that scores nan diverged."""
    candidates = tuple(
        Candidate(number, number == 0, {}, None, tuple(
            Run(i, "diverged" if math.isnan(mean) else "completed", np.full(2, mean), None, 1.0)
            for i, mean in enumerate(scores)
        ))
        for number, scores in means.items()
    )  # fmt: skip
    return Confirmation(candidates, np.zeros(2), None, 3, 3.0)


def test_seed_noise_is_pooled_over_configs() -> None:
    # Squares around the means: 2 with one degree of freedom, and 2 with two.
    found = history.seed_noise(confirmation({0: [1.0, 3.0], 1: [4.0, 5.0, 6.0]}))

    assert found == pytest.approx(math.sqrt((2.0 + 2.0) / (1 + 2)))


def test_seed_noise_is_unknown_without_two_runs_of_one_config() -> None:
    assert history.seed_noise(None) is None
    assert history.seed_noise(confirmation({0: [1.0], 1: [2.0, math.nan]})) is None


def test_seed_noise_is_drawn_and_told(usual: HandMade) -> None:
    table = history.history_table(usual.record())

    below, above = [t for t in history.history_figure(table, 0.25).data if t.name == "± seed noise"]

    assert below.y[0] == 0.25
    assert above.y[0] == 0.75
    assert "varies by 0.250 (one standard deviation, the band)" in history.history_reading(table, 0.25)


def test_curves_have_one_row_per_trial_and_milestone(usual: HandMade) -> None:
    table = curves.curves_table(usual.record())

    assert len(table) == 5 + 5 + 5 + 2 + 1 + 0 + 1
    assert table[table["number"] == 1]["score"].tolist() == [0.4, 0.6, 0.8, 0.9, 1.0]
    assert table[table["number"] == 1]["episodes"].tolist() == [128, 256, 384, 512, 640]


def test_the_twin_has_one_row_per_trial_the_marked_ones_first(usual: HandMade) -> None:
    twin = curves.by_milestone(curves.curves_table(usual.record()))

    assert list(twin.columns) == ["number", "role", "ending", "128", "256", "384", "512", "640"]
    assert twin["number"].tolist() == [1, 0, 2, 4, 6, 3]  # winner, default, then by the last score
    assert twin.loc[0, "640"] == 1.0
    assert math.isnan(twin.loc[5, "384"])


def test_faint_curves_are_one_line_with_gaps(hand_made: HandMade) -> None:
    for i in range(30):
        hand_made.add("pruned", [0.1 * i, 0.2 * i])
    table = curves.curves_table(hand_made.record())

    figure = curves.curves_figure(table, 640)

    line, ends = figure.data
    assert line.mode == "lines"
    assert list(line.x[:4]) == [128, 256, 256, 128]
    assert [math.isnan(y) for y in line.y[:4]] == [False, False, True, False]
    assert list(line.customdata[:4]) == [0, 0, 0, 1]
    assert len(ends.x) == 30


def test_only_the_best_are_in_full_colour(hand_made: HandMade) -> None:
    for i in range(9):
        hand_made.add("completed", [0.1 * i] * 5, baseline=i == 0)
    hand_made.add("completed", [9.9] * 5, kl=9.0)  # beyond the budget
    table = curves.curves_table(hand_made.record())

    names = [trace.name for trace in curves.curves_figure(table, 640).data]

    assert curves.best_numbers(table) == [7, 6, 5, 4, 3]
    assert sorted(names) == sorted(["completed", "default", *["best completed"] * 5, "best so far"])
    assert "winner, default and the 5 best besides them" in curves.curves_reading(table)


def test_trials_of_one_milestone_are_points(hand_made: HandMade) -> None:
    for i in range(9):
        hand_made.add("completed", [0.1 * i])

    faint = curves.curves_figure(curves.curves_table(hand_made.record()), 640).data[0]

    assert faint.mode == "markers"


def test_curves_count_what_was_cut_short(usual: HandMade) -> None:
    words = curves.curves_reading(curves.curves_table(usual.record()))

    assert words.startswith("6 trials, 2 of them cut short (ending in a cross), 1 still running (dotted).")


def test_wild_curves_leave_the_axis_and_are_counted() -> None:
    rows = [(i, "", "completed", True, 128 * j, 0.1 * i + 0.01 * j) for i in range(9) for j in range(1, 6)]
    rows += [(9, "", "diverged", True, 128, -1e9)]
    table = pd.DataFrame(rows, columns=["number", "role", "ending", "feasible", "episodes", "score"])

    low, high = curves.curves_figure(table, 640).layout.yaxis.range

    assert -0.1 < low < high < 1.0
    assert curves.curves_reading(table).endswith(" 1 of the curves leaves the axis.")


CELLS = [{"learning_rate": rate, "batch_size": 16, "ppo_epochs": 2} for rate in (1e-4, 1e-3, 2e-3)]


def fill_repeated(made: HandMade) -> HandMade:
    """The default 0.2; 0.95 and 0.65 of one config, which are 0.8; 0.85 and 0.85 of another."""
    made.add("completed", [0.2] * 5, params=CELLS[0], baseline=True)
    for cell, score in ((1, 0.95), (2, 0.85), (1, 0.65), (2, 0.85)):
        made.add("completed", [score] * 5, gold=[score / 2] * 5, params=CELLS[cell])
    return made


def test_the_best_so_far_is_a_config_by_all_its_trials_and_not_the_luckiest_of_them(
    hand_made: HandMade,
) -> None:
    table = history.history_table(fill_repeated(hand_made).record())

    assert table["score"].tolist() == [0.2, 0.95, 0.85, 0.65, 0.85]
    assert table["best_so_far"].tolist() == pytest.approx([0.2, 0.8, 0.85, 0.85, 0.85])
    assert "within the KL budget is trial 2 with 0.850. A trial" in history.history_reading(table, None)


def test_a_mean_is_said_to_be_one(hand_made: HandMade) -> None:
    for score in (0.5, 0.9):
        hand_made.add("completed", [score] * 5, params=CELLS[1])

    words = history.history_reading(history.history_table(hand_made.record()), None)

    assert "is trial 0 with 0.700, the mean over all trials of its config. A trial" in words
