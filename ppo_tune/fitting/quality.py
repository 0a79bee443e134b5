"""What held-out labels say of a reward model: how often it orders two responses as people did, and its calibration.

Papers: Goodman and Kruskal, 1954, "Measures of Association for Cross Classifications" (the rank correlation); Naeini et
al., 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (the calibration error).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from ppo_tune.data.labels import Numbers
from ppo_tune.fitting.intervals import Interval, share_interval
from ppo_tune.fitting.raters import MOST_ANSWERS

BINS = 10
"""Of equally many rows each, for the calibration error."""

LEAST_PAIRS = 10
"""Pairs of answers to one prompt below which answers to different prompts are compared instead."""


@dataclass(frozen=True)
class Ordering:
    """How often a model orders two responses as they were judged.

    Attributes:
        accuracy: The share; equal scores count half.
        interval: Its 95 % interval.
        pairs: Of how many pairs of held-out responses.
        prompts: Of how many prompts.
        across: Whether the responses of a pair need not be of one prompt, for too few prompts have several.
    """

    accuracy: float
    interval: Interval
    pairs: int
    prompts: int
    across: bool = False

    @property
    def rank_correlation(self) -> float:
        """Goodman and Kruskal's γ, from -1 to 1: concordant less discordant pairs, as a share of all."""
        return 2 * self.accuracy - 1


def rights(better: Tensor, worse: Tensor) -> Tensor:
    """1 for each pair, (N,) and (N,), whose better response scores higher, 1/2 for equal scores, else 0."""
    return (better > worse).float() + (better == worse).float() / 2


def ordering(scores: Tensor, order: Numbers, prompts: Sequence[int]) -> Ordering | None:
    """How well scores order responses that were judged otherwise than each other.

    Args:
        scores: Shape (N, R).
        order: A number per row that is larger for a better response, or, of pairs, above 0 where the first is better;
            NaN where that is not known, (N,).
        prompts: The number of each row's prompt.

    Returns:
        None where all labels are the same.
    """
    if scores.shape[1] == 2:
        rows = np.flatnonzero(order > 0).tolist()
        if not rows:
            return None
        kept = scores[rows]
        return _ordering(rights(kept[:, 0], kept[:, 1]), [prompts[i] for i in rows])
    better, worse, of = _pairs_of(order, prompts)
    across = len(better) < LEAST_PAIRS
    if across:
        better, worse, of = _neighbours(order)
    if not better:
        return None
    return _ordering(rights(scores[better, 0], scores[worse, 0]), of, across=across)


def _ordering(right: Tensor, prompts: Sequence[int], *, across: bool = False) -> Ordering:
    interval = share_interval(right, prompts)
    return Ordering(float(right.mean()), interval, len(right), len({*prompts}), across)


def _pairs_of(order: Numbers, prompts: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """The better and the worse row of all pairs of one prompt whose labels differ, and the prompt."""
    rows_of: defaultdict[int, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompts):
        if not np.isnan(order[row]) and len(rows_of[prompt]) < MOST_ANSWERS:
            rows_of[prompt].append(row)
    found = [
        (*((a, b) if order[a] > order[b] else (b, a)), prompt)
        for prompt, rows in rows_of.items()
        for a, b in combinations(rows, 2)
        if order[a] != order[b]
    ]
    better, worse, of = ([one[i] for one in found] for i in range(3))
    return better, worse, of


def _neighbours(order: Numbers) -> tuple[list[int], list[int], list[int]]:
    """The same of rows taken two by two as they come, so that no row is in two pairs; each pair counts for itself."""
    rows = [row for row in range(len(order)) if not np.isnan(order[row])]
    pairs = [(a, b) if order[a] > order[b] else (b, a) for a, b in zip(rows[::2], rows[1::2], strict=False)]
    pairs = [(a, b) for a, b in pairs if order[a] != order[b]]
    return [a for a, _ in pairs], [b for _, b in pairs], [*range(len(pairs))]


def calibration_error(expected: Tensor, happened: Tensor) -> float:
    """The mean distance of what a model expects and what was, over ten bins of equally many rows by what it expects.

    Σ_b n_b/N |mean expected - mean happened|

    Args:
        expected: Such as probabilities, (N,).
        happened: Such as 1 and 0, (N,).
    """
    rows = torch.argsort(expected, stable=True)
    bins = [part for part in rows.tensor_split(BINS) if len(part)]
    gaps = [len(part) * (expected[part].mean() - happened[part].mean()).abs() for part in bins]
    return float(torch.stack(gaps).sum() / len(rows))
