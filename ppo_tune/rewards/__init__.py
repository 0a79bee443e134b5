"""The family of rewards: texts in, one score per response out."""

import torch

from ppo_tune.config.blocks import (
    PreferenceRewardConfig,
    PythonRewardConfig,
    ReferenceRewardConfig,
    RewardConfig,
    RuleRewardConfig,
)
from ppo_tune.rewards.base import Columns, LearningReward, Reward
from ppo_tune.rewards.preference import PreferenceReward
from ppo_tune.rewards.python import python_reward
from ppo_tune.rewards.reference import ReferenceReward
from ppo_tune.rewards.rule import RuleReward

__all__ = ["Columns", "LearningReward", "Reward", "make_reward"]


def make_reward(config: RewardConfig, device: torch.device) -> Reward:
    """The reward that a config describes.

    Args:
        config: Its kind and settings; an unknown kind does not get past the config.
        device: Where a reward model runs.

    Raises:
        ConfigError: If a user's function cannot be imported.
        ModelError: If a reward model cannot be loaded.
        MissingExtraError: If a measure's library is not installed.
    """
    match config:
        case RuleRewardConfig():
            return RuleReward(config)
        case PythonRewardConfig():
            return python_reward(config)
        case ReferenceRewardConfig():
            return ReferenceReward(config)
        case PreferenceRewardConfig():
            return PreferenceReward(config, device)
