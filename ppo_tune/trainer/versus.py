"""Two models on the same prompts, with the same random numbers, by all who judge: which is better, and how surely."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from ppo_tune.fitting.intervals import Interval, wilson


@dataclass(frozen=True)
class Versus:
    """What a judge says of one model against another.

    Attributes:
        judge: Its name; the objective is called score.
        difference: Mean of ours less theirs over prompts.
        interval: Its 95 % interval, Student's over prompts.
        wins: Share of the prompts on which ours is better; equal scores count half.
        wins_interval: Wilson's.
        n: How many prompts.
    """

    judge: str
    difference: float
    interval: Interval
    wins: float
    wins_interval: Interval
    n: int


def versus(ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]) -> tuple[Versus, ...]:
    """Two models by every judge that both have.

    Args:
        ours: Scores on some prompts, by the judge's name.
        theirs: Scores on the same prompts, in the same order.
    """
    return tuple(_versus(name, scores, theirs[name]) for name, scores in ours.items() if name in theirs)


def _versus(name: str, ours: Sequence[float], theirs: Sequence[float]) -> Versus:
    gaps = np.array(ours) - np.array(theirs)
    n, mean = len(gaps), float(gaps.mean())
    half = float(t.ppf(0.975, n - 1) * gaps.std(ddof=1) / n**0.5) if n > 1 else float("inf")
    wins = float(((gaps > 0) + (gaps == 0) / 2).mean())
    return Versus(name, mean, (mean - half, mean + half), wins, wilson(wins, n), n)
