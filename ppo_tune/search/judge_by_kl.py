"""How a judge depends on the distance from the untrained model: means by ranges of KL.

Columns that begin with `judge_` are of the judge in question.
"""

import math
from collections.abc import Sequence

import pandas as pd
from optuna.trial import FrozenTrial
from scipy import stats

from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.heldout import HeldOut

BINS = 6
"""At most so many ranges of KL, each with about as many points."""


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


def usable(points: pd.DataFrame) -> pd.DataFrame:
    """Points whose root of KL exists and whose judge is known; an estimated KL may lie a little below 0."""
    return points[(points["kl"] > 0) & (points["kl"] < math.inf) & points["judge_change"].notna()]


def judge_by_kl(points: pd.DataFrame) -> pd.DataFrame:
    """Mean change of score and judge by ranges of KL that hold about as many points each.

    A trial counts once per range, with the mean of its milestones there; the interval is Student's over trials.

    Columns: kl_from, kl_to, trials, score_change, judge_change, judge_low, judge_high.
    """
    changes = ["score_change", "judge_change"]
    columns = ["kl_from", "kl_to", "trials", *changes, "judge_low", "judge_high"]
    known = usable(points)
    n_bins = min(BINS, len(known) // 8)
    if n_bins < 2:
        return pd.DataFrame(columns=columns, dtype=float)
    rows = []
    for _, part in known.groupby(pd.qcut(known["kl"], n_bins, duplicates="drop"), observed=True):
        means = part.groupby("number")[changes].mean()
        n, judged = len(means), means["judge_change"]
        reach = float(stats.t.ppf(0.975, n - 1)) * float(judged.std()) / math.sqrt(n) if n > 1 else math.nan
        rows.append([part["kl"].min(), part["kl"].max(), n, means["score_change"].mean(), judged.mean(),
                     judged.mean() - reach, judged.mean() + reach])  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype({"trials": int})


def peak_range(bins: pd.DataFrame) -> tuple[float, float] | None:
    """Between which KLs the judge is highest; None where no peak was reached or nothing can be told.

    It is the range of KL with the highest mean and its neighbours that cannot be told from it, if the judge is lower
    at the largest KL.
    """
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


def peak_reading(bins: pd.DataFrame, budget: float, judge: str) -> str:
    """At which KL a judge is highest, and what that means for the KL budget."""
    if bins.empty:
        return f"Too few milestones have a {judge} score to say at which KL it is highest."
    best, last, peak = bins["judge_change"].max(), bins.iloc[-1], peak_range(bins)
    if peak is None:
        return (
            f"{capitalized(judge)} has no peak that can be told from chance up to {last['kl_to']:,.1f} nats, the "
            "largest KL seen."
        )
    where = (
        f"Over all trials {judge} {peak_words(bins)} ({best:+.2f}) and lower beyond {last['kl_from']:.1f} nats "
        f"({last['judge_change']:+.2f}, 95 % {last['judge_low']:+.2f} to {last['judge_high']:+.2f})"
    )
    if budget > peak[1]:
        advice = f"reaches beyond: there more reward means less {judge}, on average"
    else:
        advice = "stays below" if budget < peak[0] else "is in that range"
    return f"{where}. The KL budget of {budget:g} nats {advice}."


def peak_words(bins: pd.DataFrame) -> str:
    """Where a judge is highest, as the end of a sentence about it; empty where no peak can be told from chance."""
    peak = peak_range(bins)
    return "" if peak is None else f"is highest between {peak[0]:.1f} and {peak[1]:.1f} nats"


def capitalized(judge: str) -> str:
    """A judge's name at the beginning of a sentence."""
    return judge[:1].upper() + judge[1:]
