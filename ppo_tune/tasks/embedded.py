"""Embedded tasks: built on first use from nothing but a seed, then read from the cache.

A task's models are files under the user's cache folder, in a folder named by a hash of what they were built from, and
by architecture and seed where they are not the usual; several processes may ask for them at once.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.config.rewards import PreferenceRewardConfig, RewardConfig
from ppo_tune.config.tasks import Architecture, EmbeddedTaskConfig, TaskConfig
from ppo_tune.data.prompts import Prompt, Split, split_of
from ppo_tune.data.recipes import recipe_hash
from ppo_tune.errors import ConfigError, Problem, StorageError
from ppo_tune.rewards import Columns, Reward, make_reward
from ppo_tune.tasks.base import Task, TaskPrompts, judges_of, objective_of
from ppo_tune.tasks.recipe import Stage, asked, build
from ppo_tune.tasks.world import World
from ppo_tune.tasks.worlds import world_of


class GoldReward(Reward):
    """The hidden judge of a world.

    Args:
        world: The world.
        prompts: What it knows of each prompt, by the text that a model is given.
    """

    def __init__(self, world: World[Any], prompts: Mapping[str, Prompt]) -> None:
        self.world = world
        self.prompts = prompts

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        """One judgement per response."""
        return [self.world.worth(self.prompts[p], r) for p, r in zip(prompts, responses, strict=True)]


def make_embedded(config: EmbeddedTaskConfig, device: torch.device) -> Task:
    """An embedded task, with other rewards where the config names them; builds its models if the cache lacks them."""
    folder, world = build_models(config), world_of(config.name)
    reward = make_reward(config.reward or own_reward(config), device)
    prompts = embedded_prompts(config)
    known = asked(world, config.seed, config.architecture)
    gold = GoldReward(world, known) if world.gold is None else make_reward(world.gold, device)
    return Task(
        name=prompts.name,
        prompts=prompts.prompts,
        reward=reward,
        objective=objective_of(config, reward, device),
        judges={"gold": gold, **judges_of(config, device)},
        base_model=str(folder / "base"),
        chat=prompts.chat,
        advice=prompts.advice,
    )


def own_reward(config: EmbeddedTaskConfig) -> RewardConfig:
    """The reward of a task's own: what its world names, or the reward model beside its base model."""
    reward = world_of(config.name).reward
    if isinstance(reward, RewardTrainingConfig):
        return PreferenceRewardConfig(name="preference", model=str(models_folder(config) / "reward"))
    return reward


def embedded_prompts(config: EmbeddedTaskConfig) -> TaskPrompts:
    """The prompts of a world, split by their hash; builds nothing."""
    splits: dict[Split, list[Prompt]] = {"train": [], "heldout": [], "confirmation": []}
    for text, prompt in asked(world_of(config.name), config.seed, config.architecture).items():
        splits[split_of(prompt.text)].append(replace(prompt, text=text))
    parts = {split: tuple(prompts) for split, prompts in splits.items()}
    return TaskPrompts(config.name, parts, chat=config.chat, advice=config.advice)


def check_form(config: TaskConfig, model: str, *, whole_texts: bool) -> None:
    """Make sure that the prompts of an embedded task are written as a model expects them.

    Args:
        config: The task's.
        model: The model's folder or hub name.
        whole_texts: Whether what it writes is a text by itself, as an encoder–decoder's is.

    Raises:
        ConfigError: If they are written for the other kind, and that makes a difference.
    """
    right: Architecture = "t5" if whole_texts else "gpt2"
    if not isinstance(config, EmbeddedTaskConfig) or config.architecture == right:
        return
    templates, kinds = world_of(config.name).templates, {"gpt2": "a decoder", "t5": "an encoder–decoder"}
    if templates[config.architecture] != templates[right]:
        what = (
            f"prompts of task {config.name} are written for {kinds[config.architecture]}, as "
            f"{templates[config.architecture]!r}, but {model!r} is {kinds[right]}; set architecture: {right}"
        )
        raise ConfigError([Problem("task.architecture", what)])


def build_models(config: EmbeddedTaskConfig, stage: Stage = lambda *_: None) -> Path:
    """The folder with the models of a world, built if it is not there; told of its progress, `stage` can show a bar.

    Raises:
        StorageError: If the cache folder cannot be written.
    """
    folder = models_folder(config)
    if (folder / "done.json").is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / "done.json").is_file():
                draft = folder.with_suffix(".draft")
                shutil.rmtree(draft, ignore_errors=True)
                build(world_of(config.name), config.seed, config.architecture, draft, stage)
                shutil.rmtree(folder, ignore_errors=True)
                draft.replace(folder)
    except PermissionError as error:
        raise StorageError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror}); set "
            "PPO_TUNE_CACHE to one that can"
        ) from error
    return folder


def models_folder(config: EmbeddedTaskConfig) -> Path:
    """Where the models of a world are, or will be."""
    parts = [config.name, recipe_hash(config.name)]
    parts += [config.architecture] if config.architecture != "gpt2" else []
    parts += [f"seed{config.seed}"] if config.seed else []
    return cache_folder() / "-".join(parts)


def cache_folder() -> Path:
    """Where built files go: $PPO_TUNE_CACHE, else the user's cache folder."""
    if folder := os.environ.get("PPO_TUNE_CACHE"):
        return Path(folder)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "ppo-tune"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ppo-tune"
