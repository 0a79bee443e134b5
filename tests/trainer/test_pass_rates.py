"""pass@k over prompts, from the scores of several responses to each."""

import pytest

from ppo_tune.fitting.intervals import wilson
from ppo_tune.trainer.pass_rates import pass_rates

SCORES = [[1.0, 0.5, 0.0], [0.99, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
"""Of four prompts: 1, 0, 3 and 2 of three responses pass all tests."""


def test_these_rates_are_worked_by_hand() -> None:
    rates = pass_rates(SCORES)

    assert [rate.k for rate in rates] == [1, 2, 3]
    assert [rate.share for rate in rates] == pytest.approx([6 / 12, (2 / 3 + 0 + 1 + 1) / 4, 3 / 4])
    assert rates[0].interval == wilson(0.5, 4)


@pytest.mark.parametrize(
    ("n", "tried"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (10, [1, 2, 4, 8, 10]), (3, [1, 2, 3])]
)
def test_k_is_every_power_of_two_and_the_number_of_responses(n: int, tried: list[int]) -> None:
    assert [rate.k for rate in pass_rates([[1.0] * n])] == tried
