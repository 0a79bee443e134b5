"""The family of tasks: prompts, what PPO maximizes, what trials are compared by, and judges beside."""

import torch

from ppo_tune.config.blocks import DatasetTaskConfig, SupportTaskConfig, TaskConfig
from ppo_tune.data.prompts import Prompt
from ppo_tune.tasks.base import PromptSet, Task
from ppo_tune.tasks.dataset import make_dataset, stops_of
from ppo_tune.tasks.support import build_support, make_support
from ppo_tune.tasks.support_recipe import Stage

__all__ = ["Prompt", "PromptSet", "Task", "make_task", "prepare_task", "stops_of"]


def prepare_task(config: TaskConfig, stage: Stage = lambda *_: None) -> None:
    """Build what the task needs and the cache does not hold; told of its progress, `stage` can show a bar."""
    if isinstance(config, SupportTaskConfig):
        build_support(stage)


def make_task(config: TaskConfig, device: torch.device) -> Task:
    """The task that a config describes.

    Args:
        config: Its kind and settings; an unknown kind does not get past the config.
        device: Where a reward model runs.

    Raises:
        PPOTuneError: If a file, a reward or a model cannot be used.
    """
    match config:
        case SupportTaskConfig():
            return make_support(config, device)
        case DatasetTaskConfig():
            return make_dataset(config, device)
