"""The user's files that a config names: looked at before any model loads, and known by their content."""

from pathlib import Path

from ppo_tune.config import RunConfig, TaskConfig
from ppo_tune.errors import DataError
from ppo_tune.files import content_hash
from ppo_tune.functions import load_function
from ppo_tune.prompts import read_prompts, split_of


def check_inputs(config: RunConfig) -> dict[str, str]:
    """Look at the user's files without loading any model.

    Returns:
        A hash of the content of every file and folder that the experiment depends on, by its place in the
        config; hub names stand for themselves.

    Raises:
        DataError: If the data cannot be used, or is smaller than one rollout.
        ConfigError: If a reward function cannot be imported.
    """
    if config.task.name == "dataset":
        prompts, _ = read_prompts(config.task)
        n_train = sum(split_of(prompt.text) == "train" for prompt in prompts)
        if n_train < config.ppo.rollout_size:
            raise DataError(
                f"{config.task.path}: `prompts >= rollout_size` must hold, but of {len(prompts)} different prompts "
                f"{n_train} are for training and rollout_size is {config.ppo.rollout_size}; lower it or add rows"
            )
    for place, reward in (("task.reward", config.task.reward), ("task.gold", config.task.gold)):
        if reward is not None and reward.name == "python":
            load_function(reward.function, f"{place}.function")
    return {
        place: content_hash(Path(name)) if Path(name).exists() else name
        for place, name in _inputs(config.task, config.model.name)
    }


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
