"""What to watch while PPO runs; none of it enters a loss unless the caller says so."""

import torch
from torch import Tensor

from ppo_tune.ppo.kl import bounded_ratio
from ppo_tune.ppo.masking import masked_mean, masked_variance


def is_clipped(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_range: Tensor | float
) -> Tensor:
    """Whether clipping removes a token's gradient: ρ > 1+ε where A > 0, or ρ < 1-ε where A < 0.

    Args:
        logprobs: Log-probabilities under the policy being trained, shape (..., B, T).
        old_logprobs: Log-probabilities at sampling time, same shape.
        advantages: Advantages, same shape.
        clip_range: ε, >= 0; a float or shape (K, 1, 1).

    Returns:
        Truth values, shape (..., B, T).
    """
    ratio = bounded_ratio(logprobs, old_logprobs)
    too_high = (ratio > 1.0 + clip_range) & (advantages > 0)
    too_low = (ratio < 1.0 - clip_range) & (advantages < 0)
    return too_high | too_low


def entropy(log_distribution: Tensor) -> Tensor:
    """Entropy in nats of each distribution, from its log-probabilities.

    Args:
        log_distribution: Log-probabilities of every token, shape (..., V); they must be those of the
            sampling distribution, so of logits already divided by the temperature.

    Returns:
        Entropies in [0, ln V], shape (...).
    """
    # A token that cannot be sampled has log-probability -inf, and 0 · -inf would be NaN.
    finite = log_distribution.clamp(min=torch.finfo(log_distribution.dtype).min)
    return -(finite.exp() * finite).sum(-1)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """How much of the returns the values predict: 1 - Var(G - V) / Var(G).

    Args:
        values: Value estimates, shape (..., B, T).
        returns: What they should have been, same shape.
        mask: True at real tokens, same shape.

    Returns:
        At most 1, shape (...); NaN where the returns of a trial are constant.
    """
    variance = masked_variance(returns, mask)
    unexplained = masked_variance(returns - values, mask)
    # Returns are advantages plus values, so constant ones differ by rounding; that is no variance to explain.
    rounding = (8 * torch.finfo(returns.dtype).eps) ** 2
    noise = rounding * masked_mean(returns.square() + values.square(), mask)
    return torch.where(variance > noise, 1.0 - unexplained / variance, torch.nan)
