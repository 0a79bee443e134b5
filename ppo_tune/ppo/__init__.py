"""The numerics of PPO for language models, as pure functions on tensors.

Axes: K trials (leading, optional), B responses, T response tokens, V vocabulary. A hyperparameter is a
float, or a tensor that broadcasts over (K, B, T): shape (K, 1, 1). Masks are True at real response tokens,
the end-of-sequence token included; what stands at a padded position, even NaN, never matters.

Imports torch and nothing of ours; knows no config, device, logger or model.
"""

from ppo_tune.ppo.advantages import gae, penalize_missing_eos, token_rewards
from ppo_tune.ppo.diagnostics import entropy, explained_variance, is_clipped
from ppo_tune.ppo.kl import KL_ESTIMATORS, adapt_kl_coef, estimate_kl
from ppo_tune.ppo.losses import clipped_policy_loss, clipped_value_loss
from ppo_tune.ppo.masking import masked_mean, masked_sum, masked_variance, rescale, standardize

__all__ = [
    "KL_ESTIMATORS",
    "adapt_kl_coef",
    "clipped_policy_loss",
    "clipped_value_loss",
    "entropy",
    "estimate_kl",
    "explained_variance",
    "gae",
    "is_clipped",
    "masked_mean",
    "masked_sum",
    "masked_variance",
    "penalize_missing_eos",
    "rescale",
    "standardize",
    "token_rewards",
]
