"""Gold over KL: the fitted curve finds what made the points, and says so only where it fits."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ppo_tune.search import judge_curve
from ppo_tune.search.judge_curve import JudgeFit, fit_judge, judge_by_kl, peak_range, peak_reading

KL = np.array([0.05, 0.2, 0.6, 1.5, 3.0, 6.0, 10.0])


def made(
    alpha: float, beta: float, *, noise: float = 0.0, offset: float = 0.0, n_trials: int = 12, seed: int = 0
) -> pd.DataFrame:
    """Points of d(α − β·log d), with noise per point and an offset per trial."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n_trials):
        kl = KL * rng.uniform(0.8, 1.2, len(KL))
        d = np.sqrt(kl)
        gold = d * (alpha - beta * np.log(d)) + rng.normal(0, noise, len(KL)) + rng.normal(0, offset)
        rows += [
            {"number": number, "kl": k, "judge_change": g, "score_change": k}
            for k, g in zip(kl, gold, strict=True)
        ]
    return pd.DataFrame(rows)


def fitted(points: pd.DataFrame) -> JudgeFit:
    fit = fit_judge(points)
    assert fit is not None
    return fit


@settings(max_examples=25)
@given(alpha=st.floats(-2, 2), beta=st.floats(0.1, 2))
def test_alpha_and_beta_are_recovered_from_their_own_points(alpha: float, beta: float) -> None:
    fit = fitted(made(alpha, beta))

    assert (fit.alpha, fit.beta) == pytest.approx((alpha, beta), abs=1e-8)
    assert fit.r_squared == pytest.approx(1)


@settings(max_examples=25)
@given(alpha=st.floats(-0.5, 1), beta=st.floats(0.5, 2))
def test_the_peak_is_where_the_curve_is_highest(alpha: float, beta: float) -> None:
    fit = fitted(made(alpha, beta))

    found = optimize.minimize_scalar(
        lambda d: -fit.at(np.array([d**2]))[0], bounds=(1e-6, 20), method="bounded"
    )

    assert math.sqrt(fit.peak_kl) == pytest.approx(found.x, rel=1e-3)


def test_the_least_squares_are_those_of_scipy() -> None:
    points = made(0.8, 0.5, noise=0.1)

    fit = fitted(points)

    expected, _ = optimize.curve_fit(
        lambda kl, a, b: np.sqrt(kl) * (a - b * np.log(np.sqrt(kl))), points["kl"], points["judge_change"]
    )
    assert (fit.alpha, fit.beta) == pytest.approx(expected, abs=1e-6)
    residual = points["judge_change"] - fit.at(points["kl"].to_numpy())
    assert fit.r_squared == pytest.approx(
        1 - residual.var(ddof=0) / points["judge_change"].var(ddof=0), abs=0.01
    )


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = np.zeros(3)
    for seed in range(40):
        fit = fitted(made(0.8, 0.5, noise=0.1, offset=0.1, n_trials=20, seed=seed))
        truths = (
            (fit.alpha_interval, 0.8),
            (fit.beta_interval, 0.5),
            (fit.peak_interval, math.exp(2 * (0.8 / 0.5 - 1))),
        )
        held += [low <= truth <= high for (low, high), truth in truths]

    assert all(33 <= count <= 40 for count in held)  # 95 % of 40 is 38; 20 trials make it a little narrow


def test_milestones_of_one_trial_do_not_count_as_independent() -> None:
    points = made(0.8, 0.5, offset=0.3)
    apart = points.assign(number=range(len(points)))

    together, alone = fitted(points), fitted(apart)

    assert (together.alpha, together.beta) == (alone.alpha, alone.beta)
    widths = [fit.alpha_interval[1] - fit.alpha_interval[0] for fit in (together, alone)]
    assert widths[0] > 1.3 * widths[1]


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(made(0.8, 0.5, noise=3.0), id="noise"),
        pytest.param(made(0.8, 0.5, n_trials=7), id="few trials"),
        pytest.param(made(0.8, -0.2, noise=0.01), id="never bends down"),
        pytest.param(made(0.8, 0.5).query("0.4 < kl < 0.9"), id="one range of KL"),
    ],
)
def test_what_says_too_little_does_not_fit(points: pd.DataFrame) -> None:
    fit = fitted(points)

    assert not fit.fits
    assert "α" not in peak_reading(fit, judge_by_kl(pd.concat([points] * 3), fit), 3.0, "gold")


def test_a_curve_that_never_bends_down_has_no_peak() -> None:
    assert fitted(made(0.8, -0.2)).peak_kl == math.inf


def test_one_trial_is_not_fitted() -> None:
    assert fit_judge(made(0.8, 0.5, n_trials=1)) is None


def test_kl_at_or_below_zero_and_unknown_gold_are_left_out() -> None:
    good = made(0.8, 0.5)
    bad = pd.DataFrame(
        {
            "number": 99,
            "kl": [0.0, -0.01, math.inf, 1.0],
            "judge_change": [5.0, 5.0, 5.0, math.nan],
            "score_change": 0.0,
        }
    )

    assert fit_judge(pd.concat([good, bad])) == fit_judge(good)


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
    points = made(0.8, 0.5, n_trials=2)

    assert judge_by_kl(points).empty
    assert peak_reading(None, judge_by_kl(points), 3.0, "gold").startswith("Too few milestones")


def test_a_curve_that_holds_says_where_the_peak_is() -> None:
    points = made(0.8, 0.8, noise=0.05)
    fit = fitted(points)
    bins = judge_by_kl(points, fit)

    assert judge_curve.is_trusted(fit, bins)
    assert peak_range(fit, bins) == fit.peak_interval
    words = peak_reading(fit, bins, 8.0, "gold")
    low, high = fit.peak_interval
    assert words.startswith(
        f"Over all trials gold peaks at {fit.peak_kl:.1f} nats (95 % {low:.1f} to {high:.1f}). "
    )
    assert "The KL budget of 8 nats reaches beyond: there more reward means less gold" in words
    assert f"α {fit.alpha:.2f} (" in words
    assert f"{len(points)} milestones of 12 trials" in words


def test_a_curve_that_misses_the_means_is_not_relied_on() -> None:
    points = made(0.8, 0.8, noise=0.02)
    points["judge_change"] = np.where(points["kl"].between(0.3, 2.2), 1.4, 0.3)
    fit = fitted(points)
    bins = judge_by_kl(points, fit)

    words = peak_reading(fit, bins, 1.0, "gold")

    assert judge_curve.missed(bins) >= 2
    assert not judge_curve.is_trusted(fit, bins)
    low, high = peak_range(fit, bins) or (0, 0)
    assert 0.2 < low < 0.8
    assert 0.6 < high < 2.2
    assert f"gold is highest between {low:.1f} and {high:.1f} nats (+1.40) and lower beyond" in words
    assert words.endswith("The KL budget of 1 nats is in that range.")


def test_ranges_that_cannot_be_told_from_the_best_belong_to_the_peak() -> None:
    bins = pd.DataFrame({
        "kl_from": [0.0, 1.0, 2.0, 3.0], "kl_to": [1.0, 2.0, 3.0, 4.0], "trials": 9, "score_change": 1.0,
        "judge_change": [0.1, 0.9, 1.0, 0.2], "judge_low": [0.0, 0.7, 0.8, 0.1], "judge_high": [0.2, 1.1, 1.2, 0.3],
        "curve": math.nan,
    })  # fmt: skip

    assert peak_range(None, bins) == (1.0, 3.0)
    assert "stays below" in peak_reading(None, bins, 0.5, "gold")


def test_gold_that_still_rises_has_no_peak() -> None:
    points = made(0.0, 0.1, noise=0.05)
    points["judge_change"] = np.sqrt(points["kl"]) + 0.3
    fit = fitted(points)
    bins = judge_by_kl(points, fit)

    assert peak_range(fit, bins) is None
    assert "Gold has no peak that can be told from chance up to" in peak_reading(fit, bins, 3.0, "gold")
