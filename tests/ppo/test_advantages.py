# mypy: ignore-errors
"""From scores to advantages: hand numbers, and the laws of token rewards and of GAE."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.ppo import estimate_kl, gae, penalize_missing_eos, standardize, token_rewards
from tests.ppo.strategies import (
    discounted,
    fractions,
    kl_coefs,
    law,
    nan_outside,
    one_by_one,
    packs,
    responses,
    slow_gae,
    widen,
)

THREE_OF_FOUR = torch.tensor([[True, True, True, False]])
ALL_FOUR = torch.ones(1, 4, dtype=torch.bool)
TABLE = [
    pytest.param(1.0, 0.95, [0.46575, 0.385, 0.3], [0.96575, 0.985, 1.0], id="V1 usual"),
    pytest.param(1.0, 1.0, [0.5, 0.4, 0.3], [1.0, 1.0, 1.0], id="V1 Monte Carlo"),
    pytest.param(1.0, 0.0, [0.1, 0.1, 0.3], [0.6, 0.7, 1.0], id="V1 one step"),
    pytest.param(0.9, 0.8, [0.21712, 0.246, 0.3], [0.71712, 0.846, 1.0], id="V1 discounted"),
    pytest.param(0.0, 0.95, [-0.5, -0.6, 0.3], [0.0, 0.0, 1.0], id="V1 myopic"),
    pytest.param(0.99, 1.0, [0.4801, 0.39, 0.3], [0.9801, 0.99, 1.0], id="V1 discounted Monte Carlo"),
]


def row(numbers: list[float]) -> Tensor:
    """One response, float64."""
    return torch.tensor([numbers], dtype=torch.float64)


def rewarded(source: Tensor, kl: Tensor, mask: Tensor, kl_coef: Tensor | float) -> Tensor:
    """Token rewards with the first column of `source`, which is always real, for scores."""
    return token_rewards(source[..., 0], kl, mask, kl_coef)


def both(*arguments: Tensor | float) -> Tensor:
    """Advantages and returns on a last axis."""
    return torch.stack(gae(*arguments), -1)


def pipeline(source: Tensor, kl: Tensor, mask: Tensor, kl_coef: Tensor | float, *discounts: Tensor | float):
    """From scores to advantages and returns, with the KL in the place of the values too."""
    return both(rewarded(source, kl, mask, kl_coef), kl, mask, *discounts)


@pytest.mark.parametrize(("gamma", "gae_lambda", "advantages", "returns"), TABLE)
@pytest.mark.parametrize("pad", [100.0, 1e6, math.nan, math.inf])
def test_padding_does_not_leak_into_the_published_numbers(gamma, gae_lambda, advantages, returns, pad):
    rewards, values = row([0.0, 0.0, 1.0, pad]), row([0.5, 0.6, 0.7, pad])

    result = gae(rewards, values, THREE_OF_FOUR, gamma, gae_lambda)

    assert_close(result, (row([*advantages, 0.0]), row([*returns, 0.0])), atol=1e-12, rtol=0.0)


@pytest.mark.parametrize(
    ("rewards", "values", "expected"),
    [
        pytest.param([0, 0, 1, 0], [0.5, 0.6, 0.7, 100], [4.97825, 5.135, 5.3, -100], id="V2 no mask"),
        pytest.param([0, 0, 0, 1], [0.5, 0.6, 0.7, 0.8], [0.456725, 0.3755, 0.29, 0.2], id="V3 score late"),
    ],
)
def test_every_column_inside_the_mask_counts(rewards, values, expected):
    advantages, _ = gae(row(rewards), row(values), ALL_FOUR, 1.0, 0.95)

    assert_close(advantages, row(expected), atol=1e-12, rtol=0.0)


@law
@given(responses(2, min_tokens=0), fractions, fractions)
def test_gae_is_the_decaying_sum_of_temporal_differences(batch, gamma, gae_lambda):
    expected = slow_gae(batch, gamma, gae_lambda)

    advantages, _ = gae(*batch, gamma, gae_lambda)

    assert_close(advantages, expected, atol=1e-12, rtol=1e-12)


@law
@given(responses(2), fractions, fractions)
def test_returns_are_advantages_plus_values_whatever_becomes_of_the_advantages(batch, gamma, gae_lambda):
    _, values, mask = batch
    expected = slow_gae(batch, gamma, gae_lambda) + torch.where(mask, values, 0.0)

    advantages, returns = gae(*batch, gamma, gae_lambda)
    advantages.copy_(standardize(advantages, mask))

    assert_close(returns, expected, atol=1e-12, rtol=1e-12)


@law
@given(responses(2), fractions)
def test_without_lambda_the_advantage_is_one_temporal_difference(batch, gamma):
    rewards, values, mask = batch
    next_values = torch.where(widen(mask, 1, fill=False), widen(values, 1), 0.0)[:, 1:]

    advantages, _ = gae(*batch, gamma, 0.0)

    assert_close(advantages, torch.where(mask, rewards + gamma * next_values - values, 0.0))


@law
@given(responses(2))
def test_without_discount_or_decay_the_return_is_the_reward_to_go(batch):
    rewards, values, mask = batch
    to_go = torch.where(mask, rewards, 0.0).flip(-1).cumsum(-1).flip(-1)

    advantages, returns = gae(*batch, 1.0, 1.0)

    assert_close(returns, to_go, atol=1e-12, rtol=0.0)
    assert_close(advantages, torch.where(mask, to_go - values, 0.0), atol=1e-12, rtol=0.0)


@law
@given(responses(2), fractions)
def test_at_gamma_0_only_the_reward_at_hand_counts_for_any_lambda(batch, gae_lambda):
    rewards, values, mask = batch

    advantages, returns = gae(*batch, 0.0, gae_lambda)

    assert_close(advantages, torch.where(mask, rewards - values, 0.0))
    assert_close(returns, torch.where(mask, rewards, 0.0), atol=1e-12, rtol=0.0)


@law
@given(responses(2), fractions, fractions, st.integers(1, 3))
def test_more_padding_changes_no_advantage(batch, gamma, gae_lambda, columns):
    *tokens, mask = batch
    wider = [*(widen(x, columns) for x in tokens), widen(mask, columns, fill=False)]

    result = both(*wider, gamma, gae_lambda)

    assert torch.equal(result[:, :-columns], both(*batch, gamma, gae_lambda))
    assert torch.equal(result[:, -columns:], torch.zeros_like(result[:, -columns:]))


@law
@given(responses(4), fractions, fractions, st.floats(-4.0, 4.0), st.floats(-4.0, 4.0))
def test_gae_is_linear_in_rewards_and_values(batch, gamma, gae_lambda, a, b):
    r1, v1, r2, v2, mask = batch

    mixed = both(a * r1 + b * r2, a * v1 + b * v2, mask, gamma, gae_lambda)

    parts = a * both(r1, v1, mask, gamma, gae_lambda) + b * both(r2, v2, mask, gamma, gae_lambda)
    assert_close(mixed, parts, atol=1e-10, rtol=1e-12)


@law
@given(responses(1), fractions, fractions)
def test_a_perfect_critic_leaves_no_advantage_at_any_lambda(batch, gamma, gae_lambda):
    rewards, mask = batch

    advantages, returns = gae(rewards, discounted(rewards, mask, gamma), mask, gamma, gae_lambda)

    assert_close(advantages, torch.zeros_like(rewards), atol=1e-11, rtol=0.0)
    assert_close(nan_outside(returns, mask), discounted(rewards, mask, gamma), equal_nan=True)


@law
@given(responses(2), fractions)
def test_at_lambda_1_the_returns_do_not_depend_on_the_values(batch, gamma):
    rewards, _, mask = batch

    _, returns = gae(*batch, gamma, 1.0)

    expected = torch.where(mask, discounted(rewards, mask, gamma), 0.0)
    assert_close(returns, expected, atol=1e-11, rtol=0.0)


@law
@given(responses(2), fractions, fractions)
def test_a_response_of_one_token_has_reward_minus_value(batch, gamma, gae_lambda):
    rewards, values, mask = (x[:, :1] for x in batch)

    advantages, _ = gae(rewards, values, mask, gamma, gae_lambda)

    assert torch.equal(advantages, rewards - values)


@law
@given(responses(2), fractions, fractions)
def test_a_score_at_the_end_decays_by_gamma_lambda_for_each_token_before_it(batch, gamma, gae_lambda):
    source, _, mask = batch
    to_the_end = (mask.sum(-1, keepdim=True) - 1 - torch.arange(mask.shape[-1])).clamp(min=0)
    nothing = torch.zeros_like(source)

    advantages, _ = gae(rewarded(source, nothing, mask, 0.0), nothing, mask, gamma, gae_lambda)

    decay = torch.tensor(gamma * gae_lambda, dtype=torch.float64) ** to_the_end
    assert_close(advantages, torch.where(mask, source[:, :1] * decay, 0.0), atol=1e-12, rtol=1e-12)


@law
@given(responses(3), st.floats(-4.0, 4.0))
def test_a_shift_of_all_scores_shifts_all_undiscounted_returns(batch, shift):
    source, kl, values, mask = batch

    _, returns = gae(rewarded(source + shift, kl, mask, 0.3), values, mask, 1.0, 1.0)

    _, before = gae(rewarded(source, kl, mask, 0.3), values, mask, 1.0, 1.0)
    assert_close(returns, torch.where(mask, before + shift, 0.0), atol=1e-12, rtol=0.0)


def test_the_score_stands_at_the_last_real_token_and_nothing_after_it():
    scores = torch.tensor([8.0, 16.0, 32.0])
    kl = torch.tensor([[1.0, torch.nan, torch.nan], [1.0, 2.0, torch.nan], [1.0, 2.0, -4.0]])
    mask = torch.tensor([[True, False, False], [True, True, False], [True, True, True]])

    rewards = token_rewards(scores, kl, mask, 0.5)

    assert rewards.tolist() == [[7.5, 0.0, 0.0], [-0.5, 15.0, 0.0], [-0.5, -1.0, 34.0]]


@law
@given(responses(2), kl_coefs)
def test_every_token_pays_for_its_kl_and_the_last_one_gets_the_score(batch, kl_coef):
    source, kl, mask = batch
    expected = torch.zeros_like(source)
    for i, length in enumerate(mask.sum(-1).tolist()):
        expected[i, :length] = -kl_coef * kl[i, :length]
        expected[i, length - 1] += source[i, 0]

    rewards = rewarded(source, kl, mask, kl_coef)

    assert_close(rewards, expected)


@law
@given(responses(2), kl_coefs)
def test_a_policy_equal_to_its_reference_is_paid_the_score_alone(batch, kl_coef):
    source, logprobs, mask = batch

    rewards = rewarded(source, estimate_kl(logprobs, logprobs.clone()), mask, kl_coef)

    assert torch.equal(rewards.sum(-1), source[:, 0])
    assert torch.equal((rewards != 0).sum(-1), (source[:, 0] != 0).long())


@law
@given(responses(3), kl_coefs)
def test_rewards_are_linear_in_the_kl_coefficient_and_free_of_the_reference_at_zero(batch, kl_coef):
    source, kl, other_kl, mask = batch
    without, with_one = rewarded(source, other_kl, mask, 0.0), rewarded(source, kl, mask, 1.0)

    rewards = rewarded(source, kl, mask, kl_coef)

    assert torch.equal(rewarded(source, kl, mask, 0.0), without)
    assert_close(rewards, without + kl_coef * (with_one - without), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        pytest.param(0.5, [[1.0, 1.5], [0.5, -1.5]], id="one for all"),
        pytest.param(torch.tensor([[0.5], [3.0]]), [[1.0, 1.5], [-2.0, -4.0]], id="one for each trial"),
    ],
)
def test_the_penalty_is_subtracted_from_the_scores_of_cut_off_responses(penalty, expected):
    scores = torch.tensor([[1.0, 2.0], [1.0, -1.0]])
    ended = torch.tensor([[True, False], [False, False]])

    assert penalize_missing_eos(scores, ended, penalty).tolist() == expected


@law
@given(packs(2, kl_coefs, fractions, fractions))
def test_each_trial_of_a_pack_gets_its_own_advantages_and_returns(pack):
    tokens, hyperparameters = pack

    together = pipeline(*tokens, *hyperparameters)

    assert torch.equal(together, one_by_one(pipeline, tokens, hyperparameters))


@law
@given(packs(2), kl_coefs, fractions, fractions)
def test_a_number_for_all_trials_equals_that_number_for_each(pack, kl_coef, gamma, gae_lambda):
    tokens, _ = pack
    each = torch.ones(len(tokens[0]), 1, 1, dtype=torch.float64)

    filled = pipeline(*tokens, kl_coef * each, gamma * each, gae_lambda * each)

    assert torch.equal(filled, pipeline(*tokens, kl_coef, gamma, gae_lambda))


@law
@given(responses(3), fractions, fractions)
def test_rewards_and_advantages_leave_their_inputs_as_they_are(batch, gamma, gae_lambda):
    scores, kl, values, mask = batch
    before = [x.clone() for x in batch]

    penalize_missing_eos(scores, ~mask, 1.0).add_(1.0)
    rewarded(scores, kl, mask, 0.5).add_(1.0)
    gae(kl, values, mask, gamma, gae_lambda)[0].add_(1.0)

    assert_close(list(batch), before, rtol=0.0, atol=0.0, equal_nan=True)
