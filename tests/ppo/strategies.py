"""Random responses for the laws of `ppo_tune.ppo`, in float64 with NaN at padding, and slow references."""

import math
from collections.abc import Callable

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

law = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
"""How often a law is tried; no limit on time, for the machine may be busy."""

fractions = st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0)
"""γ and λ, exactly 0 and exactly 1 included."""

kl_coefs = st.sampled_from([0.0, 1.0]) | st.floats(0.0, 2.0)
"""β, exactly 0 and exactly 1 included."""

clip_ranges = st.sampled_from([0.0, 1.0, 0.2]) | st.floats(0.01, 0.9)
"""ε of the policy and of the value, exactly 0 included."""

numbers = st.integers(-400, 400).map(lambda n: n / 100)
"""Single numbers on the scale of `arrays`."""


def arrays(*shape: int, unit: float = 0.03) -> st.SearchStrategy[Tensor]:
    """Multiples of `unit` from -128 to 127: zeros and ties are common, and nothing is lost to rounding."""
    size = int(np.prod(shape))
    return st.binary(min_size=size, max_size=size).map(
        lambda drawn: torch.from_numpy(np.frombuffer(drawn, np.int8).reshape(shape) * np.float64(unit))
    )


@st.composite
def responses(
    draw: st.DrawFn,
    count: int,
    *,
    packed: bool = False,
    min_tokens: int = 1,
    min_rows: int = 1,
    unit: float = 0.03,
) -> tuple[Tensor, ...]:
    """`count` tensors of token values, NaN at padding, then their mask: (B, T), or (K, B, T) if packed.

    The rows of the mask are True then False.
    """
    trials = (draw(st.integers(1, 3)),) if packed else ()
    shape = (*trials, draw(st.integers(min_rows, 3)), draw(st.integers(1, 5)))
    lengths = min_tokens + draw(arrays(*shape[:-1], 1, unit=1.0)) % (shape[-1] + 1 - min_tokens)
    mask = torch.arange(shape[-1]) < lengths
    return *nan_outside(draw(arrays(count, *shape, unit=unit)), mask), mask


@st.composite
def packs(
    draw: st.DrawFn, count: int, *hyperparameters: st.SearchStrategy[float]
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """As packed `responses`; then a tensor of shape (K, 1, 1) for each hyperparameter."""
    tokens = draw(responses(count, packed=True))
    trials = len(tokens[0])
    drawn = [draw(st.lists(each, min_size=trials, max_size=trials)) for each in hyperparameters]
    return tokens, [torch.tensor(each, dtype=torch.float64).reshape(-1, 1, 1) for each in drawn]


def one_by_one(
    function: Callable[..., Tensor], tokens: tuple[Tensor, ...], hyperparameters: list[Tensor]
) -> Tensor:
    """What `function` gives for each trial of a pack alone, its hyperparameters as floats; stacked."""
    return torch.stack(
        [
            function(*(x[k] for x in tokens), *(h[k].item() for h in hyperparameters))
            for k in range(len(tokens[0]))
        ]
    )


def nan_outside(x: Tensor, mask: Tensor) -> Tensor:
    """`x` with NaN at padding."""
    return x.masked_fill(~mask, torch.nan)


def widen(x: Tensor, columns: int, fill: float | bool = torch.nan) -> Tensor:
    """`x` with more columns of padding on the right."""
    return torch.nn.functional.pad(x, (0, columns), value=fill)


def gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The derivative of the sum of `loss(x)` at `x`."""
    x = x.detach().clone().requires_grad_()
    (derivative,) = torch.autograd.grad(loss(x).sum(), x)
    return derivative


def slow_gae(batch: tuple[Tensor, ...], gamma: float, gae_lambda: float) -> Tensor:
    """Σ_k (γλ)^k δ_{t+k}, one response at a time: eq. 16 of the paper, the sum and not the recursion."""
    advantages = torch.zeros_like(batch[0])
    for i, (rewards, values, mask) in enumerate(zip(*batch, strict=True)):
        r, v = rewards[mask].tolist(), [*values[mask].tolist(), 0.0]
        deltas = [r[t] + gamma * v[t + 1] - v[t] for t in range(len(r))]
        for t in range(len(r)):
            advantages[i, t] = sum((gamma * gae_lambda) ** k * delta for k, delta in enumerate(deltas[t:]))
    return advantages


def discounted(rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Σ_k γ^k r_{t+k} over the real tokens; NaN at padding."""
    return nan_outside(slow_gae((rewards, torch.zeros_like(rewards), mask), gamma, 1.0), mask)


def unclipped_policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor) -> Tensor:
    """-A·ρ."""
    return -advantages * (logprobs - old_logprobs).exp()


def unclipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor) -> Tensor:
    """Half the squared error."""
    return (values - returns) ** 2 / 2


def slow_policy_loss(logprob: float, old_logprob: float, advantage: float, epsilon: float) -> float:
    """For one token: a good one is worth at most ρ = 1+ε, and a bad one costs at least ρ = 1-ε."""
    ratio = math.exp(logprob - old_logprob)
    return -advantage * (min(ratio, 1 + epsilon) if advantage > 0 else max(ratio, 1 - epsilon))


def slow_value_loss(value: float, old_value: float, target: float, epsilon: float) -> float:
    """For one token: half the larger of two squared errors."""
    step = math.copysign(min(abs(value - old_value), epsilon), value - old_value)
    return max(abs(value - target), abs(old_value + step - target)) ** 2 / 2
