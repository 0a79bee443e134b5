"""95 % intervals of what held-out rows say, where rows of one prompt are not independent of each other.

Papers: Wilson, 1927, "Probable Inference, the Law of Succession, and Statistical Inference"; Korn and Graubard, 1998,
"Confidence Intervals for Proportions With Small Expected Number of Positive Counts Estimated From Survey Data"; for a
mean per token Cochran, 1977, "Sampling Techniques", 6.3 (a ratio of sums over clusters).
"""

import math
from collections.abc import Sequence

import torch
from scipy.special import stdtrit
from torch import Tensor

Interval = tuple[float, float]
"""Lower and upper end."""

Z = 1.959964
"""The normal distribution's quantile that leaves 2.5 % above."""

LEAST_PROMPTS = 30
"""Held-out prompts below which a user is told that they say little: an accuracy is then known to 0.18 at best."""


def few_heldout(n_prompts: int, measured: str) -> tuple[str, ...]:
    """The sentence for a number that was measured on few prompts; nothing where there are enough."""
    if n_prompts >= LEAST_PROMPTS:
        return ()
    return (
        f"{n_prompts} held-out {'prompts say' if n_prompts > 1 else 'prompt says'} little of the {measured}, which "
        f"{LEAST_PROMPTS} or more would; give more rows, or a larger heldout_fraction",
    )


def wilson(share: float, n: float) -> Interval:
    """The 95 % interval of a share of n.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    """
    z2 = Z**2 / n
    centre, half = share + z2 / 2, math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    return max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))


def share_interval(right: Tensor, prompts: Sequence[int]) -> Interval:
    """The interval of a share: Wilson's, of as many independent rows as say as much as these rows of some prompts do.

    Args:
        right: 1, 0 or, for a tie, 1/2, shape (N,).
        prompts: The number of each row's prompt.
    """
    return wilson(float(right.float().mean()), effective_size(right, prompts))


def effective_size(right: Tensor, prompts: Sequence[int]) -> float:
    """How many independent rows say as much of a share as N rows of G prompts: N where no two rows have one prompt.

    N is divided by the design effect, the variance between prompts over that of independent rows, never less than 1
    (N / G where all rows are right or none is), and by (t / z)², for G prompts estimate that variance.

    Args:
        right: 1, 0 or, for a tie, 1/2, shape (N,).
        prompts: The number of each row's prompt.
    """
    n = len(prompts)
    sums, sizes = (_by_prompt(values, prompts) for values in (right.double(), torch.ones(n)))
    n_prompts = len(sizes)
    if n_prompts == n or n_prompts == 1:
        return n_prompts
    share = float(right.double().mean())
    between, alone = _variance(sums, sizes), share * (1 - share) / n
    design_effect = max(1.0, between / alone) if alone else n / n_prompts
    return n / design_effect * (Z / _t(n_prompts)) ** 2


def mean_interval(sums: Tensor, weights: Tensor, prompts: Sequence[int]) -> Interval | None:
    """The interval of Σ sums / Σ weights over rows, such as what a fit took from nats per token.

    Args:
        sums: Shape (N,).
        weights: Shape (N,).
        prompts: The number of each row's prompt.

    Returns:
        mean ± t · its standard error; None where the rows are of one prompt.
    """
    mean, half = _mean_and_half(sums, weights, prompts)
    return None if half is None else (mean - half, mean + half)


def positive_interval(sums: Tensor, weights: Tensor, prompts: Sequence[int]) -> Interval | None:
    """The same of what is never below 0, such as nats over tokens: on the scale of logarithms, so its ends are not.

    Where most of a loss is in a few prompts it holds the truth more often than the other, and where there are many
    prompts they are alike.

    Returns:
        mean · exp(± t · its standard error / mean); None where the rows are of one prompt.
    """
    mean, half = _mean_and_half(sums, weights, prompts)
    if half is None:
        return None
    factor = math.exp(min(half / mean, MOST_NATS)) if mean else 1.0
    return mean / factor, mean * factor


MOST_NATS = 99.0
"""Half an interval's width on the scale of logarithms, at the most: a number still."""


def _mean_and_half(sums: Tensor, weights: Tensor, prompts: Sequence[int]) -> tuple[float, float | None]:
    """Σ sums / Σ weights, and half the width of its interval; None where all are of one prompt."""
    sums, weights = (_by_prompt(values.double(), prompts) for values in (sums, weights))
    mean = float(sums.sum() / weights.sum())
    return mean, None if len(sums) < 2 else _t(len(sums)) * math.sqrt(_variance(sums, weights))


def _by_prompt(values: Tensor, prompts: Sequence[int]) -> Tensor:
    """The sums of some rows' values over each of G prompts, (N,) -> (G,)."""
    _, places = torch.unique(torch.tensor(prompts), return_inverse=True)
    return torch.zeros(int(places.max()) + 1, dtype=torch.double).index_add_(0, places, values.double().cpu())


def _variance(sums: Tensor, weights: Tensor) -> float:
    """Of a ratio of sums over G prompts, by its residuals: G/(G-1) Σ (s - r w)² / (Σ w)²."""
    n, ratio = len(sums), sums.sum() / weights.sum()
    return float(n / (n - 1) * (sums - ratio * weights).square().sum() / weights.sum() ** 2)


def _t(n_prompts: int) -> float:
    """Student's quantile that leaves 2.5 % above, with one degree of freedom less than there are prompts."""
    return float(stdtrit(n_prompts - 1, 0.975))
