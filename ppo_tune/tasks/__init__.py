"""The family of tasks: prompts, what PPO maximizes, what trials are compared by, and judges beside."""

from collections.abc import Sequence

import torch

from ppo_tune.config.tasks import DatasetTaskConfig, EmbeddedTaskConfig, TaskConfig
from ppo_tune.data.prompts import Prompt
from ppo_tune.tasks.base import PromptSet, Task, TaskPrompts
from ppo_tune.tasks.dataset import dataset_prompts, make_dataset, notes_on_ends, stops_of
from ppo_tune.tasks.embedded import build_models, check_form, embedded_prompts, make_embedded
from ppo_tune.tasks.recipe import Stage

__all__ = [
    "Prompt",
    "PromptSet",
    "Task",
    "TaskPrompts",
    "check_form",
    "make_task",
    "notes_on_ends",
    "prepare_task",
    "stops_of",
    "task_prompts",
]


def prepare_task(config: TaskConfig, stage: Stage = lambda *_: None) -> None:
    """Build what the task needs and the cache does not hold; told of its progress, `stage` can show a bar."""
    if isinstance(config, EmbeddedTaskConfig):
        build_models(config, stage)


def make_task(config: TaskConfig, device: torch.device) -> Task:
    """The task that a config describes.

    Args:
        config: Its kind and settings; an unknown kind does not get past the config.
        device: Where a reward model runs.

    Raises:
        PPOTuneError: If a file, a reward or a model cannot be used.
    """
    match config:
        case EmbeddedTaskConfig():
            return make_embedded(config, device)
        case DatasetTaskConfig():
            return make_dataset(config, device)


def task_prompts(config: TaskConfig, read: Sequence[Prompt] | None = None) -> TaskPrompts:
    """The prompts of the task that a config describes, without its rewards and without any model.

    Args:
        config: Its kind and settings.
        read: The prompts of its file, where they were read already.

    Raises:
        PPOTuneError: If a file cannot be used.
    """
    match config:
        case EmbeddedTaskConfig():
            return embedded_prompts(config)
        case DatasetTaskConfig():
            return dataset_prompts(config, read)
