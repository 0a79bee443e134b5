"""How sure a comparison over seeds and prompts is: means, intervals, probabilities, and who is out of the race.

Everything is computed from scores of shape (S, P), a row per seed and a column per prompt. A gain must hold on
new seeds *and* on new prompts, so both are counted as drawn at random and crossed; its interval is Student's,
for a percentile bootstrap over five seeds is too narrow: it misses the truth twice as often as it says. Where the best
of several is judged, the interval is widened by Bonferroni's rule, for the best of many is partly luck.

Knows nothing of studies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Scores = NDArray[np.float64]

CONFIDENCE = 0.95
"""Of every interval."""

RACE_CONFIDENCE = 0.95
"""How sure it must be that a candidate is behind the leader before its other seeds are saved."""

RESAMPLES = 2_000
"""Of a bootstrap."""

KL_SCALE = 8
"""log(1 + KL_SCALE·KL/budget) is linear well within the budget and logarithmic around it."""


def log_kl(kl: Any, budget: float) -> Any:
    """KL, in nats per response like its budget, on the scale on which its noise is about the same everywhere."""
    return np.log1p(KL_SCALE * np.maximum(kl, 0.0) / budget)


@dataclass(frozen=True)
class Gain:
    """How much more one config scores than another.

    Attributes:
        mean: Mean difference over seeds and prompts.
        low: Lower end of its interval.
        high: Upper end.
        probability: That the true mean difference is above 0, from the same t distribution, one comparison alone.
        standard_error: Of the mean difference.
        freedom: Degrees of freedom of the t distribution.
    """

    mean: float
    low: float
    high: float
    probability: float
    standard_error: float
    freedom: float

    @property
    def is_certain(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0


def interquartile_mean(values: Any, axis: int = -1) -> Any:
    """Mean of the middle half: the quarter at either end, rounded down, is left out.

    Agarwal et al., Deep RL at the edge of the statistical precipice (2021).
    """
    return stats.trim_mean(values, 0.25, axis=axis)


def bootstrap_interval(values: Scores) -> tuple[float, float]:
    """Percentile bootstrap interval of the interquartile mean over seeds, shape (S,); NaN for fewer than two."""
    if len(values) < 2:
        return float("nan"), float("nan")
    found = stats.bootstrap(
        (values,), interquartile_mean, confidence_level=CONFIDENCE, n_resamples=RESAMPLES, method="percentile",
        vectorized=True, rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


@dataclass(frozen=True)
class SeedNoise:
    """What a seed does to the mean score of a config, beside what it does to all configs alike.

    Attributes:
        variance: Of one run.
        freedom: Degrees of freedom by which it is known.
    """

    variance: float
    freedom: int


def seed_noise(means: Sequence[Scores]) -> SeedNoise | None:
    """The noise of seeds pooled over configs, from the mean score of each config on seeds 0, 1, 2, …; None if not told.

    What is left of the table of configs and seeds after a mean of each row and column, by least squares, for a config
    that left a race has fewer seeds. Two or three seeds of one config say next to nothing of it.
    """
    cells = [(row, seed, mean) for row, found in enumerate(means) for seed, mean in enumerate(found)]
    rows, seeds = len(means), max(map(len, means), default=0)
    design = np.zeros((len(cells), rows + seeds))
    for at, (row, seed, _) in enumerate(cells):
        design[at, row] = design[at, rows + seed] = 1
    values = np.array([mean for *_, mean in cells])
    fitted, _, rank, _ = np.linalg.lstsq(design, values)
    freedom, left = len(cells) - int(rank), values - design @ fitted
    left[np.abs(left) < 1e-12 * np.abs(values).max(initial=1.0)] = 0.0  # rounding
    return SeedNoise(float((left**2).sum()) / freedom, freedom) if freedom > 0 else None


def gain(scores: Scores, rival: Scores, *, comparisons: int = 1, noise: SeedNoise | None = None) -> Gain:
    """How much more a config scores than its rival, seed by seed and prompt by prompt.

    The variance of the mean is var(seed means) / S + var(prompt means) / P, with degrees of freedom by Welch and
    Satterthwaite: a crossed design in which both are random (Owen, The pigeonhole bootstrap, 2007, shows that no
    bootstrap of it is exact and that this sum errs on the safe side). Of a single seed only the prompts' part is known.

    Args:
        scores: Shape (S, P), S or P of at least 2.
        rival: The same seeds and prompts, shape (S, P).
        comparisons: Among how many configs this one is the best.
        noise: Of the seeds, pooled over configs: what the seeds' part is known by, and its least.
    """
    difference = scores - rival
    n_seeds, n_prompts = difference.shape
    parts, freedoms = [], []
    for axis, n in ((1, n_seeds), (0, n_prompts)):
        if n > 1:
            parts.append(difference.mean(axis).var(ddof=1) / n)
            freedoms.append(n - 1)
    if noise is not None and n_seeds > 1:
        runs = 1 if np.ptp(rival.mean(1)) == 0 else 2  # a rival that is not trained has no seeds
        parts[0], freedoms[0] = (
            max(parts[0], runs * noise.variance / n_seeds),
            max(freedoms[0], noise.freedom),
        )
    mean, variance = float(difference.mean()), float(sum(parts))
    if variance == 0:
        return Gain(mean, mean, mean, 0.5 if mean == 0 else float(mean > 0), 0.0, float("inf"))
    freedom = float(variance**2 / sum(part**2 / free for part, free in zip(parts, freedoms, strict=True)))
    error = variance**0.5
    reach = float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / comparisons, freedom)) * error
    probability = float(stats.t.cdf(mean / error, freedom))
    return Gain(mean, mean - reach, mean + reach, probability, error, freedom)


def seeds_for(wanted: float, scores: Scores, rival: Scores, *, comparisons: int = 1) -> int | None:
    """How many seeds would make a gain of `wanted` certain if it is real; None if 100 would not do.

    More seeds do not help against the choice of prompts, which stays; they do against what a prompt happens to be
    answered, by which the means of prompts over few seeds differ, too.
    """
    difference = scores - rival
    n_seeds, n_prompts = difference.shape
    of_seed, of_prompt, of_answer = difference.mean(1).var(ddof=1), 0.0, 0.0
    if n_prompts > 1:
        rest = difference - difference.mean(1, keepdims=True) - difference.mean(0) + difference.mean()
        of_answer = float((rest**2).sum()) / ((n_seeds - 1) * (n_prompts - 1))
        of_prompt = max(difference.mean(0).var(ddof=1) - of_answer / n_seeds, 0.0)
    for n in range(2, 101):
        quantile = stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / comparisons, n - 1)
        if quantile * (of_seed / n + (of_prompt + of_answer / n) / n_prompts) ** 0.5 < wanted:
            return n
    return None


def still_racing(means: Scores, may_lead: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Which configs can still win, given their scores on the seeds that all of them have had.

    A config is out when it is behind the leader by more than the noise explains: the noise is what is left of
    the table after the means of its rows and columns, pooled over all configs, for two seeds of one config
    alone say little.

    Args:
        means: A row per config, a column per seed, shape (C, S).
        may_lead: Which of them may be the leader, shape (C,); None for all.

    Returns:
        Shape (C,); all True with fewer than two seeds or configs.
    """
    n_configs, n_seeds = means.shape
    leaders = np.ones(n_configs, dtype=bool) if may_lead is None else may_lead
    if n_seeds < 2 or n_configs < 2 or not leaders.any():
        return np.ones(n_configs, dtype=bool)
    rest = means - means.mean(1, keepdims=True) - means.mean(0, keepdims=True) + means.mean()
    freedom = (n_configs - 1) * (n_seeds - 1)
    noise = (rest**2).sum() / freedom
    reach = stats.t.ppf(RACE_CONFIDENCE, freedom) * (2 * noise / n_seeds) ** 0.5
    behind = means.mean(1)[leaders].max() - means.mean(1)
    return np.asarray(behind <= reach)
