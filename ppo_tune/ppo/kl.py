"""How far the policy is from the reference, and the coefficient that holds it there."""

import torch
from torch import Tensor

KL_ESTIMATORS = ("k1", "k2", "k3")
"""k1 is unbiased and can be negative; k2 is never negative and biased; k3 is never negative and unbiased
in value, though not as a gradient."""

_LOG_RATIO_BOUND = 20.0


def estimate_kl(logprobs: Tensor, ref_logprobs: Tensor, estimator: str = "k1") -> Tensor:
    """Estimate KL(policy || reference) from each sampled token.

    With d = logprobs - ref_logprobs: k1 = d, k2 = d²/2, k3 = exp(-d) - 1 + d.

    Args:
        logprobs: Log-probabilities under the policy that sampled the tokens, any shape.
        ref_logprobs: Log-probabilities under the reference, same shape.
        estimator: "k1", "k2" or "k3".

    Returns:
        One estimate per token in nats, same shape.

    Raises:
        KeyError: If the estimator is unknown.

    Reference:
        Schulman, 2020, "Approximating KL Divergence", joschu.net/blog/kl-approx.html.
    """
    log_ratio = logprobs - ref_logprobs
    match estimator:
        case "k1":
            return log_ratio
        case "k2":
            return log_ratio.square() / 2
        case "k3":
            # Bounded before the exponential: a bound after it would leave a finite value with a NaN gradient.
            inverse = log_ratio.neg().clamp(-_LOG_RATIO_BOUND, _LOG_RATIO_BOUND)
            return inverse.expm1() + log_ratio
    raise KeyError(estimator)


def adapt_kl_coef(kl_coef: float, kl: float, *, kl_target: float, kl_horizon: float, episodes: int) -> float:
    """Move the KL coefficient towards holding `kl` at `kl_target`.

    coef · (1 + clip(kl/target - 1, -0.2, 0.2) · episodes/horizon)

    Args:
        kl_coef: The present coefficient, > 0.
        kl: KL to the reference measured on the last rollout, nats per sequence.
        kl_target: Wanted KL, nats per sequence, > 0.
        kl_horizon: Episodes over which the coefficient adapts, > 0.
        episodes: Episodes in the last rollout.

    Returns:
        The coefficient for the next rollout.

    Reference:
        Ziegler et al., 2019, "Fine-Tuning Language Models from Human Preferences", arXiv:1909.08593, 2.2.
    """
    error = min(max(kl / kl_target - 1.0, -0.2), 0.2)
    return kl_coef * (1.0 + error * episodes / kl_horizon)


def bounded_ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """exp(logprobs - old_logprobs), with the exponent kept in [-20, 20]; any shape."""
    return torch.exp((logprobs - old_logprobs).clamp(-_LOG_RATIO_BOUND, _LOG_RATIO_BOUND))
