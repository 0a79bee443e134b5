"""The search in its order."""

from ppo_tune.reporting import history, record
from tests.reporting.conftest import HandMade


def test_history_rises_only_with_feasible_trials(usual: HandMade) -> None:
    table = history.history_table(record.trials_table(usual.record()))

    assert table["number"].tolist() == [0, 1, 2]
    assert table["best_so_far"].tolist() == [0.5, 1.0, 1.0]


def test_curves_have_one_row_per_trial_and_milestone(usual: HandMade) -> None:
    curves = history.curves_table(usual.record())

    assert len(curves) == 5 + 5 + 5 + 2 + 1 + 0 + 1
    assert curves[curves["number"] == 1]["score"].tolist() == [0.4, 0.6, 0.8, 0.9, 1.0]
    assert curves[curves["number"] == 1]["episodes"].tolist() == [128, 256, 384, 512, 640]


def test_curves_count_what_was_cut_short(usual: HandMade) -> None:
    words = history.curves_reading(history.curves_table(usual.record()))

    assert words.startswith("6 trials, 2 of them cut short (ending in a cross), 1 still running (dotted).")
