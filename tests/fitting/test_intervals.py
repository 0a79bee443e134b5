"""Intervals of held-out numbers: Wilson's for independent rows, and by prompt where rows share one."""

import math
import random
import statistics

import pytest
import torch

from ppo_tune.fitting.intervals import (
    effective_size,
    few_heldout,
    mean_interval,
    positive_interval,
    share_interval,
    wilson,
)

T_1, T_2 = 12.7062, 4.3027
"""Student's 97.5 % quantiles with one and two degrees of freedom, from a table."""


def test_rows_of_different_prompts_count_as_they_are() -> None:
    right = torch.tensor([1.0, 0.0, 1.0, 1.0])

    assert effective_size(right, [7, 3, 5, 9]) == 4
    assert share_interval(right, [7, 3, 5, 9]) == wilson(0.75, 4)


def test_rows_that_repeat_their_prompts_answer_say_no_more_than_the_prompts() -> None:
    """Two rows of each of 3 prompts, alike within a prompt: the design effect is 3, by hand.

    p = 2/3; residuals of the prompts 2/3, 2/3, -4/3, so the variance is 3/2 · (24/9) / 36 = 1/9; that of six
    independent rows is (2/9) / 6 = 1/27.
    """
    right = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])

    size = effective_size(right, [0, 0, 1, 1, 2, 2])

    assert size == pytest.approx(6 / 3 * (1.959964 / T_2) ** 2, rel=1e-4)


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_where_all_rows_are_alike_each_prompt_counts_once(answer: float) -> None:
    size = effective_size(torch.full((8,), answer), [0] * 4 + [1] * 4)

    assert size == pytest.approx(2 * (1.959964 / T_1) ** 2, rel=1e-4)


def test_rows_of_one_prompt_count_as_one() -> None:
    assert share_interval(torch.ones(50), [4] * 50) == wilson(1.0, 1)


def test_rows_that_differ_within_their_prompt_never_count_for_more_than_they_are() -> None:
    right = torch.tensor([1.0, 0.0] * 40)

    size = effective_size(right, [i // 2 for i in range(80)])

    assert 75 < size < 80  # 80 · (z / t)², with 39 degrees of freedom


def covered(rng: random.Random, n_prompts: int, per_prompt: int, *, by_prompt: bool) -> bool:
    """Whether the interval of one experiment holds 0.7, the mean of the prompts' own shares."""
    shares = [rng.betavariate(1.4, 0.6) for _ in range(n_prompts)]
    right = torch.tensor([float(rng.random() < share) for share in shares for _ in range(per_prompt)])
    prompts = [i if by_prompt else i * per_prompt + j for i in range(n_prompts) for j in range(per_prompt)]
    low, high = share_interval(right, prompts)
    return low <= 0.7 <= high


def test_the_interval_by_prompt_holds_the_truth_as_often_as_it_says_and_the_one_by_row_does_not() -> None:
    rng = random.Random(0)

    by_prompt = statistics.mean(covered(rng, 40, 8, by_prompt=True) for _ in range(400))
    by_row = statistics.mean(covered(rng, 40, 8, by_prompt=False) for _ in range(400))

    assert 0.92 <= by_prompt <= 0.98
    assert by_row < 0.8


def test_the_interval_of_a_mean_per_token_by_hand() -> None:
    """Nats 2, 4, 6 over 2 tokens each: mean 2, residuals -2, 0, 2, variance 3/2 · 8 / 36 = 1/3."""
    nats, tokens = torch.tensor([1.0, 1.0, 4.0, 6.0]), torch.tensor([1, 1, 2, 2])

    interval = mean_interval(nats, tokens, [0, 0, 1, 2])

    half = T_2 * math.sqrt(1 / 3)
    assert interval == pytest.approx((2 - half, 2 + half), rel=1e-4)


def test_one_prompt_has_no_interval_of_a_mean() -> None:
    assert mean_interval(torch.tensor([1.0, 2.0]), torch.tensor([1, 1]), [5, 5]) is None
    assert positive_interval(torch.tensor([1.0, 2.0]), torch.tensor([1, 1]), [5, 5]) is None


def test_the_interval_of_a_loss_by_hand_is_that_of_its_logarithm() -> None:
    """Mean 2 and variance 1/3 as above: the logarithm's standard error is √(1/3) / 2."""
    nats, tokens = torch.tensor([1.0, 1.0, 4.0, 6.0]), torch.tensor([1, 1, 2, 2])

    interval = positive_interval(nats, tokens, [0, 0, 1, 2])

    factor = math.exp(T_2 * math.sqrt(1 / 3) / 2)
    assert interval == pytest.approx((2 / factor, 2 * factor), rel=1e-4)


@pytest.mark.parametrize("nats", [[0.0, 0.0, 9.0], [0.0, 0.0, 0.0], [1e-9, 5.0, 300.0]])
def test_a_loss_is_never_below_zero_and_neither_is_its_interval(nats: list[float]) -> None:
    interval = positive_interval(torch.tensor(nats), torch.ones(3), [0, 1, 2])

    assert interval is not None
    assert 0 <= interval[0] <= sum(nats) / 3 <= interval[1] < math.inf


def losses_covered(rng: random.Random, n_prompts: int) -> tuple[bool, bool]:
    """Whether both intervals of one experiment hold 1, the mean of losses of which a few prompts have the most."""
    tokens = [rng.randint(2, 40) for _ in range(n_prompts)]
    nats = [n * rng.gammavariate(0.5, 2.0) for n in tokens]
    given = torch.tensor(nats), torch.tensor(tokens), range(n_prompts)
    ends = [made(*given) for made in (positive_interval, mean_interval)]
    held = [low <= 1 <= high for low, high in filter(None, ends)]
    return held[0], held[1]


@pytest.mark.parametrize(("n_prompts", "least"), [(10, 0.86), (40, 0.9)])
def test_the_interval_of_a_loss_holds_the_truth_more_often_than_one_that_may_go_below_zero(
    n_prompts: int, least: float
) -> None:
    rng = random.Random(0)

    by_log, by_mean = zip(*(losses_covered(rng, n_prompts) for _ in range(600)), strict=True)

    assert statistics.mean(by_log) > max(least, statistics.mean(by_mean))


@pytest.mark.parametrize(
    ("n", "told"),
    [
        (1, "1 held-out prompt says little of the loss, which 30 or more would; give more rows, or a larger"),
        (
            29,
            "29 held-out prompts say little of the loss, which 30 or more would; give more rows, or a larger",
        ),
        (30, None),
    ],
)
def test_few_held_out_prompts_are_told(n: int, told: str | None) -> None:
    found = few_heldout(n, "loss")

    assert found == (() if told is None else (f"{told} heldout_fraction",))
