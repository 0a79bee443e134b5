"""PED-ANOVA: how much of the chance of being marked (among the best quarter; failed) each hyperparameter explains.

It is Optuna's to the last digit where the settings are the same, but thousands of times faster: a report asks it
hundreds of times, for shuffled and resampled studies.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from ppo_tune.reporting.axes import Axis

GRID = 50
"""Steps into which PED-ANOVA divides the range of a real number."""


def ped_anova(
    axes: Sequence[Axis], places: np.ndarray, rows: np.ndarray, marked: np.ndarray, *, one_width: bool = False
) -> np.ndarray:
    """PED-ANOVA for many versions of a study at once: how the chance of being marked varies with each value.

    With γ the share of marked trials, Optuna's number is the variance of that chance, and it can be γ(1 - γ) at most.

    Args:
        axes: The searched hyperparameters, p of them.
        places: Where the trials' values stand; shape (n, p), from 0 to 1; a trial in which one is not searched, which
            NaN says, tells nothing of it.
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
    rows, marked = rows[use], marked[use]
    for j, axis in enumerate(axes):
        steps, searched = grid_steps(axis), ~np.isnan(places[:, j])
        stand = np.nan_to_num(places[:, j])
        cells = np.clip(np.ceil(stand * (steps - 1) - 0.5).astype(int), 0, steps - 1)[rows]
        known = searched[rows]
        tells = (marked & known).any(axis=1)
        among_marked, among_all = (
            density(count(cells[tells], weights[tells], steps), axis, one_width=one_width) + 1e-12
            for weights in (marked & known, known)
        )
        divergence = (among_all * (among_marked / among_all - 1) ** 2).sum(axis=1)
        n_known = known[tells].sum(axis=1)
        share = (marked & known)[tells].sum(axis=1) / n_known
        found[np.flatnonzero(use)[tells], j] = divergence * share**2 * (n_known / known.shape[1])
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
