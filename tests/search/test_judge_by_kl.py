"""Gold over KL: the means by ranges of KL say where it is highest, and only where that can be told from chance."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ppo_tune.search.judge_by_kl import judge_by_kl, peak_range, peak_reading, peak_words

KL = np.array([0.05, 0.2, 0.6, 1.5, 3.0, 6.0, 10.0])


def made(*, noise: float = 0.05, n_trials: int = 12) -> pd.DataFrame:
    """Milestones of trials in which gold rises up to about 0.6 nats and falls from there on."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(n_trials):
        kl = KL * rng.uniform(0.8, 1.2, len(KL))
        d = np.sqrt(kl)
        gold = 0.8 * d * (1 - np.log(d)) + rng.normal(0, noise, len(KL))
        rows += [
            {"number": number, "kl": k, "judge_change": g, "score_change": k}
            for k, g in zip(kl, gold, strict=True)
        ]
    return pd.DataFrame(rows)


def test_kl_at_or_below_zero_and_unknown_gold_are_left_out() -> None:
    good = made()
    bad = pd.DataFrame(
        {
            "number": 99,
            "kl": [0.0, -0.01, math.inf, 1.0],
            "judge_change": [5.0, 5.0, 5.0, math.nan],
            "score_change": 0.0,
        }
    )

    pd.testing.assert_frame_equal(judge_by_kl(pd.concat([good, bad])), judge_by_kl(good))


def test_a_trial_counts_once_in_a_range_of_kl() -> None:
    rng = np.random.default_rng(1)
    low = [{"number": n, "kl": 0.1 + 0.01 * rng.random(), "judge_change": float(n), "score_change": 1.0}
           for n in range(5) for _ in range(4 - n % 2)]  # fmt: skip
    high = [{**row, "kl": row["kl"] + 5, "judge_change": row["judge_change"] / 2} for row in low]

    bins = judge_by_kl(pd.DataFrame(low + high))

    assert bins["trials"].tolist() == [5] * len(bins)
    expected = stats.ttest_1samp(range(5), 0).confidence_interval(0.95)
    first = bins.iloc[0]
    assert (first["judge_change"], first["judge_low"], first["judge_high"]) == pytest.approx((2, *expected))


def test_too_few_points_have_no_ranges() -> None:
    bins = judge_by_kl(made(n_trials=2))

    assert bins.empty
    assert peak_range(bins) is None
    assert peak_words(bins) == ""
    assert peak_reading(bins, 3.0, "gold").startswith("Too few milestones")


@pytest.mark.parametrize(
    ("budget", "advice"),
    [
        (0.1, "stays below."),
        (1.0, "is in that range."),
        (8.0, "reaches beyond: there more reward means less gold, on average."),
    ],
)
def test_the_range_with_the_highest_mean_says_where_the_peak_is(budget: float, advice: str) -> None:
    points = made()
    points["judge_change"] = np.where(points["kl"].between(0.3, 2.2), 1.4, 0.3)
    bins = judge_by_kl(points)

    words = peak_reading(bins, budget, "gold")

    low, high = peak_range(bins) or (0, 0)
    assert 0.2 < low < 0.8
    assert 0.6 < high < 2.2
    last = bins.iloc[-1]
    assert words == (
        f"Over all trials gold is highest between {low:.1f} and {high:.1f} nats (+1.40) and lower beyond "
        f"{last['kl_from']:.1f} nats (+0.30, 95 % +0.30 to +0.30). The KL budget of {budget:g} nats {advice}"
    )
    assert peak_words(bins) in words


def test_ranges_that_cannot_be_told_from_the_best_belong_to_the_peak() -> None:
    bins = pd.DataFrame({
        "kl_from": [0.0, 1.0, 2.0, 3.0], "kl_to": [1.0, 2.0, 3.0, 4.0], "trials": 9, "score_change": 1.0,
        "judge_change": [0.1, 0.9, 1.0, 0.2], "judge_low": [0.0, 0.7, 0.8, 0.1], "judge_high": [0.2, 1.1, 1.2, 0.3],
    })  # fmt: skip

    assert peak_range(bins) == (1.0, 3.0)


def test_gold_that_still_rises_has_no_peak() -> None:
    points = made()
    points["judge_change"] = np.sqrt(points["kl"]) + 0.3
    bins = judge_by_kl(points)

    assert peak_range(bins) is None
    assert peak_reading(bins, 3.0, "gold") == (
        f"Gold has no peak that can be told from chance up to {points['kl'].max():,.1f} nats, the largest KL seen."
    )
