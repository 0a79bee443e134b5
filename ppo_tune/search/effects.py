"""How much each hyperparameter decides the score within the KL budget, by the model of all results.

A config beyond the budget counts as the lowest score. Shares are total effects (Homma and Saltelli, 1996, by Jansen's
estimator): of the variance over the whole space, what remains on average while all other hyperparameters are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from ppo_tune.config.study import StudyConfig
from ppo_tune.search.cube import Cube, Numbers
from ppo_tune.search.surrogate import MOST_FITTED, Surrogate

POINTS = 128
"""Random configs, and as many again for each hyperparameter, over which variances are taken; a power of two."""

DRAWS = 200
"""Functions drawn from the model for the interval of a share."""

LEVEL = 0.9
"""Of the interval."""

ODDS = 30.0
"""Evidence must be so many to one against noise (Kass and Raftery, 1995, call that strong) for all hyperparameters
together: a chance of 1 in 30 is divided among them, and for each between the score and the KL. (At 1 in 20, results put
to each other's configs name something in 1 study of 15.) What decides the KL counts where it decides who leaves the
budget."""

NEGLIGIBLE = 0.05
"""A share whose interval begins below that is not named, however sure it is that it is not nothing."""


@dataclass(frozen=True)
class Effect:
    """What a hyperparameter decides of the score within the KL budget.

    Attributes:
        name: Of the hyperparameter.
        share: Of the variance over the space; shares overlap where hyperparameters act together.
        low: Lower end of the interval.
        high: Upper end.
        evidence: How many times likelier the scores, or the KLs if that is more, are with it than without, as a power
            of ten.
        clear: Whether it is more than noise, and not negligible.
    """

    name: str
    share: float
    low: float
    high: float
    evidence: float
    clear: bool


def effects(config: StudyConfig, trials: Sequence[FrozenTrial]) -> list[Effect]:
    """What each of two or more hyperparameters decides, in the space's order.

    Args:
        config: The study.
        trials: As `Surrogate` takes them.

    Returns:
        None of them where no model can be fitted.
    """
    try:
        model = Surrogate(config, trials, most=MOST_FITTED, every_kl=True)
        by_score = model.score.evidence()
        by_kl = by_score if model.kl is None else model.kl.evidence()
        shares, leaving = total_effects(model)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return []
    ends = [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]
    (low, high), least = np.quantile(shares, ends, axis=0), needed(len(config.space))
    leaves = np.quantile(leaving, ends[0], axis=0) > NEGLIGIBLE  # else its KL is nothing to the score
    clear = ((by_score > least) | (by_kl > least) & leaves) & (low > NEGLIGIBLE)
    columns = (shares.mean(0), low, high, np.maximum(by_score, by_kl) / log(10), clear)
    rows = zip(model.cube.sides, *(column.tolist() for column in columns), strict=True)
    return [Effect(*row) for row in rows]


def needed(n: int) -> float:
    """The log Bayes factor that one of n hyperparameters needs in the scores or in the KLs."""
    return log(ODDS * 2 * n)


def total_effects(model: Surrogate) -> tuple[Numbers, Numbers]:
    """The total effect of each hyperparameter in functions drawn from the model, shape (draws, D).

    And how much of it is due to configs that leave the KL budget, or come back, shape (draws, D).
    """
    points = crossed(model.cube)
    shape = (DRAWS, len(points) // POINTS, POINTS)
    rng = np.random.default_rng(0)
    worth = model.score.draws(points, rng.standard_normal((DRAWS, len(points)))) - model.lowest
    is_within = np.ones_like(worth, dtype=bool)
    if model.kl is not None:
        is_within = model.kl.draws(points, rng.standard_normal((DRAWS, len(points)))) <= model.limit
        worth = np.where(is_within, worth, 0.0)
    worth, is_within = worth.reshape(shape), is_within.reshape(shape)
    apart = 0.5 * (worth[:, :1] - worth[:, 1:]) ** 2
    leaves = is_within[:, :1] != is_within[:, 1:]
    variance = worth[:, 0].var(axis=1)[:, np.newaxis]
    variance = np.where(variance > 0, variance, 1.0)
    effect, leaving = (part.mean(2) / variance for part in (apart, apart * leaves))
    return np.minimum(effect, 1.0), np.minimum(leaving, 1.0)


def crossed(cube: Cube) -> Numbers:
    """Random points, then for each side the same ones with another value there; shape ((D + 1)·POINTS, D)."""
    n_sides = len(cube.sides)
    both = qmc.Sobol(2 * n_sides, seed=0).random(POINTS)
    first, second = cube.legal(both[:, :n_sides]), cube.legal(both[:, n_sides:])
    versions = [first]
    for side in range(n_sides):
        version = first.copy()
        version[:, side] = second[:, side]
        versions.append(version)
    return cube.rested(np.concatenate(versions))
