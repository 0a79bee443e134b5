"""How much of what became of trials each hyperparameter explains by itself, by two methods.

    PED-ANOVA   variance of the chance of being marked (among the best quarter; failed)
    fANOVA      variance of the number itself, as a regression forest sees it over the whole search space

Both are Optuna's to the last digit where their settings are the same, but thousands of times faster: a report asks
them hundreds of times, for shuffled and resampled studies.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from ppo_tune.reporting.axes import Axis

GRID = 50
"""Steps into which PED-ANOVA divides the range of a real number."""

TREES, TREE_TRIALS = 12, 256
"""Of the forest: trees, and how many trials each of them sees at most."""

DEPTH, LEAF_TRIALS = 5, 5
"""Of a tree: its depth at most, and the trials in a leaf at least. Finer ones learn the noise of tens of trials."""


def ped_anova(
    axes: Sequence[Axis], places: np.ndarray, rows: np.ndarray, marked: np.ndarray, *, one_width: bool = False
) -> np.ndarray:
    """PED-ANOVA for many versions of a study at once: how the chance of being marked varies with each value.

    With γ the share of marked trials, Optuna's number is the variance of that chance, and it can be γ(1 - γ) at most.

    Args:
        axes: The searched hyperparameters, p of them.
        places: Where the trials' values stand; shape (n, p), from 0 to 1.
        rows: Which trials each version has, with repetitions; shape (m, k).
        marked: Which of those are looked for; shape (m, k).
        one_width: Whether the kernels of all versions are as wide as those of the first one; repetitions in a
            resampled study would make them far too narrow.

    Returns:
        Variances; shape (m, p); 0 where all trials are marked or none is.
    """
    found = np.zeros((len(rows), len(axes)))
    share = marked.mean(axis=1)
    use = (share > 0) & (share < 1)
    rows, marked, share = rows[use], marked[use], share[use]
    for j, axis in enumerate(axes):
        steps = grid_steps(axis)
        cells = np.clip(np.ceil(places[:, j] * (steps - 1) - 0.5).astype(int), 0, steps - 1)[rows]
        among_marked, among_all = (
            density(count(cells, weights, steps), axis, one_width=one_width) + 1e-12
            for weights in (marked, np.ones_like(marked))
        )
        divergence = (among_all * (among_marked / among_all - 1) ** 2).sum(axis=1)
        found[use, j] = divergence * share**2
    return found


def grid_steps(axis: Axis) -> int:
    """Into how many steps PED-ANOVA divides a range."""
    if axis.choices or not axis.n_values:
        return axis.n_values or GRID
    if axis.is_log:
        low, high = axis.ends
        return min(int(np.ceil(np.log2(high - low + 1))) + 1, GRID)
    return min(axis.n_values, GRID)


def count(cells: np.ndarray, weights: np.ndarray, steps: int) -> np.ndarray:
    """How many trials are in each cell; shape (m, steps) from (m, n)."""
    flat = cells + steps * np.arange(len(cells))[:, np.newaxis]
    counts = np.bincount(flat.ravel(), weights=weights.ravel(), minlength=steps * len(cells))
    return counts.reshape(len(cells), steps)


def density(counts: np.ndarray, axis: Axis, *, one_width: bool) -> np.ndarray:
    """What lies behind counts of trials, as Optuna's Parzen estimators see it; shape (m, steps)."""
    if axis.choices:
        return smooth_choices(counts)
    widths = scott_widths(counts[:1] if one_width else counts)
    return smooth_numbers(counts, np.broadcast_to(widths, len(counts)))


def smooth_choices(counts: np.ndarray) -> np.ndarray:
    """The density of choices behind their counts: a kernel for each trial and an even one.

    Optuna's PED-ANOVA has one for each choice that was seen instead, so that the even part of the kernels never
    fades and hides most of what a choice explains.
    """
    n_choices, total = counts.shape[1], counts.sum(axis=1, keepdims=True)
    kernels = total + 1
    return np.asarray(((counts * kernels + total) / (n_choices + kernels) + 1 / n_choices) / kernels)


def scott_widths(counts: np.ndarray) -> np.ndarray:
    """How wide the kernels are, in steps: by Scott's rule, but no less than fills a cell; shape (m,)."""
    grid, total = np.arange(counts.shape[1]), counts.sum(axis=1)
    mean = counts @ grid / total
    squares = (counts * (grid - mean[:, np.newaxis]) ** 2).sum(axis=1)
    below = counts.cumsum(axis=1)
    first = (below >= np.maximum(total // 4, 1)[:, np.newaxis]).argmax(axis=1)
    third = (below > (total * 3 // 4)[:, np.newaxis]).argmax(axis=1)
    spread = np.minimum((third - first) / 1.34, np.sqrt(squares / np.maximum(1, total - 1)))
    return np.asarray(np.maximum(1.059 * spread * total**-0.2, 0.5 / 1.64))


def smooth_numbers(counts: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The density of numbers on a grid behind their counts.

    One normal kernel for each trial, cut at the ends of the range, and one that is as wide as the range.
    """
    steps = counts.shape[1]
    grid = np.arange(steps)
    below = ndtr(
        (np.arange(-steps, steps) + 0.5) / widths[:, np.newaxis]
    )  # up to so many steps away, and half a one
    kernels = np.diff(below, axis=1)[:, grid[:, np.newaxis] - grid + steps - 1]
    inside = below[:, 2 * steps - 1 - grid] - below[:, steps - 1 - grid]
    sums = np.einsum("mku,mu->mk", kernels, counts / inside)
    wide = np.diff(ndtr((np.arange(steps + 1) - steps / 2) / steps))
    return np.asarray((sums + wide / wide.sum()) / (counts.sum(axis=1, keepdims=True) + 1))


def forest_anova(units: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """fANOVA: how a regression forest's prediction varies over the search space, and with each value alone.

    Unlike Optuna's, a logarithmic range counts by its logarithm and a choice is one axis, not one for each value;
    and trees are coarse, for some tens of trials show large effects only.

    Args:
        units: Where trials stand in the unit cube; shape (n, p).
        target: What the forest learns; shape (n,).

    Returns:
        Variances by one hyperparameter alone, shape (p,), and that of the whole; means over trees.
    """
    from sklearn import config_context  # takes a second, and only the report of a larger study needs it
    from sklearn.tree import DecisionTreeRegressor

    random = np.random.RandomState(0)  # the same forest for every version of a study
    found = []
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for _ in range(TREES):
            drawn = random.randint(0, len(units), size=min(len(units), TREE_TRIALS))
            tree = DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=LEAF_TRIALS, random_state=random)
            grown = tree.fit(units[drawn], target[drawn], check_input=False).tree_
            found.append(box_variances(*leaves(grown)))
    return np.mean([alone for alone, _ in found], axis=0), float(np.mean([whole for _, whole in found]))


def leaves(tree: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The boxes into which a tree of scikit-learn divides the unit cube, and its prediction in each.

    Returns:
        Lower and upper corners, shape (leaves, p), and values, shape (leaves,).
    """
    low, high = np.zeros((tree.node_count, tree.n_features)), np.ones((tree.node_count, tree.n_features))
    splits = zip(tree.children_left, tree.children_right, tree.feature, tree.threshold, strict=True)
    for node, (left, right, feature, threshold) in enumerate(splits):
        if left >= 0:  # children come after their parents
            low[left] = low[right] = low[node]
            high[left] = high[right] = high[node]
            high[left, feature] = low[right, feature] = threshold
    is_leaf = tree.children_left < 0
    return low[is_leaf], high[is_leaf], tree.value[is_leaf, 0, 0]


def box_variances(low: np.ndarray, high: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """How a function that is constant in boxes varies over the unit cube, and with each axis alone.

    Its mean over all other axes is a step function of one axis, to which each box adds over its own interval; the
    integral of the square is a sum over pairs of boxes and how far their intervals overlap.

    Args:
        low: Lower corners; shape (boxes, p).
        high: Upper corners; shape (boxes, p).
        values: In each box; shape (boxes,).

    Returns:
        Variances by one axis alone, shape (p,), and that of the whole.
    """
    sides = high - low
    volumes = sides.prod(axis=1)
    deviations = values - volumes @ values
    heights = (volumes * deviations)[:, np.newaxis] / sides
    overlaps = np.minimum(high[:, np.newaxis], high) - np.maximum(low[:, np.newaxis], low)
    alone = np.einsum("lj,mj,lmj->j", heights, heights, np.maximum(overlaps, 0.0))
    return alone, float(volumes @ deviations**2)
