"""The embedded task: built on first use from nothing but a seed, then read from the cache.

The base model and the reward model are files under the user's cache folder, in a folder named by a hash of what they
were built from, and by the seed where that is not 0; several processes may ask for them at once.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock

from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.config.tasks import SupportTaskConfig
from ppo_tune.data.prompts import Prompt, Split, split_of
from ppo_tune.data.recipes import recipe_hash
from ppo_tune.errors import StorageError
from ppo_tune.rewards import Columns, Reward, make_reward
from ppo_tune.tasks import support_world as world
from ppo_tune.tasks.base import Task, TaskPrompts, judges_of, objective_of
from ppo_tune.tasks.support_recipe import Stage, build, messages


class GoldReward(Reward):
    """The hidden judge of a support world; what it values is the same in all of them.

    Args:
        seed: The world's.
    """

    def __init__(self, seed: int) -> None:
        self.messages = messages(seed)

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        """One judgement per reply."""
        return [world.gold_score(self.messages[p], r) for p, r in zip(prompts, responses, strict=True)]


def make_support(config: SupportTaskConfig, device: torch.device) -> Task:
    """The support task, with other rewards where the config names them; builds its models if the cache lacks them."""
    folder = build_support(config.seed)
    own = PreferenceRewardConfig(name="preference", model=str(folder / "reward"))
    reward = make_reward(config.reward or own, device)
    asked = support_prompts(config)
    return Task(
        name=asked.name,
        prompts=asked.prompts,
        reward=reward,
        objective=objective_of(config, reward, device),
        judges={"gold": GoldReward(config.seed), **judges_of(config, device)},
        base_model=str(folder / "base"),
    )


def support_prompts(config: SupportTaskConfig) -> TaskPrompts:
    """The messages of a world, split by their hash; builds nothing."""
    splits: dict[Split, list[Prompt]] = {"train": [], "heldout": [], "confirmation": []}
    for text in messages(config.seed):
        splits[split_of(text)].append(Prompt(text))
    return TaskPrompts("support", {split: tuple(prompts) for split, prompts in splits.items()})


def build_support(seed: int, stage: Stage = lambda *_: None) -> Path:
    """The folder with the base model and the reward model of a world, built if it is not there.

    Raises:
        StorageError: If the cache folder cannot be written.
    """
    name = f"support-{recipe_hash('support')}"
    folder = cache_folder() / (f"{name}-seed{seed}" if seed else name)
    if (folder / "done.json").is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / "done.json").is_file():
                draft = folder.with_suffix(".draft")
                shutil.rmtree(draft, ignore_errors=True)
                build(seed, draft, stage)
                shutil.rmtree(folder, ignore_errors=True)
                draft.replace(folder)
    except PermissionError as error:
        raise StorageError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror}); set "
            "PPO_TUNE_CACHE to one that can"
        ) from error
    return folder


def cache_folder() -> Path:
    """Where built files go: $PPO_TUNE_CACHE, else the user's cache folder."""
    if folder := os.environ.get("PPO_TUNE_CACHE"):
        return Path(folder)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "ppo-tune"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ppo-tune"
