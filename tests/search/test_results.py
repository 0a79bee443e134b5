"""What came of a study's trials: a config counts by all trials that ran it, and by its own where it ran once."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from ppo_tune.search.results import (
    best_trials,
    chosen_trial,
    config_of,
    expectation_of,
    is_feasible,
    ranked_trials,
    tried_configs,
)
from ppo_tune.search.surrogate import Surrogate, rank, ranking
from ppo_tune.search.verdict import read_verdict
from tests.reporting.conftest import HandMade


def cell(rate: float) -> dict[str, Any]:
    """A config."""
    return {"learning_rate": rate, "batch_size": 16, "ppo_epochs": 2}


def add(made: HandMade, rate: float, score: float, **more: Any) -> int:
    """A completed trial of a config."""
    return made.add("completed", [score] * 5, params=cell(rate), **more)


def test_a_config_counts_by_the_mean_of_its_trials_and_not_by_the_luckiest(hand_made: HandMade) -> None:
    """0.9 and 0.5 are 0.7, which is less than 0.8; its first trial stands for a config."""
    add(hand_made, 1e-4, 0.2, baseline=True)
    for rate, score in ((1e-3, 0.5), (2e-3, 0.8), (1e-3, 0.9), (2e-3, 0.8), (2e-3, 0.8)):
        add(hand_made, rate, score)

    verdict = read_verdict(hand_made.study, hand_made.config, hand_made.folder)

    assert [t.number for t in ranked_trials(hand_made.study)] == [2, 1, 0]
    assert [t.number for t in best_trials(hand_made.study)] == [2, 1]
    assert verdict.trial == 2
    assert verdict.sentence == (
        "Not confirmed: trials 2, 4 and 5, one config, scored 0.800 on average in the search, at 1.00 of 3 nats of KL."
    )


def test_the_default_is_counted_with_the_cell_that_it_is(hand_made: HandMade) -> None:
    add(hand_made, 1e-4, 0.2, baseline=True)
    add(hand_made, 1e-3, 0.5)
    add(hand_made, 1e-4, 1.2)

    verdict = read_verdict(hand_made.study, hand_made.config, hand_made.folder)

    assert [t.number for t in best_trials(hand_made.study)] == [1]
    assert chosen_trial(hand_made.study, None) == hand_made.study.trials[0]
    assert verdict.sentence == (
        "Not confirmed: trials 0 and 2, the default config, scored 0.700 on average in the search, at 1.00 of 3 nats "
        "of KL."
    )


@pytest.mark.parametrize(
    ("kls", "ran_away", "within"),
    [
        pytest.param([3.5, 2.4], 0, True, id="2.95 of 3 nats"),
        pytest.param([2.0, 4.1], 0, False, id="3.05 of 3 nats"),
        pytest.param([0.1], 1, False, id="the limit of 6 nats and 0.1 are 3.05"),
        pytest.param([0.1, 0.1], 1, True, id="2.07 of 3 nats"),
    ],
)
def test_a_config_is_within_the_budget_if_its_trials_are_on_average(
    hand_made: HandMade, kls: list[float], ran_away: int, within: bool
) -> None:
    for kl in kls:
        add(hand_made, 1e-3, 1.0, kl=kl)
    for _ in range(ran_away):
        hand_made.add("kl_limit", [2.0], params=cell(1e-3), kl=6.0)

    assert bool(ranked_trials(hand_made.study)) == within
    assert config_of(hand_made.study.trials[-1], hand_made.study.trials).is_feasible == within


def test_a_pruned_and_a_lost_trial_of_a_config_say_nothing_of_its_score(hand_made: HandMade) -> None:
    for ending in ("pruned", "lost"):
        hand_made.add(ending, [0.0], params=cell(1e-3), kl=9.0)
    add(hand_made, 1e-3, 0.5)

    (config,) = tried_configs(hand_made.study.trials)

    assert (config.name, config.score, config.kl, config.is_feasible) == ("trial 2", 0.5, 1.0, True)


@pytest.mark.parametrize(
    ("n", "name"),
    [(1, "trial 0"), (2, "trials 0 and 1"), (5, "trials 0, 1, 2, 3 and 4"), (9, "trials 0, 1, 2 and 6 more")],
)
def test_a_config_is_named_by_its_trials(hand_made: HandMade, n: int, name: str) -> None:
    for _ in range(n):
        add(hand_made, 1e-3, 0.5)

    assert [config.name for config in tried_configs(hand_made.study.trials)] == [name]


def test_a_model_ranks_a_config_once_and_by_all_its_trials(hand_made: HandMade) -> None:
    add(hand_made, 1e-4, 0.2, baseline=True)
    for i in range(8):
        add(hand_made, 1e-3 * (1 + i % 4), 0.1 * i)

    rank(hand_made.study, hand_made.config)
    found = ranking(hand_made.study.trials, hand_made.config)

    assert sorted(found) == [0, 1, 2, 3, 4]
    assert expectation_of(hand_made.study, hand_made.study.trials[8]) == found[4]
    assert [t.number for t in ranked_trials(hand_made.study)] == list(found)


Told = st.tuples(st.sampled_from(["completed", "pruned", "kl_limit"]), st.floats(-2, 2), st.floats(0, 6))


def told(outcomes: list[tuple[str, float, float]], values: Mapping[int, float]) -> list[FrozenTrial]:
    """Trials that ended so, with score and KL, of a budget of 3 nats."""
    space: dict[str, BaseDistribution] = {"learning_rate": FloatDistribution(1e-4, 1e-2)}
    trials = []
    for number, (ending, score, kl) in enumerate(outcomes):
        completed = ending == "completed"
        trial = create_trial(
            state=TrialState.COMPLETE if completed else TrialState.PRUNED,
            value=score if completed else None,
            params={"learning_rate": values[number]},
            distributions=space,
            user_attrs={"ending": ending},
            system_attrs={"constraints:kl_per_sequence": kl - 3.0},
        )
        trial.number = number
        trials.append(trial)
    return trials


@given(st.lists(Told, max_size=12))
def test_where_no_config_ran_twice_each_trial_counts_as_it_is_to_the_bit(
    outcomes: list[tuple[str, float, float]],
) -> None:
    trials = told(outcomes, {n: 1e-4 * (n + 1) for n in range(12)})

    found = tried_configs(trials)

    completed = [t for t in trials if t.state is TrialState.COMPLETE]
    assert [config.first for config in found] == completed
    assert [config.score for config in found] == [t.value for t in completed]
    assert [config.is_feasible for config in found] == [is_feasible(t) for t in completed]


@given(st.lists(Told, min_size=1, max_size=12))
def test_the_order_of_trials_does_not_matter_to_a_config(outcomes: list[tuple[str, float, float]]) -> None:
    trials = told(outcomes, dict.fromkeys(range(12), 1e-3))
    values = [t.value for t in trials if t.value is not None]

    found = tried_configs(trials)

    assert len(found) == bool(values)
    assert all(math.isclose(c.score, sum(values) / len(values), abs_tol=1e-12) for c in found)


def test_a_study_without_repeats_is_ranked_to_the_bit_as_trial_by_trial(hand_made: HandMade) -> None:
    """The rule is written out once more, over trials."""
    add(hand_made, 1e-4, 0.2, baseline=True)
    for i in range(9):
        add(hand_made, 1e-3 * (1 + i), math.sin(i), kl=0.5 * i)
    trials = hand_made.study.trials

    found = ranking(trials, hand_made.config)

    within = [t for t in trials if is_feasible(t)]
    model, configs = Surrogate(hand_made.config, trials), [t.params for t in within]
    predicted, gains = model.predict(configs), model.gains(configs, hand_made.config.baseline)
    expected = {t.number: predicted.expectation(i, *gains[i]) for i, t in enumerate(within)}
    worth = {
        t.number: gains[i][0] * (predicted.safe[i] if gains[i][0] > 0 else 1) for i, t in enumerate(within)
    }
    assert found == expected
    assert list(found) == sorted(worth, key=lambda n: (-worth[n], n))
