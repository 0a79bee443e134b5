"""The controller's share, from clocks that were read by hand."""

import pytest

from benchmarks.controller import Spent, Stopwatch, share


def test_a_share_is_of_a_trial_that_is_as_long_as_the_study_makes_it() -> None:
    training = 2.0

    assert share(0.1, training + 0.1, 0.1) == pytest.approx(0.1 / 2.1)
    assert share(0.5, training + 0.1, 0.1) == pytest.approx(0.5 / 2.5)


def test_a_stopwatch_tells_the_mean_of_all_trials_and_of_the_last_few() -> None:
    ended = [Spent({"core": seconds}) for seconds in (0.0, 1.0, 2.0, 5.0)]
    stopwatch = Stopwatch(ended=ended)

    assert stopwatch.per_trial()["core"] == pytest.approx(5 / 3)
    assert stopwatch.per_trial(last=1)["core"] == pytest.approx(3.0)


def test_what_is_excluded_is_not_counted() -> None:
    stopwatch = Stopwatch()

    stopwatch({"kind": "ended"})
    stopwatch.excluded += Spent({"core": 1000.0, "clock": 1000.0})
    stopwatch({"kind": "started"})
    stopwatch({"kind": "ended"})

    assert len(stopwatch.ended) == 2
    assert stopwatch.per_trial()["clock"] < -900
