"""Extremely randomized trees (Geurts et al., 2006) for several numbers of a config: a world with steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.worlds.table import Array, Layout

TREES = 100
LEAST = 2
"""Configs of a leaf."""


@dataclass
class _Tree:
    """The nodes of one tree by their index: what is asked, where the answers lead (0 in a leaf), and the mean."""

    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    children: list[tuple[int, int]] = field(default_factory=list)
    mean: list[Array] = field(default_factory=list)

    def grow(self, x: Array, y: Array, weights: Array, rng: np.random.Generator) -> int:
        """Add the node of these configs and all below it; returns its index."""
        index = len(self.mean)
        self.mean.append(np.average(y, axis=0, weights=weights))
        self.feature.append(0)
        self.threshold.append(0.0)
        self.children.append((0, 0))
        thresholds = rng.uniform(x.min(0), x.max(0))
        left = (x <= thresholds).T  # a row per feature
        allowed = np.minimum(left.sum(1), (~left).sum(1)) >= LEAST
        if len(x) < 2 * LEAST or not allowed.any():
            return index
        gains = _between(left, y, weights) + _between(~left, y, weights)
        best = int(np.where(allowed, gains, -np.inf).argmax())
        side = left[best]
        self.feature[index], self.threshold[index] = best, thresholds[best]
        below = [self.grow(x[part], y[part], weights[part], rng) for part in (side, ~side)]
        self.children[index] = (below[0], below[1])
        return index


def _between(part: Array, y: Array, weights: Array) -> Array:
    """Sum of squares that the mean of each part explains, shape (F,)."""
    total = np.maximum(part @ weights, 1e-12)
    return np.asarray(((part @ (weights[:, None] * y)) ** 2).sum(1) / total)


class ExtraTrees:
    """Mean curves by trees of random thresholds, the best of one per feature at every node.

    Args: as those of `GaussianProcess`.
    """

    def __init__(self, layout: Layout, points: Array, numbers: Array, runs: Array) -> None:
        self.layout = layout
        self.mean, self.std = numbers.mean(0), numbers.std(0)
        seen = _features(layout, points)
        trees = [_Tree() for _ in range(TREES)]
        for index, tree in enumerate(trees):
            tree.grow(seen, (numbers - self.mean) / self.std, runs, np.random.default_rng([index]))
        self.roots = np.cumsum([0, *(len(tree.mean) for tree in trees[:-1])])
        self.feature = np.concatenate([tree.feature for tree in trees])
        self.threshold = np.concatenate([tree.threshold for tree in trees])
        nodes = zip(trees, self.roots, strict=True)
        self.children = np.concatenate([_moved(tree.children, root) for tree, root in nodes])
        self.leaf = np.concatenate([tree.mean for tree in trees])

    def predict(self, points: Array) -> Array:
        """Mean numbers at some points (N, D), shape (N, size of the layout)."""
        z = [self._predict(point) for point in _features(self.layout, points)]
        return np.asarray(np.array(z) * self.std + self.mean)

    def _predict(self, point: Array) -> Array:
        node = self.roots
        while True:
            right = point[self.feature[node]] > self.threshold[node]
            below = self.children[node, right.astype(int)]
            if (below == node).all():
                return np.asarray(self.leaf[node].mean(0))
            node = below


def _features(layout: Layout, points: Array) -> Array:
    """The points and, where both are searched, the learning rate per episode of a batch and per its square root."""
    if not {"learning_rate", "batch_size"} <= set(layout.space):
        return points
    rate, batch = (
        layout.column(points, name) * layout.span(name) for name in ("learning_rate", "batch_size")
    )
    return np.column_stack([points, rate - batch, rate - batch / 2])


def _moved(children: Sequence[tuple[int, int]], root: int) -> Array:
    """Children by their index among the nodes of all trees; a leaf leads to itself."""
    found = np.array(children)
    own = np.arange(len(found))[:, None]
    return np.where(found == 0, own, found) + root
