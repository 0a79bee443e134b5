"""Two models on the same prompts: by hand, by symmetry, and how often the interval holds the truth."""

import math

import numpy as np
import pytest

from ppo_tune.fitting.intervals import wilson
from ppo_tune.trainer.versus import versus


def judged(scores: list[float], gold: list[float] | None = None) -> dict[str, list[float]]:
    """Scores of as many responses, by who judges."""
    return {"score": scores, **({} if gold is None else {"gold": gold})}


def test_the_difference_is_paired_and_ties_count_half() -> None:
    (found,) = versus(judged([3.0, 1.0, 2.0, 5.0]), judged([1.0, 1.0, 3.0, 4.0]))

    gaps = np.array([2.0, 0.0, -1.0, 1.0])
    half = 3.182446 * gaps.std(ddof=1) / 2  # Student's quantile of three degrees of freedom
    assert (found.judge, found.difference, found.n) == ("score", 0.5, 4)
    assert found.interval == pytest.approx((0.5 - half, 0.5 + half), abs=1e-5)
    assert (found.wins, found.wins_interval) == (2.5 / 4, wilson(2.5 / 4, 4))


def test_turned_round_all_is_turned_round() -> None:
    ours, theirs = judged([3.0, 1.0, 2.0], [1.0, 2.0, 3.0]), judged([1.0, 1.0, 3.0], [0.0, 2.5, 3.0])

    for one, other in zip(versus(ours, theirs), versus(theirs, ours), strict=True):
        assert one.judge == other.judge
        assert one.difference == -other.difference
        assert one.wins == 1 - other.wins
        assert one.interval == (-other.interval[1], -other.interval[0])


def test_every_judge_that_both_have_is_asked() -> None:
    both = versus(judged([1.0], [2.0]), judged([1.0], [1.0]))
    without = versus(judged([1.0], [2.0]), judged([1.0]))

    assert [one.judge for one in both] == ["score", "gold"]
    assert [one.judge for one in without] == ["score"]
    assert both[1].interval == (-math.inf, math.inf)  # one prompt says nothing of others


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        theirs = rng.normal(size=30)
        (found,) = versus(judged((theirs + rng.normal(0.3, 1, 30)).tolist()), judged(theirs.tolist()))
        held += found.interval[0] <= 0.3 <= found.interval[1]
    assert 0.92 < held / 400 < 0.98
