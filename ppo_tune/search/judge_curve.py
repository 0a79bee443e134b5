"""How a judge depends on the distance from the untrained model: the fitted curve, and means by KL.

Columns that begin with `judge_` are of the judge in question.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.trial import FrozenTrial
from scipy import stats

from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.heldout import HeldOut

Numbers = NDArray[np.float64]

MIN_TRIALS, MIN_POINTS, MIN_SPREAD, MIN_R_SQUARED = 8, 16, 2.0, 0.5
"""Below these a fit is not shown: trials, points, largest over smallest d (95th and 5th percentile), R²."""

MAX_MISSED = 0.2
"""Share of the means by range of KL that the curve may miss and still say where the peak is."""

RESAMPLES = 2000
"""Of the bootstrap over trials."""

BINS = 6
"""At most so many ranges of KL, each with about as many points."""


@dataclass(frozen=True)
class JudgeFit:
    """Least squares of a judge's change on d(α − β·log d) with d = √KL (Gao et al., 2022, arXiv 2210.10760).

    Intervals are 95 % percentiles of a bootstrap over trials, for the milestones of a trial are not independent.

    Attributes:
        alpha: What the judge gives more per unit of d where d = 1.
        beta: How much of that is lost whenever d grows e-fold.
        alpha_interval: Of alpha.
        beta_interval: Of beta.
        peak_interval: Of the KL at the peak; ends may be infinite.
        r_squared: Share of the judge's variance over the points that the curve explains; negative if less than none.
        n_points: How many points.
        n_trials: Of how many trials.
        spread: Largest over smallest d, at the 95th and 5th percentile.
        largest_kl: Of the points.
    """

    alpha: float
    beta: float
    alpha_interval: tuple[float, float]
    beta_interval: tuple[float, float]
    peak_interval: tuple[float, float]
    r_squared: float
    n_points: int
    n_trials: int
    spread: float
    largest_kl: float

    @property
    def peak_kl(self) -> float:
        """KL at which the curve is highest: d* = exp(α/β − 1), squared; infinite where it never bends down."""
        return peak_kl(self.alpha, self.beta)

    @property
    def fits(self) -> bool:
        """Whether the curve says enough to be shown."""
        enough = self.n_trials >= MIN_TRIALS and self.n_points >= MIN_POINTS and self.spread >= MIN_SPREAD
        return enough and self.r_squared >= MIN_R_SQUARED and self.beta_interval[0] > 0

    def at(self, kl: Numbers) -> Numbers:
        """The judge's change at some KL."""
        return np.asarray(design(kl) @ np.array([self.alpha, self.beta]))


def judge_points(trials: Sequence[FrozenTrial], base: HeldOut | None, judge: str) -> pd.DataFrame:
    """Every milestone that a judge scored: number of the trial, kl, score_change and judge_change.

    The changes are NaN where what the untrained model came to is not known.
    """
    score = math.nan if base is None else base.score
    start = math.nan if base is None else base.by(judge).mean
    rows = [
        (trial.number, point.kl, point.score - score, point.by(judge).mean - start)
        for trial in trials
        for point in TrialFacts(trial).curve
        if judge in point.judges
    ]
    return pd.DataFrame(rows, columns=["number", "kl", "score_change", "judge_change"]).astype({"kl": float})


def design(kl: Numbers) -> Numbers:
    """The two columns that α and β weigh: d and −d·log d."""
    d = np.sqrt(kl)
    return np.stack([d, -d * np.log(d)], axis=1)


def peak_kl(alpha: float, beta: float) -> float:
    """Where d(α − β·log d) is highest, in nats."""
    return math.exp(min(2 * (alpha / beta - 1), 700.0)) if beta > 0 else math.inf


def fit_judge(points: pd.DataFrame) -> JudgeFit | None:
    """Fit the curve to the milestones of `judge_points`; None without at least two trials and three points."""
    known = usable(points)
    n_trials = known["number"].nunique()
    if len(known) < 3 or n_trials < 2:
        return None
    kl, judged = known["kl"].to_numpy(float), known["judge_change"].to_numpy(float)
    columns = design(kl)
    (alpha, beta), *_ = np.linalg.lstsq(columns, judged)
    total = float(((judged - judged.mean()) ** 2).sum())
    rest = float(((judged - columns @ np.array([alpha, beta])) ** 2).sum())
    alphas, betas = _resampled(known["number"].to_numpy(), columns, judged)
    peaks = np.full(len(betas), math.inf)
    falls = betas > 0
    peaks[falls] = np.exp(np.minimum(2 * (alphas[falls] / betas[falls] - 1), 700))
    low, high = np.percentile(np.sqrt(kl), [5, 95])
    return JudgeFit(
        alpha=float(alpha),
        beta=float(beta),
        alpha_interval=_ends(alphas),
        beta_interval=_ends(betas),
        peak_interval=_ends(peaks),
        r_squared=1 - rest / total if total > 0 else 0.0,
        n_points=len(known),
        n_trials=n_trials,
        spread=float(high / low),
        largest_kl=float(kl.max()),
    )


def usable(points: pd.DataFrame) -> pd.DataFrame:
    """Points where the logarithm exists and the judge's change is known; an estimated KL may lie a little below 0."""
    return points[(points["kl"] > 0) & (points["kl"] < math.inf) & points["judge_change"].notna()]


def _resampled(numbers: NDArray[np.int64], columns: Numbers, judged: Numbers) -> tuple[Numbers, Numbers]:
    """α and β of resampled trials, from each trial's share of the normal equations."""
    trials, of = np.unique(numbers, return_inverse=True)
    parts = np.zeros((len(trials), 5))
    u, v = columns.T
    np.add.at(parts, of, np.stack([u * u, u * v, v * v, u * judged, v * judged], axis=1))
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(trials), np.full(len(trials), 1 / len(trials)), size=RESAMPLES)
    uu, uv, vv, ug, vg = (counts @ parts).T
    determinant = uu * vv - uv * uv
    solvable = determinant > 1e-9 * uu * vv
    uu, uv, vv, ug, vg, determinant = (a[solvable] for a in (uu, uv, vv, ug, vg, determinant))
    return (vv * ug - uv * vg) / determinant, (uu * vg - uv * ug) / determinant


def _ends(values: Numbers) -> tuple[float, float]:
    """The middle 95 %; infinities may be among the values, so nothing is interpolated."""
    if not len(values):
        return -math.inf, math.inf
    low, high = np.percentile(values, [2.5, 97.5], method="nearest")
    return float(low), float(high)


def judge_by_kl(points: pd.DataFrame, fit: JudgeFit | None = None) -> pd.DataFrame:
    """Mean change of score and judge by ranges of KL that hold about as many points each.

    A trial counts once per range, with the mean of its milestones there; the interval is Student's over trials.

    Columns: kl_from, kl_to, trials, score_change, judge_change, judge_low, judge_high, and curve: the mean of the
    fitted curve at the same milestones, NaN without a fit.
    """
    changes = ["score_change", "judge_change"]
    columns = ["kl_from", "kl_to", "trials", *changes, "judge_low", "judge_high", "curve"]
    known = usable(points)
    n_bins = min(BINS, len(known) // 8)
    if n_bins < 2:
        return pd.DataFrame(columns=columns, dtype=float)
    known = known.assign(curve=fit.at(known["kl"].to_numpy(float)) if fit is not None else math.nan)
    rows = []
    for _, part in known.groupby(pd.qcut(known["kl"], n_bins, duplicates="drop"), observed=True):
        means = part.groupby("number")[[*changes, "curve"]].mean()
        n, judged = len(means), means["judge_change"]
        reach = float(stats.t.ppf(0.975, n - 1)) * float(judged.std()) / math.sqrt(n) if n > 1 else math.nan
        rows.append([part["kl"].min(), part["kl"].max(), n, means["score_change"].mean(), judged.mean(),
                     judged.mean() - reach, judged.mean() + reach, means["curve"].mean()])  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype({"trials": int})


def missed(bins: pd.DataFrame) -> int:
    """In how many ranges of KL the fitted curve is outside the interval of the mean."""
    return int(((bins["curve"] < bins["judge_low"]) | (bins["curve"] > bins["judge_high"])).sum())


def is_trusted(fit: JudgeFit | None, bins: pd.DataFrame) -> bool:
    """Whether the fitted curve may say where the peak is: it fits, and misses few of the means."""
    return fit is not None and fit.fits and missed(bins) <= MAX_MISSED * len(bins)


def peak_range(fit: JudgeFit | None, bins: pd.DataFrame) -> tuple[float, float] | None:
    """Between which KLs the judge is highest; None where no peak was reached or nothing can be told.

    The interval of the fitted curve's peak if the curve is to be trusted. Else the range of KL with the highest mean
    and its neighbours that cannot be told from it, if the judge is lower at the largest KL.
    """
    if fit is not None and is_trusted(fit, bins):
        low, high = fit.peak_interval
        return (low, min(high, fit.largest_kl)) if fit.peak_kl <= fit.largest_kl else None
    if bins["judge_low"].isna().all():
        return None
    lows, highs = bins["judge_low"].to_numpy(float), bins["judge_high"].to_numpy(float)
    best = int(bins["judge_change"].to_numpy(float).argmax())
    alike = highs >= lows[best]
    first = last = best
    while first > 0 and alike[first - 1]:
        first -= 1
    while last < len(bins) - 1 and alike[last + 1]:
        last += 1
    if last == len(bins) - 1:
        return None
    return float(bins["kl_from"].iloc[first]), float(bins["kl_to"].iloc[last])


def peak_reading(fit: JudgeFit | None, bins: pd.DataFrame, budget: float, judge: str) -> str:
    """At which KL a judge is highest, and what that means for the KL budget."""
    if bins.empty:
        return f"Too few milestones have a {judge} score to say at which KL it is highest."
    return f"{_where(fit, bins, judge)}{_advice(peak_range(fit, bins), budget, judge)}{_fit_words(fit, bins)}"


def peak_words(fit: JudgeFit | None, bins: pd.DataFrame) -> str:
    """Where a judge is highest, as the end of a sentence about it; empty where no peak can be told from chance."""
    peak = None if bins.empty else peak_range(fit, bins)
    if peak is None:
        return ""
    if fit is not None and is_trusted(fit, bins):
        return f"peaks at {fit.peak_kl:.1f} nats"
    return f"is highest between {peak[0]:.1f} and {peak[1]:.1f} nats"


def _where(fit: JudgeFit | None, bins: pd.DataFrame, judge: str) -> str:
    peak, largest = peak_range(fit, bins), float(bins["kl_to"].iloc[-1])
    if peak is None:
        return (
            f"{capitalized(judge)} has no peak that can be told from chance up to {largest:,.1f} nats, the largest KL "
            "seen"
        )
    low, high = peak
    said = f"Over all trials {judge} {peak_words(fit, bins)}"
    if is_trusted(fit, bins):
        return f"{said} (95 % {low:.1f} to {high:.1f})"
    inside = bins[(bins["kl_from"] >= low) & (bins["kl_to"] <= high)]
    best, last = inside["judge_change"].max(), bins.iloc[-1]
    return (f"{said} ({best:+.2f}) and lower beyond "
            f"{last['kl_from']:.1f} nats ({last['judge_change']:+.2f}, 95 % {last['judge_low']:+.2f} to "
            f"{last['judge_high']:+.2f})")  # fmt: skip


def capitalized(judge: str) -> str:
    """A judge's name at the beginning of a sentence."""
    return judge[:1].upper() + judge[1:]


def _advice(peak: tuple[float, float] | None, budget: float, judge: str) -> str:
    if peak is None:
        return "."
    if budget > peak[1]:
        return f". The KL budget of {budget:g} nats reaches beyond: there more reward means less {judge}, on average."
    return f". The KL budget of {budget:g} nats {'stays below' if budget < peak[0] else 'is in that range'}."


def _fit_words(fit: JudgeFit | None, bins: pd.DataFrame) -> str:
    """The fitted curve with its numbers; nothing where it is not relied on."""
    if fit is None or not is_trusted(fit, bins):
        return ""
    return (
        f" Curve: d(α − β·log d), d = √KL; α {fit.alpha:.2f} ({_range(fit.alpha_interval)}), β {fit.beta:.2f} "
        f"({_range(fit.beta_interval)}), R² {fit.r_squared:.2f}, {fit.n_points} milestones of {fit.n_trials} trials, "
        f"intervals over trials. It misses {missed(bins)} of {len(bins)} means (squares)."
    )


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.2f} to {ends[1]:.2f}"
