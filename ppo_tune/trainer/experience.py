"""From a scored rollout to what PPO learns from: token rewards, advantages and returns of k trials.

Rewards, values and returns are in units of `score_std`, the standard deviation of the untrained model's scores. The
value loss grows with the square of what it measures, and shares adapters and one gradient norm with the policy loss;
so in the reward's own unit, that unit would decide which of the two is learned.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.ppo import estimate_kl, gae, penalize_missing_eos, rescale, standardize, token_rewards
from ppo_tune.trainer.rollout import Rollout


@dataclass(frozen=True)
class Experience:
    """A rollout with what PPO learns from it.

    Attributes:
        places: The k trials of the leading axis.
        rollout: Responses, log-probabilities and values, (k, B, ·).
        scores: One per response, as the reward gave it, shape (k, B).
        score_std: The unit of rewards, values and returns, in that of the scores; shape (k, 1, 1).
        kl: KL to the reference at each token, by k1, whatever the penalty's estimator; shape (k, B, T).
        rewards: Token rewards, shape (k, B, T).
        advantages: Standardized over the rollout of each trial, shape (k, B, T).
        returns: Value targets, shape (k, B, T).
    """

    places: tuple[int, ...]
    rollout: Rollout
    scores: Tensor
    score_std: Tensor
    kl: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor


def estimate_advantages(
    places: Sequence[int],
    rollout: Rollout,
    scores: Tensor,
    configs: Sequence[PPOConfig],
    kl_coefs: Sequence[float],
    score_stds: Sequence[float],
) -> Experience:
    """Penalize by KL, place the scores (k, B), and estimate advantages; each trial by its own hyperparameters.

    The k KL coefficients are the present ones; the k `score_stds`, > 0, are of the untrained model's scores.
    """
    device = scores.device
    units = list(zip(configs, score_stds, strict=True))
    kl_coef = column([kl / std for kl, std in zip(kl_coefs, score_stds, strict=True)], device)
    penalty = column([config.missing_eos_penalty / std for config, std in units], device)[..., 0]
    score_std = column(score_stds, device)
    gamma = column([config.gamma for config in configs], device)
    gae_lambda = column([config.gae_lambda for config in configs], device)
    whitened = column([config.whiten_rewards for config in configs], device).bool()

    penalized_kl = torch.zeros_like(rollout.old_logprobs)
    for i, config in enumerate(configs):
        penalized_kl[i] = estimate_kl(rollout.old_logprobs[i], rollout.ref_logprobs[i], config.kl_estimator)
    scores_given = penalize_missing_eos(scores / score_std[..., 0], rollout.sequences.ended, penalty)
    rewards = token_rewards(scores_given, penalized_kl, rollout.mask, kl_coef)
    rewards = torch.where(whitened, rescale(rewards, rollout.mask), rewards)
    advantages, returns = gae(rewards, rollout.old_values, rollout.mask, gamma, gae_lambda)
    return Experience(
        places=tuple(places),
        rollout=rollout,
        scores=scores,
        score_std=score_std,
        kl=estimate_kl(rollout.old_logprobs, rollout.ref_logprobs),
        rewards=rewards,
        advantages=standardize(advantages, rollout.mask),
        returns=returns,
    )


def column(values: Sequence[float | None], device: torch.device) -> Tensor:
    """One hyperparameter of k trials as a (k, 1, 1) tensor; None, meaning off, becomes infinity."""
    numbers = [math.inf if value is None else float(value) for value in values]
    return torch.tensor(numbers, device=device)[:, None, None]
