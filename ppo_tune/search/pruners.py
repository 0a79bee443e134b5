"""Who ends hopeless trials: Optuna's pruners with every setting written out.

A step is the number of a milestone, so trials are compared at equal episodes whatever their batch size.
None of them looks before 30 % of the budget: a low learning rate blooms late.
"""

import math
from collections.abc import Callable, Mapping

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)

GRACE = 0.3
"""Share of the budget that every trial gets."""

N_STARTUP_TRIALS = 5
"""Completed trials before the median and the percentile mean something."""


def make_pruner(name: str, milestones: int) -> BasePruner:
    """The pruner of a study.

    Args:
        name: As in the study file; an unknown one does not get past its config.
        milestones: How often a trial is scored; the last one is its end.
    """
    return PRUNERS[name](first_look(milestones), milestones)


def first_look(milestones: int) -> int:
    """The first milestone at which a trial may be pruned, so the last that nearly every trial reaches."""
    return max(1, math.ceil(GRACE * milestones))


def _successive_halving(first: int, milestones: int) -> BasePruner:
    return SuccessiveHalvingPruner(
        min_resource=first, reduction_factor=2, min_early_stopping_rate=0, bootstrap_count=0
    )


def _hyperband(first: int, milestones: int) -> BasePruner:
    return HyperbandPruner(min_resource=first, max_resource=milestones, reduction_factor=2, bootstrap_count=0)


def _median(first: int, milestones: int) -> BasePruner:
    return MedianPruner(
        n_startup_trials=N_STARTUP_TRIALS, n_warmup_steps=first, interval_steps=1, n_min_trials=1
    )


def _percentile(first: int, milestones: int) -> BasePruner:
    return PercentilePruner(
        25.0, n_startup_trials=N_STARTUP_TRIALS, n_warmup_steps=first, interval_steps=1, n_min_trials=1
    )


def _none(first: int, milestones: int) -> BasePruner:
    return NopPruner()


PRUNERS: Mapping[str, Callable[[int, int], BasePruner]] = {
    "successive_halving": _successive_halving,
    "hyperband": _hyperband,
    "median": _median,
    "percentile": _percentile,
    "none": _none,
}
