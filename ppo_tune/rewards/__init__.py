"""The family of rewards: texts in, one score per response out."""

from collections.abc import Sequence

import torch

from ppo_tune.config.rewards import (
    PreferenceRewardConfig,
    PythonRewardConfig,
    ReferenceRewardConfig,
    RewardConfig,
    RuleRewardConfig,
    UnitTestsRewardConfig,
)
from ppo_tune.data.prompts import Prompt
from ppo_tune.rewards.base import Columns, LearningReward, Reward
from ppo_tune.rewards.preference import PreferenceReward, check_judge
from ppo_tune.rewards.python import check_call, python_reward
from ppo_tune.rewards.reference import ReferenceReward, check_references
from ppo_tune.rewards.rule import RuleReward
from ppo_tune.rewards.unit_tests import UnitTestsReward, check_unit_tests

__all__ = ["Columns", "LearningReward", "Reward", "check_reward", "make_reward"]


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
        case UnitTestsRewardConfig():
            return UnitTestsReward(config)


MOST_READ = 2000
"""So many prompts are tokenized for a reward model before it is loaded."""


def check_reward(
    config: RewardConfig, place: str, prompts: Sequence[Prompt], response_tokens: int
) -> list[str]:
    """All that can be known of a reward before it is made: its package, its function, how its model reads prompts.

    Args:
        config: Its kind and settings.
        place: Where it stands in the config, such as task.reward.
        prompts: Those that it will see, from all splits.
        response_tokens: The longest response.

    Returns:
        What its user should know, one sentence each.

    Raises:
        PPOTuneError: If it cannot be used, or not with these prompts.
    """
    match config:
        case RuleRewardConfig():
            pass
        case PythonRewardConfig():
            check_call(config, place, prompts[0].columns if prompts else ())
        case ReferenceRewardConfig():
            check_references(config, place, ((p.where, p.columns.get("references")) for p in prompts))
        case PreferenceRewardConfig():
            told = check_judge(config, place, [p.text for p in prompts[:MOST_READ]], response_tokens)
            return [] if told is None else [told]
        case UnitTestsRewardConfig():
            return check_unit_tests(config, place, prompts)
    return []
