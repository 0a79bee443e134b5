"""The optional end of a search: where there is nothing to gain, and nowhere else."""

import random
from pathlib import Path

import pytest

from ppo_tune.config.study import StudyConfig
from ppo_tune.search import stopping
from ppo_tune.search.budget import Budget, extended
from ppo_tune.search.facts import StudyFacts
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.stopping import note_no_gain
from tests.reporting.conftest import HandMade
from tests.search.one_worker import Search
from tests.worlds import StudyMaker


def fill(made: HandMade, slope: float, noise: float, n_trials: int = 40) -> str:
    """Complete trials whose scores rise by so much per decade of the learning rate, up to the first; what is noted."""
    rng = random.Random(0)
    for _ in range(n_trials):
        exponent = rng.uniform(-4, -2.5 if slope else -2)
        params = {
            "learning_rate": 10**exponent,
            "batch_size": rng.choice([8, 16, 32]),
            "ppo_epochs": rng.randint(1, 4),
        }
        made.add("completed", [slope * exponent + rng.gauss(0, noise)] * 5, params=params)
    note_no_gain(made.study, made.config)
    return StudyFacts(made.study).no_gain


def asking(config: StudyConfig) -> StudyConfig:
    """The study, ended where there is nothing to gain."""
    return config.model_copy(update={"search": config.search.model_copy(update={"stop_when_no_gain": True})})


def test_where_all_configs_score_alike_but_for_luck_nothing_is_to_be_gained(hand_made: HandMade) -> None:
    assert fill(hand_made, slope=0.0, noise=0.3, n_trials=80).startswith(
        "stop_when_no_gain ended the search after 80 trials: all results together expect +0.0"
    )


def test_where_the_score_rises_into_what_nobody_has_tried_there_is_something_to_be_gained(
    hand_made: HandMade,
) -> None:
    assert fill(hand_made, slope=1.0, noise=0.1) == ""


def test_with_few_results_nobody_knows(hand_made: HandMade) -> None:
    assert fill(hand_made, slope=0.0, noise=0.3, n_trials=5) == ""


def test_it_ends_a_search_that_asks_for_it_and_no_extended_one(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0] * 5)
    StudyFacts(hand_made.study).no_gain = "nothing to gain"
    config = asking(hand_made.config)

    asked, usual = Budget(config), Budget(hand_made.config)
    longer = Budget(extended(config, hand_made.study, trials=4))

    assert (asked.remaining(hand_made.study), asked.why_over(hand_made.study)) == (0, "nothing to gain")
    assert (usual.remaining(hand_made.study), usual.why_over(hand_made.study)) == (7, "")
    assert longer.remaining(hand_made.study) == 4


def test_a_search_that_has_its_trials_was_ended_by_them(hand_made: HandMade) -> None:
    for _ in range(hand_made.config.n_trials or 0):
        hand_made.add("completed", [1.0] * 5)
    StudyFacts(hand_made.study).no_gain = "nothing to gain"

    assert Budget(asking(hand_made.config)).why_over(hand_made.study) == ""


@pytest.mark.parametrize("stops", [True, False])
def test_a_worker_looks_after_every_completed_trial_if_the_file_asks_for_it(
    make_study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stops: bool
) -> None:
    monkeypatch.setattr(stopping, "SHARE", float("inf"))
    monkeypatch.setattr("ppo_tune.search.surrogate.MIN_RESULTS", 3)
    search = Search(make_study(search={"n_trials": 5, "stop_when_no_gain": stops}), tmp_path / "run")

    trials = search.run()

    assert len(trials) == (3 if stops else 5)
    assert bool(SearchPlan(search.config).budget.why_over(search.study)) == stops
