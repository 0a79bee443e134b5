# mypy: ignore-errors
"""Sums, means and variances over real tokens, and the two ways to bring a trial to variance 1."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.ppo import masked_mean, masked_sum, masked_variance, rescale, standardize
from tests.ppo.strategies import gradient, law, numbers, one_by_one, packs, responses, widen

NINE = torch.tensor([[1.2, 1.3, 1.4], [1.5, 1.6, 1.7], [1.8, 1.9, 2.0]], dtype=torch.float64)
ALL_REAL = torch.ones(3, 3, dtype=torch.bool)
ONE_REAL = torch.tensor([[True, False, False]])
NONE_REAL = torch.zeros(2, 3, dtype=torch.bool)

reductions = pytest.mark.parametrize("reduce", [masked_sum, masked_mean, masked_variance])
shapings = pytest.mark.parametrize("shape_up", [standardize, rescale])
everything = pytest.mark.parametrize(
    "function", [masked_sum, masked_mean, masked_variance, standardize, rescale]
)


def steps(first: float, last: float) -> Tensor:
    """Nine numbers at equal distances, as a (3, 3) batch."""
    return torch.linspace(first, last, 9, dtype=torch.float64).reshape(3, 3)


@law
@given(responses(1, min_tokens=0))
def test_a_masked_sum_adds_the_real_tokens_and_nothing_else(batch):
    x, mask = batch

    total = masked_sum(x, mask)

    assert total.item() == pytest.approx(math.fsum(x[mask].tolist()), abs=1e-12)


@law
@given(responses(1))
def test_a_masked_mean_divides_by_the_number_of_real_tokens(batch):
    x, mask = batch

    mean = masked_mean(x, mask)

    assert_close(mean, x[mask].mean())


@law
@given(responses(1))
def test_a_masked_variance_divides_by_n_and_not_by_n_minus_1(batch):
    x, mask = batch

    variance = masked_variance(x, mask)

    assert_close(variance, x[mask].var(correction=0))


@pytest.mark.parametrize(
    ("whiten", "expected"),
    [
        pytest.param(standardize, steps(-1.549193, 1.549193), id="V8 population"),
        pytest.param(
            lambda x, mask: standardize(x, mask) * math.sqrt(8 / 9),
            steps(-1.460593, 1.460593),
            id="V8 Bessel",
        ),
        pytest.param(rescale, steps(0.050807, 3.149193), id="V8 mean kept"),
    ],
)
def test_nine_equal_steps_are_whitened_to_the_published_numbers(whiten, expected):
    assert_close(whiten(NINE, ALL_REAL), expected, atol=1e-6, rtol=0.0)


@law
@given(responses(1, unit=1.0))
def test_standardizing_gives_mean_0_and_variance_1(batch):
    x, mask = batch
    variance = x[mask].var(correction=0)

    real = standardize(x, mask)[mask]

    assert_close(real.mean(), torch.zeros_like(variance), atol=1e-12, rtol=0.0)
    assert_close(real.var(correction=0), (variance > 0).double(), atol=1e-6, rtol=0.0)


@law
@given(
    responses(1, unit=1.0),
    st.floats(0.5, 4.0),
    st.sampled_from([-1.0, 1.0]),
    numbers,
)
def test_standardizing_forgets_shift_and_scale_but_not_sign(batch, scale, sign, shift):
    x, mask = batch

    moved = standardize(sign * scale * x + shift, mask)

    assert_close(moved, sign * standardize(x, mask), atol=1e-6, rtol=0.0)


@law
@given(responses(1))
def test_rescaling_keeps_the_mean(batch):
    x, mask = batch

    real = rescale(x, mask)[mask]

    assert_close(real.mean(), x[mask].mean(), atol=1e-12, rtol=0.0)


@law
@given(responses(1, min_tokens=0))
@shapings
def test_padding_is_exactly_zero_after_shaping(shape_up, batch):
    x, mask = batch

    padding = shape_up(x, mask)[~mask]

    assert padding.tolist() == [0.0] * padding.numel()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1.0, 100.1])
def test_a_constant_trial_standardizes_to_zero(constant, dtype):
    x = torch.full((1, 10), constant, dtype=dtype)

    standard = standardize(x, torch.ones(1, 10, dtype=torch.bool))

    assert_close(standard, torch.zeros_like(x), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1.0, 100.1])
def test_a_constant_trial_is_rescaled_to_itself(constant):
    x = torch.full((3, 3), constant, dtype=torch.float64)

    assert_close(rescale(x, ALL_REAL), x)


def test_a_single_token_standardizes_to_zero_and_is_rescaled_to_itself():
    x = torch.tensor([[7.3, torch.nan, torch.nan]])

    assert standardize(x, ONE_REAL).tolist() == [[0.0, 0.0, 0.0]]
    assert_close(rescale(x, ONE_REAL), torch.tensor([[7.3, 0.0, 0.0]]))


@shapings
def test_a_trial_without_tokens_is_shaped_to_zeros(shape_up):
    x = torch.full((2, 3), torch.nan)

    assert shape_up(x, NONE_REAL).tolist() == [[0.0] * 3] * 2


def test_no_tokens_have_sum_0_and_no_mean():
    x = torch.full((2, 3), torch.nan)

    assert masked_sum(x, NONE_REAL).item() == 0.0
    assert math.isnan(masked_mean(x, NONE_REAL).item())
    assert math.isnan(masked_variance(x, NONE_REAL).item())


@law
@given(responses(1), st.integers(1, 3))
@reductions
def test_more_padding_changes_no_reduction(reduce, batch, columns):
    x, mask = batch

    wider = reduce(widen(x, columns), widen(mask, columns, fill=False))

    assert_close(wider, reduce(x, mask), atol=1e-12, rtol=1e-12)


@law
@given(responses(1))
@reductions
def test_the_order_of_responses_changes_no_reduction(reduce, batch):
    x, mask = batch

    turned = reduce(x.flip(0), mask.flip(0))

    assert_close(turned, reduce(x, mask), atol=1e-12, rtol=1e-12)


@law
@given(packs(1))
@everything
def test_each_trial_of_a_pack_is_reduced_alone(function, pack):
    tokens, _ = pack

    together = function(*tokens)

    assert_close(together, one_by_one(function, tokens, []), atol=1e-12, rtol=1e-12)


@everything
def test_nan_at_padding_reaches_no_gradient(function):
    mask = torch.tensor([[True, True, False]])
    clean, dirty = torch.tensor([[[1.0, 2.5, 0.0]], [[1.0, 2.5, torch.nan]]], dtype=torch.float64)

    with_nan = gradient(lambda x: function(x, mask).square(), dirty)

    assert_close(with_nan, gradient(lambda x: function(x, mask).square(), clean))


@law
@given(responses(1))
@everything
def test_the_inputs_stay_as_they_are(function, batch):
    x, mask = batch
    before = x.clone(), mask.clone()

    function(x, mask)

    assert_close((x, mask), before, rtol=0.0, atol=0.0, equal_nan=True)
