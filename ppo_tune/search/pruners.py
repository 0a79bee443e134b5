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
