# mypy: ignore-errors
"""The clipped policy and value losses and the preference loss: hand numbers and laws."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.ppo import (
    clipped_policy_loss,
    clipped_value_loss,
    masked_mean,
    masked_sum,
    standardize,
)
from tests.ppo.strategies import (
    clip_ranges,
    gradient,
    law,
    one_by_one,
    packs,
    responses,
    slow_policy_loss,
    slow_value_loss,
    unclipped_policy_loss,
    unclipped_value_loss,
)

bounds = st.sampled_from([math.inf, 3.0, 1.5])
"""c of the dual clip."""

ONE = torch.ones(1, 1, dtype=torch.bool)
DUAL = partial(clipped_policy_loss, dual_clip=3.0)


def one(number: float) -> Tensor:
    """A single token, float64."""
    return torch.tensor([[number]], dtype=torch.float64)


losses = pytest.mark.parametrize("loss", [clipped_policy_loss, clipped_value_loss], ids=["policy", "value"])
with_unclipped = pytest.mark.parametrize(
    ("loss", "unclipped"),
    [(clipped_policy_loss, unclipped_policy_loss), (clipped_value_loss, unclipped_value_loss)],
    ids=["policy", "value"],
)
with_slow = pytest.mark.parametrize(
    ("loss", "slow"),
    [(clipped_policy_loss, slow_policy_loss), (clipped_value_loss, slow_value_loss)],
    ids=["policy", "value"],
)


@pytest.mark.parametrize(
    ("loss", "new", "old", "third", "expected", "slope"),
    [
        pytest.param(clipped_policy_loss, math.log(0.5), 0.0, 1.0, -0.5, -0.5, id="V5 good, less likely"),
        pytest.param(clipped_policy_loss, math.log(1.5), 0.0, 1.0, -1.2, 0.0, id="V5 good, clipped"),
        pytest.param(clipped_policy_loss, math.log(0.5), 0.0, -1.0, 0.8, 0.0, id="V5 bad, clipped"),
        pytest.param(clipped_policy_loss, math.log(1.5), 0.0, -1.0, 1.5, 1.5, id="V5 bad, more likely"),
        pytest.param(clipped_policy_loss, math.log(5.0), 0.0, -1.0, 5.0, 5.0, id="V5 bad, far more likely"),
        pytest.param(DUAL, math.log(5.0), 0.0, -1.0, 3.0, 0.0, id="V5 bad, bounded"),
        pytest.param(clipped_value_loss, 1.0, 0.0, 2.0, 1.62, 0.0, id="V6 clipped"),
        pytest.param(clipped_value_loss, 1.0, 0.0, 0.1, 0.405, 0.9, id="V6 far, not clipped"),
        pytest.param(clipped_value_loss, -0.1, 0.0, 2.0, 2.205, -2.1, id="V6 small step"),
        pytest.param(clipped_value_loss, 0.6, 0.5, 0.6, 0.0, 0.0, id="V6 exact"),
    ],
)
def test_loss_and_slope_of_one_token_are_as_published(loss, new, old, third, expected, slope):
    def of(x: Tensor) -> Tensor:
        return loss(x, one(old), one(third), ONE, 0.2)

    assert of(one(new)).item() == pytest.approx(expected, abs=1e-12)
    assert gradient(of, one(new)).item() == pytest.approx(slope, abs=1e-12)


@law
@given(responses(3, min_tokens=0), clip_ranges)
@with_slow
def test_a_loss_is_its_formula_at_real_tokens_and_zero_elsewhere(loss, slow, batch, clip_range):
    *tokens, mask = batch
    rows = zip(*(x[mask].tolist() for x in tokens), strict=True)

    result = loss(*batch, clip_range)

    assert result[mask].tolist() == pytest.approx([slow(*row, clip_range) for row in rows], rel=1e-12)
    assert torch.equal(result[~mask], torch.zeros_like(result[~mask]))


@law
@given(responses(3), clip_ranges)
@with_unclipped
def test_clipping_never_lowers_a_loss(loss, unclipped, batch, clip_range):
    *tokens, mask = batch

    result = loss(*batch, clip_range)

    assert (result >= unclipped(*tokens) - 1e-9)[mask].all()


@law
@given(responses(3))
@with_unclipped
def test_an_endless_clip_range_leaves_the_unclipped_loss(loss, unclipped, batch):
    *tokens, mask = batch

    result = loss(*batch, math.inf)

    assert_close(result, torch.where(mask, unclipped(*tokens), 0.0), atol=1e-12, rtol=1e-12)


@law
@given(responses(3), clip_ranges)
@losses
def test_nan_at_padding_changes_neither_loss_nor_gradient(loss, batch, clip_range):
    new, old, third, mask = batch
    zero, *others = (x.nan_to_num(0.0) for x in (new, old, third))

    result = loss(*batch, clip_range), gradient(lambda x: loss(x, old, third, mask, clip_range), new)

    clean = (
        loss(zero, *others, mask, clip_range),
        gradient(lambda x: loss(x, *others, mask, clip_range), zero),
    )
    assert_close(result, clean, atol=0.0, rtol=0.0)


@law
@given(responses(2), clip_ranges, bounds)
def test_at_the_old_policy_the_clip_range_is_inert_and_the_slope_is_minus_the_advantage(batch, clip, bound):
    old, advantages, mask = batch
    expected = torch.where(mask, -advantages, 0.0)

    def loss(x: Tensor) -> Tensor:
        return clipped_policy_loss(x, old, advantages, mask, clip, bound)

    assert torch.equal(loss(old), expected)
    assert torch.equal(gradient(loss, old), expected)


@law
@given(responses(2), clip_ranges)
def test_at_the_old_policy_standardized_advantages_cost_nothing(batch, clip_range):
    old, advantages, mask = batch

    loss = clipped_policy_loss(old, old.clone(), standardize(advantages, mask), mask, clip_range)

    assert masked_mean(loss, mask).item() == pytest.approx(0.0, abs=1e-10)


@law
@given(responses(3), clip_ranges)
def test_clipped_tokens_have_no_slope_and_the_others_that_of_the_unclipped_loss(batch, clip_range):
    new, old, advantages, mask = batch
    ratio = (new - old).exp()
    clipped = (advantages * (ratio - 1) > 0) & ((ratio > 1 + clip_range) | (ratio < 1 - clip_range))

    slope = gradient(lambda x: clipped_policy_loss(x, old, advantages, mask, clip_range), new)

    assert_close(slope, torch.where(mask & ~clipped, -advantages * ratio, 0.0), atol=1e-12, rtol=1e-12)


@law
@given(responses(3))
def test_a_clip_range_of_zero_gives_nothing_for_a_move_in_the_good_direction(batch):
    new, old, advantages, _ = batch
    good = advantages * (new - old) > 0

    loss = clipped_policy_loss(*batch, 0.0)

    assert torch.equal(loss[good], -advantages[good])


@law
@given(responses(3), clip_ranges, bounds, st.floats(0.1, 10.0))
def test_scaling_the_advantages_scales_the_policy_loss(batch, clip_range, bound, scale):
    new, old, advantages, mask = batch

    scaled = clipped_policy_loss(new, old, scale * advantages, mask, clip_range, bound)

    expected = scale * clipped_policy_loss(*batch, clip_range, bound)
    assert_close(scaled, expected, atol=1e-12, rtol=1e-12)


@law
@given(packs(3, clip_ranges, bounds))
def test_the_dual_clip_of_each_trial_bounds_its_bad_tokens_and_leaves_the_good_ones(pack):
    (*tokens, advantages, mask), (clip_range, bound) = pack
    without = clipped_policy_loss(*tokens, advantages, mask, clip_range)

    loss = clipped_policy_loss(*tokens, advantages, mask, clip_range, bound)

    expected = torch.where(advantages < 0, without.minimum(-bound * advantages), without)
    assert torch.equal(loss[mask], expected[mask])


@pytest.mark.parametrize(
    ("log_ratio", "advantage"), [(1000.0, -1.0), (-1000.0, 1.0), (1000.0, 1.0), (-1000.0, -1.0)]
)
def test_a_ratio_out_of_all_bounds_has_a_finite_loss_and_slope(log_ratio, advantage):
    def loss(x: Tensor) -> Tensor:
        return clipped_policy_loss(x, one(0.0), one(advantage), ONE, 0.2)

    assert abs(loss(one(log_ratio)).item()) < 1e9
    assert math.isfinite(gradient(loss, one(log_ratio)).item())


@law
@given(responses(2), clip_ranges)
def test_an_unmoved_value_is_not_clipped(batch, clip_range):
    values, targets, mask = batch

    loss = clipped_value_loss(values, values.clone(), targets, mask, clip_range)

    assert_close(loss, torch.where(mask, unclipped_value_loss(values, values, targets), 0.0))


@law
@given(responses(2, unit=1 / 128), clip_ranges)
def test_a_perfect_value_within_range_of_the_old_one_costs_nothing(batch, clip_range):
    targets, steps, mask = batch

    loss = clipped_value_loss(targets, targets + clip_range * steps, targets, mask, clip_range)

    assert_close(loss, torch.zeros_like(loss), atol=1e-12, rtol=0.0)


def test_a_long_response_outweighs_a_short_one():
    # V7: 1 token with A = +1 and 3 with A = -1. A mean of the two means would see nothing.
    mask = torch.tensor([[True, False, False], [True, True, True]])
    advantages = torch.tensor([[1.0, torch.nan, torch.nan], [-1.0, -1.0, -1.0]])

    loss = clipped_policy_loss(torch.zeros(2, 3), torch.zeros(2, 3), advantages, mask, 0.2)

    assert masked_mean(loss, mask).item() == 0.5
    assert (loss.sum(-1) / mask.sum(-1)).mean().item() == 0.0


@law
@given(responses(3, min_rows=3), clip_ranges)
@pytest.mark.parametrize("size", [1, 2])
@losses
def test_the_gradient_does_not_depend_on_the_size_of_micro_batches(loss, size, batch, clip_range):
    new, *others = batch
    mask = batch[-1]

    def accumulated(x: Tensor, size: int) -> Tensor:
        parts = zip(*(tensor.split(size) for tensor in (x, *others)), strict=True)
        return torch.stack([masked_sum(loss(*part, clip_range), part[-1]) / mask.sum() for part in parts])

    whole = gradient(lambda x: masked_mean(loss(x, *others, clip_range), mask), new)
    assert_close(gradient(lambda x: accumulated(x, size), new), whole, atol=1e-12, rtol=1e-12)


@law
@given(packs(3, clip_ranges))
@losses
def test_each_trial_of_a_pack_gets_its_own_loss(loss, pack):
    tokens, hyperparameters = pack

    together = loss(*tokens, *hyperparameters)

    assert torch.equal(together, one_by_one(loss, tokens, hyperparameters))


@law
@given(packs(3), clip_ranges)
@losses
def test_a_number_for_all_trials_equals_that_number_for_each(loss, pack, clip_range):
    tokens, _ = pack
    each = torch.full((len(tokens[0]), 1, 1), clip_range, dtype=torch.float64)

    assert torch.equal(loss(*tokens, clip_range), loss(*tokens, each))


@law
@given(responses(3), clip_ranges)
@losses
def test_losses_leave_their_inputs_as_they_are(loss, batch, clip_range):
    before = [x.clone() for x in batch]

    loss(*batch, clip_range).add_(1.0)

    assert_close(list(batch), before, rtol=0.0, atol=0.0, equal_nan=True)
