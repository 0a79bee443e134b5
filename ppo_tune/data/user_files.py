"""The user's files that a config names: looked at before any model loads, and known by their content."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ppo_tune.config.blocks import RunConfig, TaskConfig, rewards_of
from ppo_tune.data.model_folders import check_chat_template, check_if_folder
from ppo_tune.data.prompts import Split, read_prompts, split_of
from ppo_tune.data.user_functions import helper_files, load_function
from ppo_tune.errors import DataError
from ppo_tune.files import content_hash

IMPORTS = " imports "
"""Between the place of a function and the name of a file that its own file imports, in the place of that file."""


@dataclass(frozen=True)
class UserFiles:
    """What the user's files hold.

    Attributes:
        hashes: Of the content of every file and folder that the experiment depends on, by its place in the
            config, the user's own modules that a reward function imports included; hub names stand for themselves.
        prompts: How many prompts of the user's own each split has; None for the embedded task.
        notes: What may surprise whoever wrote the data file; one sentence each.
    """

    hashes: dict[str, str]
    prompts: Counter[Split] | None = None
    notes: tuple[str, ...] = ()


def check_user_files(config: RunConfig) -> UserFiles:
    """Look at the user's files without loading any model.

    Raises:
        DataError: If the data cannot be used, or is smaller than one rollout.
        ConfigError: If a reward function cannot be imported.
        ModelError: If a model's folder holds what cannot be used.
    """
    prompts: Counter[Split] | None = None
    notes: tuple[str, ...] = ()
    if config.task.name == "dataset":
        found = read_prompts(config.task)
        prompts, notes = Counter(split_of(prompt.text) for prompt in found.prompts), found.notes
        if prompts["train"] < config.ppo.rollout_size:
            raise DataError(
                f"{config.task.path}: `prompts >= rollout_size` must hold, but of {prompts.total()} different "
                f"prompts {prompts['train']} are for training and rollout_size is {config.ppo.rollout_size}; "
                "lower it or add rows"
            )
    for place, reward in rewards_of(config.task).items():
        if reward.name == "python":
            load_function(reward.function, f"{place}.function")
        elif reward.name == "preference":
            check_if_folder(reward.model, judge=True)
    if config.model.name is not None:
        check_if_folder(config.model.name)
        if config.task.name == "dataset" and config.task.chat:
            check_chat_template(config.model.name, asked_by="task.chat")
    hashes = {
        place: content_hash(Path(name)) if Path(name).exists() else name
        for place, name in _inputs(config.task, config.model.name)
    }
    return UserFiles(hashes, prompts, notes)


def _inputs(task: TaskConfig, model: str | None) -> list[tuple[str, str]]:
    """Places in the config that name files, folders or hub models, with what they name."""
    found = [("model.name", model)] if model else []
    if task.name == "dataset":
        found.append(("task.path", task.path))
    for place, reward in rewards_of(task).items():
        if reward.name == "python":
            where = f"{place}.function"
            found.append((where, reward.function.rpartition(":")[0]))
            helpers = helper_files(reward.function, where)
            found += [(f"{where}{IMPORTS}{name}", str(file)) for name, file in helpers.items()]
        elif reward.name == "preference":
            found.append((f"{place}.model", reward.model))
    return found
