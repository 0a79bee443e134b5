"""From scores to per-token advantages: the KL penalty, the score at the last token, then GAE."""

import torch
from torch import Tensor


def penalize_missing_eos(scores: Tensor, ended: Tensor, penalty: Tensor | float) -> Tensor:
    """Subtract `penalty` from the score of every response that was cut off at the length limit.

    Args:
        scores: One score per response, shape (..., B).
        ended: True where the response holds a stop token, shape (..., B).
        penalty: How much to subtract, >= 0; a float or shape (K, 1).

    Returns:
        New scores, shape (..., B).
    """
    return torch.where(ended, scores, scores - penalty)


def token_rewards(scores: Tensor, kl: Tensor, response_mask: Tensor, kl_coef: Tensor | float) -> Tensor:
    """Reward of each token: -kl_coef · kl, plus the score at the last real token.

        token    a  b  EOS  .  .        mask   1  1  1  0  0
        reward   -  -  s-   0  0        (s = score, - = KL penalty)

    Args:
        scores: One score per response, shape (..., B).
        kl: KL estimate of each token in nats, shape (..., B, T); padding may hold anything.
        response_mask: True at real tokens, shape (..., B, T); each row is True then False, and has at
            least one True.
        kl_coef: Penalty per nat, >= 0; a float or shape (K, 1, 1).

    Returns:
        Rewards, shape (..., B, T), zero at padding.

    Reference:
        Ziegler et al., 2019, arXiv:1909.08593, eq. 2; the score stands at the last real token, see
        Stiennon et al., 2020, arXiv:2009.01325.
    """
    position = torch.arange(kl.shape[-1], device=kl.device)
    is_last = position == response_mask.sum(-1, keepdim=True) - 1
    penalized = torch.where(response_mask, -kl_coef * kl, 0.0)
    return penalized + torch.where(is_last, scores[..., None], 0.0)


def gae(
    rewards: Tensor,
    values: Tensor,
    response_mask: Tensor,
    gamma: Tensor | float,
    gae_lambda: Tensor | float,
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation over the real tokens of each response.

    δ_t = r_t + γ V_{t+1} - V_t and A_t = δ_t + γλ A_{t+1}, running back from the last real token; a
    response cut off at the length limit counts as ended. Returns are A + V, before any standardizing.

    Args:
        rewards: Token rewards, shape (..., B, T); padding may hold anything.
        values: Value estimates before each token, shape (..., B, T); padding may hold anything.
        response_mask: True at real tokens, shape (..., B, T); each row is True then False.
        gamma: Discount in [0, 1]; a float or shape (K, 1, 1).
        gae_lambda: Mixing parameter in [0, 1]; a float or shape (K, 1, 1).

    Returns:
        Advantages and returns, both (..., B, T) and zero at padding.

    Reference:
        Schulman et al., 2016, "High-Dimensional Continuous Control Using Generalized Advantage
        Estimation", arXiv:1506.02438, eq. 11-16.
    """
    rewards = torch.where(response_mask, rewards, 0.0)
    values = torch.where(response_mask, values, 0.0)
    gamma = torch.as_tensor(gamma, dtype=values.dtype, device=values.device).expand_as(values)
    decay = gamma * gae_lambda
    next_values = torch.nn.functional.pad(values[..., 1:], (0, 1))
    deltas = rewards + gamma * next_values - values
    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[..., 0])
    for t in range(values.shape[-1] - 1, -1, -1):
        running = deltas[..., t] + decay[..., t] * running
        advantages[..., t] = running
    return advantages, advantages + values
