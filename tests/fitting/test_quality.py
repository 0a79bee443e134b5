"""What held-out labels say of a reward model."""

import math

import numpy as np
import pytest
import torch

from ppo_tune.fitting.intervals import wilson
from ppo_tune.fitting.quality import calibration_error, ordering

NAN = math.nan


def scores(*values: float) -> torch.Tensor:
    return torch.tensor(values).unsqueeze(-1)


def test_of_pairs_the_first_should_score_higher_and_a_tie_says_nothing() -> None:
    said = torch.tensor([[2.0, 1.0], [1.0, 2.0], [3.0, 3.0], [0.0, 9.0]])

    found = ordering(said, np.array([1.0, 1.0, 1.0, 0.0]), [0, 1, 2, 3])

    assert found is not None
    assert (found.accuracy, found.pairs, found.prompts, found.across) == (0.5, 3, 3, False)
    assert found.rank_correlation == 0.0
    assert found.interval == wilson(0.5, 3)


def test_ratings_are_compared_within_a_prompt() -> None:
    """All five pairs of a prompt whose ratings differ, and no pair of two prompts."""
    order = np.array([1.0, 2.0, 2.0, 3.0] * 4 + [NAN])
    said = scores(*[0.0, 1.0, 1.0, -1.0] * 4, 5.0)

    found = ordering(said, order, [i // 4 for i in range(17)])

    assert found is not None
    assert (found.pairs, found.prompts, found.across) == (20, 4, False)
    assert found.accuracy == pytest.approx(2 / 5)
    assert found.rank_correlation == pytest.approx(-1 / 5)  # two of five pairs are concordant


def test_where_each_prompt_has_one_answer_those_of_different_prompts_are_compared() -> None:
    n = 100
    order = np.arange(n, dtype=float)

    found = ordering(scores(*order.tolist()), order, [*range(n)])

    assert found is not None
    assert (found.accuracy, found.pairs, found.across) == (1.0, n // 2, True)
    assert found.interval == wilson(1.0, n // 2)  # no row is in two pairs


@pytest.mark.parametrize("width", [1, 2])
def test_labels_that_are_all_the_same_say_nothing(width: int) -> None:
    assert ordering(torch.zeros(5, width), np.zeros(5), [0, 0, 1, 1, 1]) is None


def test_a_probability_that_comes_true_as_often_as_it_says_has_no_calibration_error() -> None:
    expected = torch.tensor([0.2] * 500 + [0.9] * 500)
    happened = torch.tensor(([1.0] + [0.0] * 4) * 100 + ([1.0] * 9 + [0.0]) * 50)

    assert calibration_error(expected, happened) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(torch.ones(1000), happened) == pytest.approx(
        1 - happened.mean().item(), abs=1e-6
    )


def test_the_calibration_error_of_few_rows_is_of_as_many_bins() -> None:
    assert calibration_error(torch.tensor([0.4, 0.6]), torch.tensor([0.0, 1.0])) == pytest.approx(0.4)
