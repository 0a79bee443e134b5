"""The family of tasks: prompts, what PPO maximizes, what trials are compared by, and judges beside."""

import torch

from ppo_tune.config.tasks import DatasetTaskConfig, SupportTaskConfig, TaskConfig
from ppo_tune.data.prompts import Prompt
from ppo_tune.tasks.base import PromptSet, Task, TaskPrompts
from ppo_tune.tasks.dataset import dataset_prompts, make_dataset, notes_on_ends, stops_of
from ppo_tune.tasks.support import build_support, make_support, support_prompts
from ppo_tune.tasks.support_recipe import Stage

__all__ = [
    "Prompt",
    "PromptSet",
    "Task",
    "TaskPrompts",
    "make_task",
    "notes_on_ends",
    "prepare_task",
    "stops_of",
    "task_prompts",
]


def prepare_task(config: TaskConfig, stage: Stage = lambda *_: None) -> None:
    """Build what the task needs and the cache does not hold; told of its progress, `stage` can show a bar."""
    if isinstance(config, SupportTaskConfig):
        build_support(config.seed, stage)


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


def task_prompts(config: TaskConfig) -> TaskPrompts:
    """The prompts of the task that a config describes, without its rewards and without any model.

    Raises:
        PPOTuneError: If a file cannot be used.
    """
    match config:
        case SupportTaskConfig():
            return support_prompts(config)
        case DatasetTaskConfig():
            return dataset_prompts(config)
