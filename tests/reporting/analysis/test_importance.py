# mypy: ignore-errors
"""Which values are the good ones, in words that the trials bear out."""

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ppo_tune.reporting.analysis.evidence import Sample, best_quarter, happened
from ppo_tune.reporting.analysis.importance import FAILING, SCORING, direction
from ppo_tune.reporting.axes import Axis

PLACES = np.linspace(0, 1, 41)


def sample_of(
    distribution: BaseDistribution, places: np.ndarray, target: np.ndarray, mark=best_quarter
) -> Sample:  # type: ignore[no-untyped-def]
    return Sample((Axis("x", distribution),), places[:, np.newaxis], target, mark)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        pytest.param(PLACES, "higher is better, half of the best quarter at 0.812 to 0.938", id="rising"),
        pytest.param(-PLACES, "lower is better, half of the best quarter at 0.0625 to 0.188", id="falling"),
        pytest.param(
            -np.abs(PLACES - 0.5), "half of the best quarter at 0.438 to 0.562", id="best-in-the-middle"
        ),
    ],
)
def test_a_number_has_a_direction_only_if_its_ranks_do(target: np.ndarray, words: str) -> None:
    assert direction(sample_of(FloatDistribution(0.0, 1.0), PLACES, target), "x", SCORING) == words


def test_whole_numbers_stay_whole() -> None:
    places = np.repeat([0, 1 / 3, 2 / 3, 1], 10)

    words = direction(sample_of(IntDistribution(1, 4), places, places), "x", SCORING)

    assert words == "higher is better, half of the best quarter at 4"


def test_what_fails_is_spoken_of_as_failing() -> None:
    sample = sample_of(
        FloatDistribution(0.01, 1.0, log=True), PLACES, (PLACES > 0.79).astype(float), happened
    )

    assert direction(sample, "x", FAILING) == "fails more when high, half of the failed at 0.501 to 0.794"


def test_of_choices_the_best_is_named_unless_it_was_hardly_tried() -> None:
    """The third has the highest score, but two trials only."""
    places = np.repeat([0.0, 0.5, 1.0], [5, 5, 2])
    target = np.array([1.0, 1.0, 1.5, 9.0, 1.0, 2.0, 2.0, 2.5, 2.0, 2.0, 8.0, 8.0])

    words = direction(sample_of(CategoricalDistribution([8, 16, 32]), places, target), "x", SCORING)

    assert words == "best with 16, median 2.00 of 5 trials"


def test_of_choices_the_one_that_fails_most_is_named_with_its_share() -> None:
    places, target = np.repeat([0.0, 1.0], [4, 5]), np.array([1.0, 0, 0, 0, 1, 1, 1, 1, 0])

    words = direction(sample_of(CategoricalDistribution([None, 0.2]), places, target, happened), "x", FAILING)

    assert words == "fails most with 0.2, share 0.80 of 5 trials"


def test_one_choice_is_not_compared_with_itself() -> None:
    sample = sample_of(CategoricalDistribution([8, 16]), np.zeros(5), np.arange(5.0))

    assert direction(sample, "x", SCORING) == ""
