"""A study as one table, checked against one made by hand."""

import numpy as np

from ppo_tune.reporting.history import history
from ppo_tune.reporting.importance import importance
from ppo_tune.reporting.record import trials_table
from ppo_tune.reporting.results import verdict
from ppo_tune.reporting.texts import texts
from tests.reporting.conftest import HandMade


def test_trials_have_their_roles_endings_last_scores_and_values(usual: HandMade) -> None:
    table = trials_table(usual.record())

    assert table["number"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert table["role"].tolist() == ["default", "winner", "", "", "", "", ""]
    assert table["ending"].tolist() == [
        "completed",
        "completed",
        "completed",
        "pruned",
        "kl_limit",
        "diverged",
        "running",
    ]
    assert table["score"].tolist()[:5] == [0.5, 1.0, 1.6, 0.1, 1.0]
    assert np.isnan(table["score"][5])
    assert table["score"][6] == 0.3
    assert table["feasible"].tolist() == [True, True, False, True, False, True, True]
    assert table["learning_rate"].tolist()[:2] == [1e-4, 1e-3]
    assert table["reason"][3] == "why pruned"


def test_the_winner_is_the_best_within_the_budget(usual: HandMade) -> None:
    record = usual.record()

    assert record.winner is not None
    assert record.winner.number == 1  # trial 2 scored more, at 3.5 of 3 nats


def test_a_lost_trial_is_not_counted_beside_the_one_that_replaced_it(usual: HandMade) -> None:
    usual.add("lost", [0.2])

    table = trials_table(usual.record())

    assert 7 not in table["number"].tolist()


def test_an_empty_study_has_empty_tables(hand_made: HandMade) -> None:
    record = hand_made.record()

    assert record.table.empty
    assert history.curves_table(record).empty
    assert texts.samples_table(record).empty
    assert verdict.results_table(record).empty
    assert importance.importance_table(record).empty
