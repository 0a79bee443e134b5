# mypy: ignore-errors
"""Approximate KL, clip fraction, entropy and explained variance: hand numbers and laws."""

import math

import pytest
import scipy.stats
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.ppo import (
    clipped_policy_loss,
    entropy,
    estimate_kl,
    explained_variance,
    is_clipped,
    masked_mean,
)
from tests.ppo.strategies import arrays, clip_ranges, gradient, law, one_by_one, packs, responses, widen


def row(*numbers: float) -> Tensor:
    """One response, float64."""
    return torch.tensor([numbers], dtype=torch.float64)


def approx_kl(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """KL of the update, old policy to new, per token: as a trainer reports it."""
    return masked_mean(estimate_kl(old_logprobs, logprobs, "k3"), mask)


def clip_fraction(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip_range: Tensor | float
) -> Tensor:
    """Share of real tokens that are clipped: as a trainer reports it."""
    clipped = is_clipped(logprobs, old_logprobs, advantages, clip_range)
    return masked_mean(clipped.to(logprobs.dtype), mask)


def clip_fraction_at_a_fifth(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor
) -> Tensor:
    """`clip_fraction` with the clip range every paper uses."""
    return clip_fraction(logprobs, old_logprobs, advantages, mask, 0.2)


# Each with the number of token tensors that it takes.
metrics = pytest.mark.parametrize(
    ("metric", "count"),
    [(approx_kl, 2), (clip_fraction_at_a_fifth, 3), (explained_variance, 2)],
    ids=["approx_kl", "clip_fraction", "explained_variance"],
)


@pytest.mark.parametrize(
    ("advantage", "ratio", "clipped"),
    [
        pytest.param(1.0, 0.5, 0.0, id="V5 good, less likely"),
        pytest.param(1.0, 1.5, 1.0, id="V5 good, more likely"),
        pytest.param(-1.0, 0.5, 1.0, id="V5 bad, less likely"),
        pytest.param(-1.0, 1.5, 0.0, id="V5 bad, more likely"),
        pytest.param(-1.0, 5.0, 0.0, id="V5 bad, far more likely"),
        pytest.param(0.0, 5.0, 0.0, id="neither good nor bad"),
        pytest.param(1.0, 1.1, 0.0, id="good, within range"),
    ],
)
def test_a_token_counts_as_clipped_as_published(advantage, ratio, clipped):
    # The token in question, and one at padding that would be clipped.
    logprobs, advantages = row(math.log(ratio), math.log(9.0)), row(advantage, 1.0)

    fraction = clip_fraction(logprobs, row(0.0, 0.0), advantages, torch.tensor([[True, False]]), 0.2)

    assert fraction.item() == clipped


@law
@given(responses(3), clip_ranges)
def test_the_clip_fraction_counts_the_tokens_whose_slope_vanishes(batch, clip_range):
    new, old, advantages, mask = batch
    slope = gradient(lambda x: clipped_policy_loss(x, old, advantages, mask, clip_range), new)
    vanished = (slope == 0) & (advantages != 0) & mask

    fraction = clip_fraction(*batch, clip_range)

    assert_close(fraction, vanished.double().sum() / mask.sum())


def test_the_update_kl_is_the_mean_of_ratio_less_one_less_log_ratio():
    # ρ = 2 and ρ = 4 at the two real tokens: 1 - ln 2 and 3 - ln 4.
    logprobs = row(math.log(2.0), math.log(4.0), torch.nan, 7.0)

    kl = approx_kl(logprobs, row(0.0, 0.0, 0.0, torch.nan), torch.tensor([[True, True, False, False]]))

    assert kl.item() == pytest.approx(2.0 - 1.5 * math.log(2.0), rel=1e-12)


@law
@given(responses(2))
def test_the_update_kl_is_never_negative_and_zero_only_without_an_update(batch):
    new, old, mask = batch

    kl = approx_kl(*batch)

    assert (kl > 0).item() == (new != old)[mask].any().item()
    assert (kl == 0).item() == (new == old)[mask].all().item()


@law
@given(responses(2), clip_ranges)
def test_without_an_update_nothing_is_clipped_and_no_kl_is_measured(batch, clip_range):
    logprobs, advantages, mask = batch

    assert approx_kl(logprobs, logprobs.clone(), mask).item() == 0.0
    assert clip_fraction(logprobs, logprobs.clone(), advantages, mask, clip_range).item() == 0.0


@law
@given(arrays(3, 5), st.floats(0.1, 5.0))
def test_entropy_is_that_of_the_scaled_logits(logits, temperature):
    scaled = logits / temperature

    nats = entropy(scaled.log_softmax(-1))

    # logsumexp(z) - Σ softmax(z) z: a formula that knows no log-probability.
    expected = scaled.logsumexp(-1) - (scaled.softmax(-1) * scaled).sum(-1)
    assert_close(nats, expected, atol=1e-11, rtol=1e-11)


@law
@given(arrays(3, 5))
def test_entropy_lies_between_zero_and_the_log_of_the_vocabulary(logits):
    nats = entropy((9 * logits).log_softmax(-1))

    assert (nats >= 0.0).all()
    assert (nats <= math.log(5) + 1e-12).all()


@pytest.mark.parametrize(
    ("log_distribution", "expected"),
    [
        pytest.param(row(0.7, 0.2, 0.1).log(), 0.801819, id="V4"),
        pytest.param(row(0.25, 0.25, 0.25, 0.25).log(), math.log(4.0), id="uniform"),
        pytest.param(row(0.0, -math.inf, -math.inf), 0.0, id="certain"),
        pytest.param(row(math.log(0.5), -math.inf, math.log(0.5)), math.log(2.0), id="one impossible"),
    ],
)
def test_entropy_of_a_known_distribution(log_distribution, expected):
    assert entropy(log_distribution).item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    ("temperature", "published"),
    [
        pytest.param(1.0, [-0.407606, -1.407606, -2.407606], id="V11 T = 1"),
        pytest.param(0.7, [-0.260118, -1.688690, -3.117261], id="V11 T = 0.7"),
        pytest.param(2.0, [-0.680270, -1.180270, -1.680270], id="V11 T = 2"),
    ],
)
def test_entropy_after_a_temperature_is_that_of_the_published_log_probabilities(temperature, published):
    expected = scipy.stats.entropy([math.exp(x) for x in published])

    nats = entropy((row(2.0, 1.0, 0.0) / temperature).log_softmax(-1))

    assert nats.item() == pytest.approx(expected, abs=2e-6)


def test_an_impossible_token_leaves_the_slope_of_the_entropy_finite():
    slope = gradient(lambda z: entropy(z.log_softmax(-1)), row(1.0, -math.inf, 1.0))

    assert slope.tolist() == [[0.0, 0.0, 0.0]]


def test_explained_variance_is_as_published():
    values, returns = row(1.1, 1.9, 3.2, 3.8), row(1.0, 2.0, 3.0, 4.0)  # V12

    assert explained_variance(values, returns, returns > 0).item() == pytest.approx(0.98, abs=1e-12)


@law
@given(responses(2))
def test_explained_variance_is_one_less_the_share_of_the_variance_left_over(batch):
    values, returns, mask = batch
    total = returns[mask].var(correction=0)
    assume(total > 1e-4)

    explained = explained_variance(*batch)

    assert_close(explained, 1.0 - (returns - values)[mask].var(correction=0) / total, atol=1e-9, rtol=1e-9)


@law
@given(responses(1), st.floats(-4.0, 4.0))
def test_values_explain_everything_up_to_a_shift_and_a_constant_explains_nothing(batch, shift):
    returns, mask = batch
    assume(returns[mask].var(correction=0) > 1e-4)

    assert explained_variance(returns + shift, returns, mask).item() == pytest.approx(1.0)
    assert explained_variance(torch.full_like(returns, shift), returns, mask).item() == pytest.approx(
        0.0, abs=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1])
def test_constant_returns_have_no_explained_variance(constant, count, dtype):
    returns = torch.full((1, count), constant, dtype=dtype)
    values = torch.arange(count, dtype=dtype)[None]

    explained = explained_variance(values, returns, torch.ones(1, count, dtype=torch.bool))

    assert math.isnan(explained.item())


@law
@given(responses(3, unit=1 / 32), st.integers(1, 3))
@metrics
def test_more_padding_changes_no_metric(metric, count, batch, columns):
    *tokens, mask = batch
    wider = [widen(x, columns) for x in tokens[:count]]

    result = metric(*wider, widen(mask, columns, fill=False))

    assert_close(result, metric(*tokens[:count], mask), atol=1e-12, rtol=1e-12, equal_nan=True)


@law
@given(responses(3, packed=True, unit=1 / 32))
@metrics
def test_each_trial_of_a_pack_is_measured_alone(metric, count, batch):
    *tokens, mask = batch

    together = metric(*tokens[:count], mask)

    alone = one_by_one(metric, (*tokens[:count], mask), [])
    assert_close(together, alone, atol=1e-12, rtol=1e-12, equal_nan=True)


@law
@given(packs(3, clip_ranges))
def test_each_trial_of_a_pack_has_its_own_clip_range(pack):
    tokens, hyperparameters = pack

    together = clip_fraction(*tokens, *hyperparameters)

    assert torch.equal(together, one_by_one(clip_fraction, tokens, hyperparameters))


@law
@given(packs(3), clip_ranges)
def test_a_number_for_all_trials_equals_that_number_for_each(pack, clip_range):
    tokens, _ = pack
    each = torch.full((len(tokens[0]), 1, 1), clip_range, dtype=torch.float64)

    assert torch.equal(clip_fraction(*tokens, clip_range), clip_fraction(*tokens, each))


@law
@given(responses(3))
@metrics
def test_measuring_leaves_its_inputs_as_they_are(metric, count, batch):
    *tokens, mask = batch
    before = [x.clone() for x in batch]

    metric(*tokens[:count], mask)

    assert_close([*tokens, mask], before, rtol=0.0, atol=0.0, equal_nan=True)
