"""The user's files that a config names: looked at before any model loads, and known by their content."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ppo_tune.config import RunConfig, TaskConfig
from ppo_tune.errors import DataError
from ppo_tune.files import content_hash
from ppo_tune.functions import load_function
from ppo_tune.model_folders import check_if_folder
from ppo_tune.prompts import Split, read_prompts, split_of


@dataclass(frozen=True)
class Inputs:
    """What the user's files hold.

    Attributes:
        hashes: Of the content of every file and folder that the experiment depends on, by its place in the
            config; hub names stand for themselves.
        prompts: How many prompts of the user's own each split has; None for the embedded task.
    """

    hashes: dict[str, str]
    prompts: Counter[Split] | None = None


def check_inputs(config: RunConfig) -> Inputs:
    """Look at the user's files without loading any model.

    Raises:
        DataError: If the data cannot be used, or is smaller than one rollout.
        ConfigError: If a reward function cannot be imported.
        ModelError: If a model's folder holds what cannot be used.
    """
    prompts = None
    if config.task.name == "dataset":
        prompts = Counter(split_of(prompt.text) for prompt in read_prompts(config.task)[0])
        if prompts["train"] < config.ppo.rollout_size:
            raise DataError(
                f"{config.task.path}: `prompts >= rollout_size` must hold, but of {prompts.total()} different "
                f"prompts {prompts['train']} are for training and rollout_size is {config.ppo.rollout_size}; "
                "lower it or add rows"
            )
    for place, reward in (("task.reward", config.task.reward), ("task.gold", config.task.gold)):
        if reward is not None and reward.name == "python":
            load_function(reward.function, f"{place}.function")
        elif reward is not None and reward.name == "preference":
            check_if_folder(reward.model, judge=True)
    if config.model.name is not None:
        check_if_folder(config.model.name)
    hashes = {
        place: content_hash(Path(name)) if Path(name).exists() else name
        for place, name in _inputs(config.task, config.model.name)
    }
    return Inputs(hashes, prompts)


def _inputs(task: TaskConfig, model: str | None) -> list[tuple[str, str]]:
    """Places in the config that name files, folders or hub models, with what they name."""
    found = [("model.name", model)] if model else []
    if task.name == "dataset":
        found.append(("task.path", task.path))
    for place, reward in (("task.reward", task.reward), ("task.gold", task.gold)):
        if reward is not None and reward.name == "python":
            found.append((f"{place}.function", reward.function.rpartition(":")[0]))
        elif reward is not None and reward.name == "preference":
            found.append((f"{place}.model", reward.model))
    return found
