"""Hyperparameters of PPO-RLHF: the block `ppo` of a study file.

A field's description is its documentation, its help text and its tooltip in the report. Numbers that
follow from others are properties.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from ppo_tune.config.block import Block


class PPOConfig(Block):
    """Hyperparameters of PPO-RLHF. Those that are the same for all trials of a study say so."""

    learning_rate: float = Field(
        1e-4, ge=0, description="AdamW step size; LoRA wants about 10 times full tuning's."
    )
    lr_schedule: Literal["constant", "linear"] = Field(
        "constant", description="Constant, or falling linearly to 0 over the episodes."
    )
    adam_epsilon: float = Field(1e-5, gt=0, description="AdamW's epsilon.")
    max_grad_norm: float = Field(1.0, gt=0, description="Ceiling of a trial's gradient norm.")
    gamma: float = Field(1.0, ge=0, le=1, description="Discount of later rewards.")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="GAE's mixing of short and long horizons.")
    clip_range: float = Field(0.2, gt=0, description="ε of the policy ratio's clip.")
    dual_clip: float | None = Field(
        None, gt=1, description="Bound of the loss where the advantage is negative; null = off."
    )
    clip_range_value: float | None = Field(
        None, gt=0, description="Clip of the value's change, in units of the reward; null = off."
    )
    vf_coef: float = Field(
        0.1,
        ge=0,
        description="Weight of the value loss, in units of score_std² (value head and policy share the model).",
    )
    ent_coef: float = Field(0.0, ge=0, description="Weight of the entropy bonus.")
    kl_coef: float = Field(
        0.05,
        ge=0,
        description="β: reward lost per nat of KL to the reference, per token; in the unit of the reward's scores.",
    )
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        "k1", description="k1: right gradient; k2, k3: never negative (k3: biased gradient)."
    )
    kl_target: float | None = Field(
        None, gt=0, description="Adapt β to hold this KL, in nats per sequence; null = fixed β."
    )
    kl_horizon: float | None = Field(
        None,
        gt=0,
        description="Episodes over which an adaptive β moves; null = a tenth of `episodes`: up to 7-fold in a trial.",
    )
    whiten_rewards: bool = Field(
        False, description="Scale token rewards to variance 1; changes what β means."
    )
    missing_eos_penalty: float = Field(
        0.0, ge=0, description="Subtracted from the score of a response cut off at the length limit."
    )
    batch_size: int = Field(32, ge=1, description="Episodes per optimizer step; divides rollout_size.")
    ppo_epochs: int = Field(4, ge=1, description="Passes over each rollout.")
    rollout_size: int = Field(64, ge=1, description="Episodes sampled per iteration. Shared by all trials.")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="Episodes per forward pass; memory only; null = as many as fit a step. Shared.",
    )
    episodes: int = Field(2560, ge=1, description="A trial's whole budget of responses. Shared.")
    max_new_tokens: int = Field(32, ge=1, description="Longest response, in tokens. Shared.")
    temperature: float = Field(1.0, gt=0, description="Of sampling, and in every log-probability. Shared.")

    @property
    def steps_per_iteration(self) -> int:
        """Optimizer steps between two rollouts."""
        return self.ppo_epochs * self.rollout_size // self.batch_size

    @property
    def iterations(self) -> int:
        """Rollouts until the budget is spent."""
        return math.ceil(self.episodes / self.rollout_size)

    @property
    def kl_horizon_episodes(self) -> float:
        """Episodes over which an adaptive KL coefficient moves: as set, else a tenth of the budget, a rollout at least.

        A rollout of n episodes moves it by a factor of 1 ± 0.2·n/horizon at most, so a whole budget of many rollouts
        by exp(0.2·episodes/horizon), here e² = 7.4; a rollout as long as the horizon by 0.8 to 1.2.
        """
        return self.kl_horizon or max(self.episodes / 10, float(self.rollout_size))

    @property
    def kl_coef_reach(self) -> float:
        """How many times larger an adaptive KL coefficient can become until the budget is spent, at the very most."""
        return float((1 + 0.2 * self.rollout_size / self.kl_horizon_episodes) ** self.iterations)

    def learning_rate_at(self, episodes_done: int) -> float:
        """The step size after so many episodes, by the schedule."""
        if self.lr_schedule == "constant":
            return self.learning_rate
        return self.learning_rate * max(0.0, 1.0 - episodes_done / self.episodes)

    def with_params(self, params: Mapping[str, Any]) -> "PPOConfig":
        """A copy with some values replaced, checked like a new one.

        Raises:
            pydantic.ValidationError: If a name is unknown or a value breaks a rule.
        """
        return type(self).model_validate({**self.model_dump(), **params})


SHARED_FIELDS = frozenset(("rollout_size", "micro_batch_size", "episodes", "max_new_tokens", "temperature"))
"""Fields of `PPOConfig` that are equal for all trials of a study and so cannot be searched."""
