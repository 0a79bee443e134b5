# mypy: ignore-errors
"""The three estimators of the KL to the reference, and the controller of its coefficient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.ppo import KL_ESTIMATORS, adapt_kl_coef, estimate_kl
from tests.ppo.strategies import arrays, gradient, law

ZERO = torch.zeros((), dtype=torch.float64)

estimators = pytest.mark.parametrize("estimator", KL_ESTIMATORS)
logits = arrays(5)
log_ratios = arrays(6)
coefs = st.floats(1e-3, 10.0)
kls = st.floats(-5.0, 50.0)
targets = st.floats(0.1, 20.0)
horizons = st.floats(100.0, 1e5)
episode_counts = st.integers(1, 2000)


def vector(*numbers: float) -> Tensor:
    """A tensor of float64."""
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        pytest.param("k1", vector(0.5, -1.0, 0.0), id="V4 k1"),
        pytest.param("k2", vector(0.125, 0.5, 0.0), id="V4 k2"),
        pytest.param("k3", vector(0.106531, 0.718282, 0.0), id="V4 k3"),
    ],
)
def test_each_estimator_gives_the_published_numbers(estimator, expected):
    kl = estimate_kl(vector(-1.0, -2.0, -0.5), vector(-1.5, -1.0, -0.5), estimator)

    assert_close(kl, expected, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        pytest.param("k1", 0.085123, id="V4 k1"),
        pytest.param("k2", 0.080088, id="V4 k2"),
        pytest.param("k3", 0.085123, id="V4 k3"),
    ],
)
def test_each_estimator_has_the_published_expectation(estimator, expected):
    p, q = vector(0.7, 0.2, 0.1), vector(0.5, 0.3, 0.2)

    mean = (p * estimate_kl(p.log(), q.log(), estimator)).sum()

    assert mean.item() == pytest.approx(expected, abs=1e-6)


def test_the_estimator_is_k1_unless_another_is_asked_for():
    kl = estimate_kl(vector(-1.0), vector(-3.0))

    assert kl.tolist() == [2.0]


def test_an_unknown_estimator_is_refused():
    with pytest.raises(KeyError, match="k4"):
        estimate_kl(vector(-1.0), vector(-1.0), "k4")


@law
@given(logits, logits)
@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(estimator, policy_logits, ref_logits):
    policy, ref = policy_logits.log_softmax(-1), ref_logits.log_softmax(-1)
    exact = torch.nn.functional.kl_div(ref, policy, reduction="sum", log_target=True)

    mean = (policy.exp() * estimate_kl(policy, ref, estimator)).sum()

    assert_close(mean, exact, atol=1e-12, rtol=1e-12)


@law
@given(logits, logits)
def test_k2_as_a_loss_has_the_gradient_of_the_exact_kl(policy_logits, ref_logits):
    weights, ref = policy_logits.softmax(-1), ref_logits.log_softmax(-1)

    of_k2 = gradient(lambda z: weights * estimate_kl(z.log_softmax(-1), ref, "k2"), policy_logits)

    of_exact = gradient(lambda z: z.softmax(-1) * (z.log_softmax(-1) - ref), policy_logits)
    assert_close(of_k2, of_exact, atol=1e-12, rtol=1e-12)


@law
@given(log_ratios)
@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_k2_and_k3_are_zero_where_the_policies_agree_and_positive_elsewhere(estimator, log_ratio):
    kl = estimate_kl(log_ratio, torch.zeros_like(log_ratio), estimator)

    assert torch.equal(kl > 0, log_ratio != 0)
    assert torch.equal(kl == 0, log_ratio == 0)


@law
@given(log_ratios)
@estimators
def test_a_policy_equal_to_its_reference_has_no_kl(estimator, logprobs):
    kl = estimate_kl(logprobs, logprobs.clone(), estimator)

    assert torch.equal(kl, torch.zeros_like(logprobs))


@law
@given(st.floats(1e-3, 0.5), st.sampled_from([-1.0, 1.0]))
def test_k3_leaves_k2_at_third_order(size, sign):
    # k3 - k2 = -d³/6 + d⁴/24 - ..., so at most |d|³/6 · e^|d|.
    d = vector(sign * size)

    difference = estimate_kl(d, ZERO, "k3") - estimate_kl(d, ZERO, "k2")

    assert 0.8 * size**3 / 6 < -sign * difference.item() < 1.7 * size**3 / 6


@law
@given(log_ratios)
def test_k3_is_the_inverse_ratio_less_one_less_its_logarithm(log_ratio):
    kl = estimate_kl(log_ratio, torch.zeros_like(log_ratio), "k3")

    assert_close(kl, 1 / log_ratio.exp() - 1 - (1 / log_ratio.exp()).log(), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "slope"),
    [
        pytest.param("k1", vector(1.0, 1.0), id="k1"),
        pytest.param("k2", vector(0.5, -1.0), id="k2"),
        pytest.param("k3", vector(0.393469, -1.718282), id="k3"),
    ],
)
def test_each_estimator_has_the_slope_of_its_formula(estimator, slope):
    # 1, d, and 1 - exp(-d), at d = 0.5 and d = -1.
    derivative = gradient(lambda x: estimate_kl(x, vector(-1.5, -1.0), estimator), vector(-1.0, -2.0))

    assert_close(derivative, slope, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("log_ratio", [-200.0, -20.5, 200.0])
def test_k3_far_from_the_reference_has_a_finite_value_and_gradient(log_ratio, dtype):
    logprobs = torch.tensor([log_ratio], dtype=dtype)

    kl = estimate_kl(logprobs, torch.zeros_like(logprobs), "k3")
    derivative = gradient(lambda x: estimate_kl(x, torch.zeros_like(x), "k3"), logprobs)

    assert 100.0 < kl.item() < 1e9
    assert derivative.isfinite().all()


@law
@given(log_ratios, log_ratios)
@estimators
def test_estimating_leaves_its_inputs_as_they_are(estimator, logprobs, ref_logprobs):
    before = logprobs.clone(), ref_logprobs.clone()

    estimate_kl(logprobs, ref_logprobs, estimator).add_(1.0)

    assert_close((logprobs, ref_logprobs), before, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        pytest.param(12.0, 0.202048, id="V9 twice the target"),
        pytest.param(7.2, 0.202048, id="V9 at the upper bound"),
        pytest.param(6.6, 0.201024, id="V9 a little above"),
        pytest.param(6.0, 0.2, id="V9 on target"),
        pytest.param(3.0, 0.197952, id="V9 half the target"),
        pytest.param(0.0, 0.197952, id="V9 no KL"),
    ],
)
def test_the_controller_moves_the_coefficient_as_published(kl, expected):
    adapted = adapt_kl_coef(0.2, kl, kl_target=6.0, kl_horizon=10_000.0, episodes=512)

    assert adapted == pytest.approx(expected, abs=1e-12)


@law
@given(coefs, targets, horizons, episode_counts)
def test_a_kl_on_target_keeps_the_coefficient(coef, target, horizon, episodes):
    adapted = adapt_kl_coef(coef, target, kl_target=target, kl_horizon=horizon, episodes=episodes)

    assert adapted == coef


@law
@given(coefs, kls, targets, horizons, episode_counts)
def test_one_rollout_moves_the_coefficient_by_at_most_a_fifth_of_episodes_over_horizon(
    coef, kl, target, horizon, episodes
):
    adapted = adapt_kl_coef(coef, kl, kl_target=target, kl_horizon=horizon, episodes=episodes)

    assert abs(adapted / coef - 1.0) <= 0.2 * episodes / horizon + 1e-12


@law
@given(coefs, kls, st.floats(0.0, 50.0), targets, horizons, episode_counts)
def test_a_larger_kl_never_gives_a_smaller_coefficient(coef, kl, more, target, horizon, episodes):
    lower = adapt_kl_coef(coef, kl, kl_target=target, kl_horizon=horizon, episodes=episodes)

    higher = adapt_kl_coef(coef, kl + more, kl_target=target, kl_horizon=horizon, episodes=episodes)

    assert higher >= lower


@law
@given(coefs, kls, targets, episode_counts)
def test_the_coefficient_stays_positive_if_a_rollout_is_shorter_than_five_horizons(
    coef, kl, target, episodes
):
    adapted = adapt_kl_coef(coef, kl, kl_target=target, kl_horizon=episodes / 4.99, episodes=episodes)

    assert adapted > 0.0


def test_the_coefficient_moves_more_over_a_shorter_horizon():
    # The error is 0.1, and 512 episodes are half of a horizon of 1024.
    adapted = adapt_kl_coef(0.2, 6.6, kl_target=6.0, kl_horizon=1024.0, episodes=512)

    assert adapted == pytest.approx(0.21)
