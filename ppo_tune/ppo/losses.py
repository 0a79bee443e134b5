"""The clipped losses, one number per token and zero at padding; the caller sums and divides.

UserFiles are masked before any arithmetic, so that NaN at padding reaches neither a loss nor a gradient.
"""

import math

import torch
from torch import Tensor

from ppo_tune.ppo.kl import bounded_ratio


def clipped_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    clip_range: Tensor | float,
    dual_clip: Tensor | float = math.inf,
) -> Tensor:
    """PPO's pessimistic policy loss: max(-A·ρ, -A·clip(ρ, 1-ε, 1+ε)), ρ = exp(logprobs - old_logprobs).

    Where A < 0 the loss of one token is also bounded from above, by -c·A.

    Args:
        logprobs: Log-probabilities under the policy being trained, shape (..., B, T).
        old_logprobs: Log-probabilities at sampling time, same shape.
        advantages: Advantages, same shape.
        response_mask: True at real tokens, same shape; the other arguments may hold anything elsewhere.
        clip_range: ε, >= 0; a float or shape (K, 1, 1).
        dual_clip: c, > 1; a float or shape (K, 1, 1); infinity switches it off.

    Returns:
        Loss of each token, shape (..., B, T), zero at padding.

    Reference:
        Schulman et al., 2017, "Proximal Policy Optimization Algorithms", arXiv:1707.06347, eq. 7; the
        bound for A < 0: Ye et al., 2020, arXiv:1912.09729.
    """
    advantages = torch.where(response_mask, advantages, 0.0)
    ratio = bounded_ratio(
        torch.where(response_mask, logprobs, 0.0), torch.where(response_mask, old_logprobs, 0.0)
    )
    epsilon = torch.as_tensor(clip_range, dtype=ratio.dtype, device=ratio.device)
    clipped = ratio.clamp(1.0 - epsilon, 1.0 + epsilon)
    loss = torch.maximum(-advantages * ratio, -advantages * clipped)
    return torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)


def clipped_value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    response_mask: Tensor,
    clip_range_value: Tensor | float,
) -> Tensor:
    """Half the squared error of the value, pessimistic about steps larger than ε_v.

    ½ max((V - G)², (V_old + clip(V - V_old, -ε_v, ε_v) - G)²)

    Args:
        values: Values under the head being trained, shape (..., B, T).
        old_values: Values at sampling time, same shape.
        returns: Value targets G, same shape.
        response_mask: True at real tokens, same shape; the other arguments may hold anything elsewhere.
        clip_range_value: ε_v in the units of the values, > 0; a float or shape (K, 1, 1); infinity
            switches the clipping off.

    Returns:
        Loss of each token, shape (..., B, T), zero at padding.

    Reference:
        Ziegler et al., 2019, code of arXiv:1909.08593.
    """
    values, old_values, returns = (torch.where(response_mask, x, 0.0) for x in (values, old_values, returns))
    clipped = values.clamp(old_values - clip_range_value, old_values + clip_range_value)
    return torch.maximum((values - returns).square(), (clipped - returns).square()) / 2
