# mypy: ignore-errors
"""Which values are the good ones, in words that the trials bear out."""

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ppo_tune.reporting.analysis.evidence import Sample, best_quarter, happened
from ppo_tune.reporting.analysis.importance import MIN_ENDS, direction, good_range
from ppo_tune.reporting.axes import Axis

PLACES = np.linspace(0, 1, 41)


def sample_of(
    distribution: BaseDistribution, places: np.ndarray, target: np.ndarray, mark=best_quarter
) -> Sample:  # type: ignore[no-untyped-def]
    return Sample((Axis("x", distribution),), places[:, np.newaxis], target, mark)


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        pytest.param(PLACES > 0.79, "fails more when high, half of the failed at 0.85 to 0.95", id="high"),
        pytest.param(PLACES < 0.21, "fails more when low, half of the failed at 0.05 to 0.15", id="low"),
        pytest.param(np.abs(PLACES - 0.5) < 0.06, "half of the failed at 0.475 to 0.525", id="middle"),
    ],
)
def test_a_number_has_a_direction_only_if_its_ranks_do(failed: np.ndarray, words: str) -> None:
    sample = sample_of(FloatDistribution(0.0, 1.0), PLACES, failed.astype(float), happened)

    assert direction(sample, "x") == words


def test_whole_numbers_stay_whole() -> None:
    places = np.repeat([0, 1 / 3, 2 / 3, 1], 10)
    sample = sample_of(IntDistribution(1, 4), places, (places == 1).astype(float), happened)

    assert direction(sample, "x") == "fails more when high, half of the failed at 4"


@pytest.mark.parametrize(
    ("distribution", "words"),
    [
        (FloatDistribution(0.0, 1.0), "the best completed within the KL budget at 0.75 to 1"),
        (IntDistribution(1, 5), "the best completed within the KL budget at 4 to 5"),
        (CategoricalDistribution([8, 16]), "the best completed within the KL budget have 16"),
        (
            CategoricalDistribution([8, 16, 32, 64, 128]),
            "the best completed within the KL budget have 64 or 128",
        ),
    ],
)
def test_the_good_values_are_those_of_the_best_quarter_within_the_budget(
    distribution: BaseDistribution, words: str
) -> None:
    places = np.array([0.0, 0.0, 0.0, 0.0, 0.75, 1.0])
    places = np.rint(places) if len(getattr(distribution, "choices", "")) == 2 else places

    assert good_range(sample_of(distribution, places, np.arange(6.0)), "x") == words


def test_good_values_that_are_one_value_are_named_once() -> None:
    places = np.array([0.0, 0.5, 0.5, 1.0, 0.5])

    words = good_range(sample_of(FloatDistribution(0.0, 1.0), places, np.array([0, 1, 9, 2, 8.0])), "x")

    assert words == "the best completed within the KL budget at 0.5"


def test_of_few_ends_no_values_are_good() -> None:
    few = np.arange(MIN_ENDS - 1.0)

    assert good_range(sample_of(FloatDistribution(0.0, 9.0), few / 9, few), "x") == (
        "too few completed within the KL budget to say which values are good"
    )


def test_what_fails_is_spoken_of_as_failing() -> None:
    sample = sample_of(
        FloatDistribution(0.01, 1.0, log=True), PLACES, (PLACES > 0.79).astype(float), happened
    )

    assert direction(sample, "x") == "fails more when high, half of the failed at 0.501 to 0.794"


def test_of_choices_one_that_was_hardly_tried_is_not_named() -> None:
    """The third failed twice of two."""
    places = np.repeat([0.0, 0.5, 1.0], [5, 5, 2])
    target = np.array([1.0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1])

    words = direction(sample_of(CategoricalDistribution([8, 16, 32]), places, target, happened), "x")

    assert words == "fails most with 16, share 0.60 of 5 trials"


def test_of_choices_the_one_that_fails_most_is_named_with_its_share() -> None:
    places, target = np.repeat([0.0, 1.0], [4, 5]), np.array([1.0, 0, 0, 0, 1, 1, 1, 1, 0])

    words = direction(sample_of(CategoricalDistribution([None, 0.2]), places, target, happened), "x")

    assert words == "fails most with 0.2, share 0.80 of 5 trials"


def test_one_choice_is_not_compared_with_itself() -> None:
    sample = sample_of(CategoricalDistribution([8, 16]), np.zeros(5), np.array([0.0, 1, 1, 0, 0]), happened)

    assert direction(sample, "x") == ""


def test_where_a_value_is_not_searched_it_is_neither_good_nor_bad() -> None:
    missing = np.full(30, np.nan)
    failed = np.concatenate([PLACES > 0.79, np.ones(30)]).astype(float)
    places = np.concatenate([PLACES, missing])

    number = sample_of(FloatDistribution(0.0, 1.0), places, failed, happened)
    choice = sample_of(
        CategoricalDistribution([8, 16]), np.where(np.isnan(places), np.nan, np.rint(places)), failed
    )
    best = np.concatenate([np.arange(41.0), np.full(30, 99.0)])
    ends = sample_of(FloatDistribution(0.0, 1.0), places, best)

    assert direction(number, "x") == "fails more when high, half of the failed at 0.85 to 0.95"
    assert direction(choice, "x").startswith("fails most with 16, share 0.45 of 20 trials")
    assert good_range(ends, "x") == "the best completed within the KL budget at 0.75 to 1"
