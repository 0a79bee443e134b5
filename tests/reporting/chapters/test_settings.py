# mypy: ignore-errors
"""What was set, as it was used, and every trial."""

import numpy as np
import pandas as pd

from ppo_tune.reporting import record
from ppo_tune.reporting.chapters import settings
from tests.reporting.conftest import HandMade


def test_config_shows_what_default_and_winner_really_used(usual: HandMade) -> None:
    table = settings.config_table(usual.record()).set_index("name")

    assert table.loc["learning_rate", "default"] == 1e-4
    assert table.loc["learning_rate", "winner"] == 1e-3
    assert table.loc["gamma", "searched"] is np.False_ or not table.loc["gamma", "searched"]
    assert table.loc["batch_size", "searched"]
    assert "β" in table.loc["kl_coef", "meaning"]


def test_every_trial_stands_on_the_page(usual: HandMade) -> None:
    _, trials = settings.chapter(usual.record()).sections

    assert trials.table is not None
    assert trials.table["number"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert trials.max_rows == 1000
    assert trials.reading.startswith("One row per trial, 7 in all:")


def test_columns_without_a_value_are_left_out_and_reasons_stand_last(usual: HandMade) -> None:
    table = record.trials_table(usual.record()).assign(gold=np.nan)

    shown = settings.shown_trials(table)

    assert "gold" not in shown
    assert shown.columns[-1] == "reason"
    assert set(table) - set(shown) == {"gold"}


def test_an_empty_study_has_settings_and_no_table_of_trials(hand_made: HandMade) -> None:
    (hyperparameters,) = settings.chapter(hand_made.record()).sections

    assert hyperparameters.anchor == "hyperparameters"


def test_the_other_blocks_are_told_with_their_meaning(usual: HandMade) -> None:
    rows = pd.DataFrame(settings.settings(usual.config), columns=["place", "value", "meaning"]).set_index(
        "place"
    )

    assert rows.loc["search.kl_budget", "value"] == "3"
    assert "nats per sequence" in rows.loc["search.kl_budget", "meaning"]
    assert rows.loc["task.name", "value"] == "support"
