# mypy: ignore-errors
"""A study as one table, checked against one made by hand."""

import numpy as np

from ppo_tune.reporting.analysis import importance
from ppo_tune.reporting.chapters import front
from ppo_tune.reporting.chapters.history import chapter as history
from ppo_tune.reporting.chapters.results import verdict
from ppo_tune.reporting.chapters.texts import chapter as texts
from ppo_tune.reporting.record import trials_table
from ppo_tune.search.facts import Expectation, StudyFacts
from tests.reporting.conftest import HandMade, confirm


def test_trials_have_their_roles_endings_last_scores_and_values(usual: HandMade) -> None:
    table = trials_table(usual.record())

    assert table["number"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert table["role"].tolist() == ["default", "best so far", "", "", "", "", ""]
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
    assert texts.pair_samples(texts.find_writers(record)).empty
    assert verdict.results_table(record).empty
    assert importance.importance_table(record).empty


def test_a_winner_is_called_so_only_after_fresh_seeds(hand_made: HandMade) -> None:
    """In the search trial 2 led; on fresh seeds trial 1 won."""
    for score in (0.5, 0.8, 0.9):
        hand_made.add("completed", [score] * 5, gold=[0.5] * 5, baseline=score == 0.5)
    before = hand_made.record()
    confirm(hand_made, {0: 0.4, 1: 0.9, 2: 0.4}, golds={1: 0.3})
    after = hand_made.record()

    assert before.table["role"].tolist() == ["default", "", "best so far"]
    assert after.table["role"].tolist() == ["default", "winner", ""]
    assert verdict.results_table(before)["what"].tolist()[-1] == "best so far (trial 2)"
    assert verdict.results_table(after)["what"].tolist()[-1] == "winner (trial 1)"


def test_the_best_of_the_search_is_never_told_without_whom_fresh_seeds_chose(hand_made: HandMade) -> None:
    for score in (0.5, 0.8, 0.9):
        hand_made.add("completed", [score] * 5, gold=[0.5] * 5, baseline=score == 0.5)
    confirm(hand_made, {0: 0.4, 1: 0.9, 2: 0.4}, golds={1: 0.3})
    record = hand_made.record()

    said = [front.chapter(record).sections[0].reading, history.chapter(record).sections[0].reading]

    assert "the best within the KL budget is trial 2 with 0.900." in said[1]
    assert ["Fresh seeds chose trial 1 instead." in words for words in said] == [True, True]


def test_the_best_score_is_never_told_without_whom_all_results_name(hand_made: HandMade) -> None:
    for score in (0.5, 0.8, 0.9):
        hand_made.add("completed", [score] * 5, gold=[0.5] * 5, baseline=score == 0.5)
    before = hand_made.record()
    StudyFacts(hand_made.study).ranking = {1: Expectation(0.3, 0.1, 1.0), 2: Expectation(0.2, 0.1, 1.0)}
    after = hand_made.record()

    said = [
        [part.chapter(record).sections[0].reading for part in (front, history)] for record in (before, after)
    ]

    assert [["All results together name trial 1 instead." in words for words in both] for both in said] == [
        [False, False],
        [True, True],
    ]
