"""Pruners see milestones; they spare the late bloomer and end the hopeless."""

import random
from typing import Any, get_args

import optuna
import pytest

from ppo_tune.config.methods import Pruner, PrunerConfig, SearchConfig
from ppo_tune.search.pruners import expected_cost, first_look, make_pruner

MILESTONES = 10

MEMBERS: tuple[type[Pruner], ...] = get_args(get_args(PrunerConfig)[0])

NAMES = [get_args(member.model_fields["name"].annotation)[0] for member in MEMBERS]

EAGER: dict[str, dict[str, Any]] = {
    "successive_halving": {"reduction_factor": 4},
    "hyperband": {"reduction_factor": 4},
    "median": {"n_startup_trials": 1},
    "percentile": {"n_startup_trials": 1, "percentile": 5.0},
    "none": {},
}
"""By pruner: options with which it ends more trials than with those that are left out."""


def play(study: optuna.Study, curve: list[float]) -> int:
    """Report a curve; the milestone at which the trial is pruned, or 0."""
    trial = study.ask()
    for step, value in enumerate(curve, start=1):
        trial.report(value, step)
        if step < len(curve) and trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return step
    study.tell(trial, curve[-1])
    return 0


def study_with(pruner: Any, n_good: int = 8) -> optuna.Study:
    """A study whose pruner is written like this, with some good trials."""
    config = SearchConfig.model_validate({"pruner": pruner}).pruner
    study = optuna.create_study(direction="maximize", pruner=make_pruner(config, MILESTONES))
    for i in range(n_good):
        play(study, [1.0 + 0.01 * i + 0.1 * step for step in range(MILESTONES)])
    return study


@pytest.mark.parametrize("pruner", sorted({*NAMES} - {"none"}))
def test_a_hopeless_trial_ends_early_but_not_before_30_percent_of_its_budget(pruner: str) -> None:
    study = study_with(pruner)

    pruned_at = [play(study, [0.0] * MILESTONES) for _ in range(8)]

    assert max(pruned_at) >= 3
    assert all(step == 0 or step >= 3 for step in pruned_at)


@pytest.mark.parametrize("pruner", NAMES)
def test_the_best_trial_so_far_is_never_pruned(pruner: str) -> None:
    study = study_with(pruner)

    assert play(study, [5.0 + step for step in range(MILESTONES)]) == 0


@pytest.mark.parametrize("pruner", NAMES)
def test_a_trial_that_starts_slowly_and_is_good_at_the_first_look_survives(pruner: str) -> None:
    study = study_with(pruner)

    assert play(study, [-9.0, -9.0, *(6.0 + step for step in range(MILESTONES - 2))]) == 0


def n_pruned(study: optuna.Study) -> int:
    """How many of a random set of trials are ended early."""
    rng = random.Random(0)
    return sum(play(study, [rng.random() + 0.1 * step for step in range(MILESTONES)]) > 0 for _ in range(60))


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [(name, option, value) for name, options in EAGER.items() for option, value in options.items()],
)
def test_an_option_changes_how_many_trials_are_ended(name: str, option: str, value: Any) -> None:
    usual, eager = (study_with(written, n_good=0) for written in (name, {"name": name, option: value}))

    assert n_pruned(eager) > n_pruned(usual)


@pytest.mark.parametrize("member", MEMBERS)
def test_every_pruner_says_how_a_report_calls_it_and_every_option_is_tried(member: type[Pruner]) -> None:
    (name,) = get_args(member.model_fields["name"].annotation)

    assert member.title
    assert {*EAGER[name], "name"} == set(member.model_fields)


def test_no_pruner_prunes_nothing() -> None:
    assert play(study_with("none"), [-99.0] * MILESTONES) == 0


def test_successive_halving_ends_a_trial_that_collapses_after_a_good_start() -> None:
    study = study_with("successive_halving")

    assert play(study, [3.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]) == 6


@pytest.mark.parametrize(("milestones", "look"), [(10, 3), (1, 1), (4, 2), (20, 6)])
def test_the_first_look_is_at_30_percent(milestones: int, look: int) -> None:
    assert first_look(milestones) == look


@pytest.mark.parametrize(
    ("pruner", "milestones", "cost"),
    [
        pytest.param({"name": "none"}, 10, 1.0, id="none"),
        pytest.param({"name": "successive_halving"}, 10, 0.55, id="all to 3, half to 6, a quarter to 10"),
        pytest.param(
            {"name": "successive_halving", "reduction_factor": 4}, 10, 0.475, id="all to 3, a quarter to 10"
        ),
        pytest.param({"name": "successive_halving"}, 1, 1.0, id="nothing to look at"),
        pytest.param({"name": "hyperband"}, 10, 0.675, id="halving, and another whose first rung is 6"),
        pytest.param({"name": "median"}, 10, 0.65, id="half of them at 3"),
        pytest.param({"name": "percentile", "percentile": 20.0}, 10, 0.44, id="four of five at 3"),
    ],
)
def test_what_a_trial_costs_follows_from_where_it_may_end(
    pruner: dict[str, Any], milestones: int, cost: float
) -> None:
    config = SearchConfig.model_validate({"pruner": pruner}).pruner

    assert expected_cost(config, milestones) == pytest.approx(cost)
