"""The loss of PPO on one micro-batch of k trials: its gradient, and statistics of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.models import Policy, Sequences
from ppo_tune.ppo import clipped_policy_loss, clipped_value_loss, estimate_kl, is_clipped, masked_sum
from ppo_tune.trainer.experience import column

STATISTICS = ("policy_loss", "value_loss", "approx_kl", "clip_fraction")


@dataclass(frozen=True)
class Coefficients:
    """What the losses of k trials are made with, each of shape (k, 1, 1)."""

    clip_range: Tensor
    dual_clip: Tensor
    clip_range_value: Tensor
    vf_coef: Tensor
    ent_coef: Tensor

    @classmethod
    def of(cls, configs: Sequence[PPOConfig], score_std: Tensor) -> "Coefficients":
        """Those of k configs; the clip of the value in its unit, `score_std` of shape (k, 1, 1)."""
        columns = {
            name.name: column([getattr(config, name.name) for config in configs], score_std.device)
            for name in fields(cls)
        }
        return cls(**{**columns, "clip_range_value": columns["clip_range_value"] / score_std})

    def __getitem__(self, index: Any) -> "Coefficients":
        """The same trials of every field."""
        return Coefficients(*(getattr(self, name.name)[index] for name in fields(self)))


Gradients = tuple[tuple[Tensor | None, ...], Tensor]
"""A gradient for each trainable parameter, None for one that is not used; and per trial the tokens and the sums of
`STATISTICS` over them, shape (k, 1 + len(STATISTICS))."""


LearningPass = Callable[..., Gradients]
"""Whatever takes what `gradients` takes, and gives what it gives."""


def gradients(
    policy: Policy,
    batch: Sequences,
    numbers: Tensor,
    coefficients: Coefficients,
    tokens: Tensor,
    *,
    places: Sequence[int],
    temperature: float,
    with_entropy: bool,
) -> Gradients:
    """The gradient of the sum of k trials' losses on a micro-batch (k, b, ·), and statistics.

    `numbers` are old log-probabilities, old values, advantages and returns, (k, b, 4, T); `tokens` those of each
    trial's mini-batch, (k,); the temperature is that of the sampling; `with_entropy` says whether a trial has an
    entropy bonus.
    """
    old_logprobs, old_values, advantages, returns = numbers.unbind(2)
    mask, c = batch.response_mask, coefficients
    seen = policy.evaluate(batch, temperature=temperature, places=places, with_entropy=with_entropy)
    policy_loss = clipped_policy_loss(
        seen.logprobs, old_logprobs, advantages, mask, c.clip_range, c.dual_clip
    )
    value_loss = clipped_value_loss(seen.values, old_values, returns, mask, c.clip_range_value)
    loss = (policy_loss + c.vf_coef * value_loss).sum((-2, -1))
    if seen.entropy is not None:
        loss = loss - c.ent_coef[:, 0, 0] * masked_sum(seen.entropy, mask)
    with torch.no_grad():
        statistics = (
            torch.ones_like(policy_loss),
            policy_loss,
            value_loss,
            estimate_kl(old_logprobs, seen.logprobs, "k3"),
            is_clipped(seen.logprobs, old_logprobs, advantages, c.clip_range).to(policy_loss.dtype),
        )
        sums = masked_sum(torch.stack(statistics, 1), mask[:, None])
    return torch.autograd.grad((loss / tokens).sum(), policy.trainable, allow_unused=True), sums
