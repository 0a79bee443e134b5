"""A Gaussian process for several numbers of a config: Matérn-5/2, one length-scale for each hyperparameter."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from benchmarks.worlds.table import Array, Layout

USUAL_LENGTH = 0.7
ITERATIONS = 30
JITTER = 1e-6

Groups = tuple[tuple[list[int], list[int]], ...]
"""Numbers that share their length-scales, and those of them by which these are fitted."""


def groups(layout: Layout) -> Groups:
    """Early scores, late ones, and KL."""
    columns, n = list(range(layout.size)), len(layout.milestones)
    scores, kl, train_kl = (columns[part] for part in (layout.score, layout.kl, layout.train_kl))
    n_early = max(2 * n // 5, 1)
    early, late = scores[:n_early], [*scores[n_early:], layout.confirm_score]
    fitted = [*kl[n // 2 :: 2], *train_kl[n // 2 :: 2], layout.confirm_kl]
    return (early, early[:3]), (late, late[-5:]), ([*kl, *train_kl, layout.confirm_kl], fitted)


class GaussianProcess:
    """Mean curves by exact regression, its settings those of the largest posterior density.

    Args:
        layout: What the numbers are.
        points: Shape (C, D), in the unit cube.
        numbers: Means over the runs of each config, shape (C, size of the layout).
        runs: How many runs each mean is of, shape (C,): noise falls with them.
    """

    def __init__(self, layout: Layout, points: Array, numbers: Array, runs: Array) -> None:
        self.layout, self.points = layout, points
        self.mean, self.std = numbers.mean(0), numbers.std(0)
        self.parts = []
        z, weights = (numbers - self.mean) / self.std, 1 / runs
        gaps = (points[:, None] - points[None]) ** 2
        for columns, fitted in groups(layout):
            lengths, signal, noise = _fit(gaps, z[:, fitted], weights)
            cov = signal * _matern((gaps / lengths**2).sum(-1)) + np.diag(noise * weights + JITTER)
            self.parts.append((columns, lengths, signal * cho_solve(cho_factor(cov), z[:, columns])))

    def predict(self, points: Array) -> Array:
        """Mean numbers at some points (N, D), shape (N, size of the layout)."""
        z = np.empty((len(points), self.layout.size))
        for columns, lengths, weights in self.parts:
            z[:, columns] = _matern(_square_distances(points / lengths, self.points / lengths)) @ weights
        return np.asarray(z * self.std + self.mean)


def _square_distances(a: Array, b: Array) -> Array:
    found = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.asarray(np.maximum(found, 0.0))


def _matern(square: Array) -> Array:
    s = np.sqrt(5 * square)
    return np.asarray((1 + s + s**2 / 3) * np.exp(-s))


def _fit(gaps: Array, z: Array, weights: Array) -> tuple[Array, float, float]:
    """Length-scales, variance of the signal and of one run's noise, for squared gaps of shape (C, C, D)."""
    dimensions = gaps.shape[2]

    def loss(logs: Array) -> tuple[float, Array]:
        """Minus the log posterior per number, and its gradient."""
        lengths, signal, noise = np.exp(logs[:-2]), math.exp(logs[-2]), math.exp(logs[-1])
        square = (gaps / lengths**2).sum(-1)
        s = np.sqrt(5 * square)
        kernel = signal * _matern(square)
        factor = cho_factor(kernel + np.diag(noise * weights + JITTER), lower=True)
        a = cho_solve(factor, z)
        curvature = cho_solve(factor, np.eye(len(z))) - a @ a.T / z.shape[1]
        of_distance = curvature * (signal * 5 / 3 * (1 + s) * np.exp(-s))
        gradient = [0.5 * (of_distance * gaps[:, :, d]).sum() / lengths[d] ** 2 for d in range(dimensions)]
        gradient += [0.5 * (curvature * kernel).sum(), 0.5 * noise * (np.diag(curvature) * weights).sum()]
        pull = np.append(logs[:-2] - math.log(USUAL_LENGTH), (0.0, 0.0))
        value = 0.5 * (z * a).sum() / z.shape[1] + np.log(np.diag(factor[0])).sum() + 0.5 * (pull**2).sum()
        return float(value), np.array(gradient) + pull

    start = np.array([*[math.log(USUAL_LENGTH)] * dimensions, 0.0, math.log(0.1)])
    bounds: Sequence[tuple[float, float]] = [(-3, 3)] * (dimensions + 1) + [(-7, 1)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS})
    return np.exp(found.x[:-2]), math.exp(found.x[-2]), math.exp(found.x[-1])
