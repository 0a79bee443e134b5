"""Pruners, which end trials that fall behind: Optuna's with every setting written out.

A step is the number of a milestone, so trials are compared at equal episodes whatever their batch size.
None of them looks before 30 % of the budget: a low learning rate blooms late.
"""

import math

from optuna import pruners

from ppo_tune.config import methods

GRACE = 0.3
"""Share of the budget that every trial gets."""


def make_pruner(config: methods.PrunerConfig, milestones: int) -> pruners.BasePruner:
    """The pruner of a study whose trials are scored at so many milestones; the last one is their end."""
    first = first_look(milestones)
    match config:
        case methods.SuccessiveHalvingConfig():
            return pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=config.reduction_factor,
                                           min_early_stopping_rate=0, bootstrap_count=0)  # fmt: skip
        case methods.HyperbandConfig():
            return pruners.HyperbandPruner(min_resource=first, max_resource=milestones,
                                   reduction_factor=config.reduction_factor, bootstrap_count=0)  # fmt: skip
        case methods.MedianPrunerConfig():
            return pruners.MedianPruner(n_startup_trials=config.n_startup_trials, n_warmup_steps=first,
                                interval_steps=1, n_min_trials=1)  # fmt: skip
        case methods.PercentilePrunerConfig():
            return pruners.PercentilePruner(config.percentile, n_startup_trials=config.n_startup_trials,
                                    n_warmup_steps=first, interval_steps=1, n_min_trials=1)  # fmt: skip
        case methods.NoPrunerConfig():
            return pruners.NopPruner()


def first_look(milestones: int) -> int:
    """The first milestone at which a trial may be pruned, so the last that nearly every trial reaches."""
    return max(1, math.ceil(GRACE * milestones))


def expected_cost(config: methods.PrunerConfig, milestones: int) -> float:
    """What a trial of a study costs on average, as a share of a whole one, if all are ended that may be.

    By the rungs of halving, in hyperband by the mean of its brackets; a trial behind the median or a percentile ends at
    the first look. Trials that run away cost less, and the first trials of a study more.
    """
    first = first_look(milestones)
    match config:
        case methods.SuccessiveHalvingConfig():
            return _halved(first, config.reduction_factor, milestones)
        case methods.HyperbandConfig():
            factor, brackets = config.reduction_factor, range(milestones)
            rungs = [first * factor**bracket for bracket in brackets if first * factor**bracket <= milestones]
            return sum(_halved(rung, factor, milestones) for rung in rungs) / len(rungs)
        case methods.MedianPrunerConfig():
            return _cut(0.5, first, milestones)
        case methods.PercentilePrunerConfig():
            return _cut(config.percentile / 100, first, milestones)
        case methods.NoPrunerConfig():
            return 1.0


def _halved(rung: int, factor: int, milestones: int) -> float:
    """The cost where one of so many trials goes on at a rung, and at each that is so many times as far."""
    cost, alive, at = 0.0, 1.0, 0
    while rung < milestones:
        cost, alive, at, rung = cost + alive * (rung - at), alive / factor, rung, rung * factor
    return (cost + alive * (milestones - at)) / milestones


def _cut(goes_on: float, first: int, milestones: int) -> float:
    """The cost where so many trials go on at the first look."""
    return goes_on + (1 - goes_on) * first / milestones
