"""The embedded task: built on first use from nothing but a seed, then read from the cache.

The base model, the preferences and the reward model are files under the user's cache folder, in a folder
named by a hash of what they were built from; several processes may ask for them at once.
"""

import hashlib
import inspect
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock

from ppo_tune.config.blocks import PreferenceRewardConfig, SupportTaskConfig
from ppo_tune.config.fitting import RewardTrainingConfig, SFTConfig
from ppo_tune.data.prompts import Prompt, Split, split_of
from ppo_tune.errors import StorageError
from ppo_tune.fitting import reward_model, sft
from ppo_tune.fitting.reward_model import Preference, fit_reward, sample_base
from ppo_tune.fitting.sft import fit_sft
from ppo_tune.rewards import Columns, Reward, make_reward
from ppo_tune.tasks import support_world as world
from ppo_tune.tasks.base import Task

SEED = 0
N_PROMPTS = 3000
N_SFT_PAIRS = 4000
N_PREFERENCES = 4000
MAX_NEW_TOKENS = 14
SFT = SFTConfig(
    layers=2,
    width=32,
    heads=2,
    activation="relu",
    tokens="words",
    epochs=4,
    batch_size=64,
    learning_rate=1e-2,
)
REWARD = RewardTrainingConfig(
    template="{prompt} {response}",
    epochs=3,
    learning_rate=4e-3,
    batch_size=64,
    base_samples=512,
    max_new_tokens=MAX_NEW_TOKENS,
)

Stage = Callable[[str, float], None]
"""Told what is being built and how much of it is done, from 0 to 1."""


class GoldReward(Reward):
    """The hidden judge of the support world."""

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        """One judgement per reply."""
        messages = _messages()
        return [world.gold_score(messages[p], r) for p, r in zip(prompts, responses, strict=True)]


def make_support(config: SupportTaskConfig, device: torch.device) -> Task:
    """The support task; builds its models if the cache does not hold them.

    Args:
        config: May replace the rewards.
        device: Where a reward model runs.
    """
    folder = build_support()
    reward = config.reward or PreferenceRewardConfig(name="preference", model=str(folder / "reward"))
    splits: dict[Split, list[Prompt]] = {"train": [], "heldout": [], "confirmation": []}
    for text in _messages():
        splits[split_of(text)].append(Prompt(text))
    return Task(
        name="support",
        prompts={split: tuple(prompts) for split, prompts in splits.items()},
        reward=make_reward(reward, device),
        gold=make_reward(config.gold, device) if config.gold else GoldReward(),
        base_model=str(folder / "base"),
    )


def build_support(stage: Stage = lambda *_: None) -> Path:
    """The folder with the base model and the reward model, built if it is not there.

    Raises:
        StorageError: If the cache folder cannot be written.
    """
    folder = cache_folder() / f"support-{recipe_hash()}"
    if (folder / "done.json").is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / "done.json").is_file():
                _build(folder, stage)
    except PermissionError as error:
        raise StorageError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror}); set "
            "PPO_TUNE_CACHE to one that can"
        ) from error
    return folder


def _build(folder: Path, stage: Stage) -> None:
    draft = folder.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    rng = random.Random(SEED)
    messages = list(_messages().values())
    learned = [rng.choice(messages) for _ in range(N_SFT_PAIRS)]
    pairs = [(message.text, world.write_reply(message, rng)) for message in learned]
    fitted = fit_sft(pairs, draft / "base", SFT, progress=lambda done: stage("base model", done))
    stage("preferences", 0.0)
    preferences = make_preferences(str(draft / "base"))
    result = fit_reward(preferences, str(draft / "base"), draft / "reward", REWARD,
                        progress=lambda done: stage("reward model", done))  # fmt: skip
    facts = {"heldout_nats_per_token": fitted.heldout_nats_per_token, "reward_accuracy": result.accuracy}
    (draft / "done.json").write_text(json.dumps(facts), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)


def make_preferences(base: str) -> list[Preference]:
    """Pairs of the base model's replies, as the annotators order them."""
    rng = random.Random(SEED + 1)
    train = [text for text in _messages() if split_of(text) == "train"]
    prompts = [train[i % len(train)] for i in range(N_PREFERENCES)]
    config = REWARD.model_copy(update={"base_samples": 2 * N_PREFERENCES, "seed": SEED + 1})
    samples = sample_base(base, prompts, config)  # every prompt twice
    preferences = []
    for (prompt, first), (_, second) in zip(samples[:N_PREFERENCES], samples[N_PREFERENCES:], strict=True):
        if world.prefers_first(_messages()[prompt], first, second, rng):
            preferences.append((prompt, first, second))
        else:
            preferences.append((prompt, second, first))
    return preferences


def recipe_hash() -> str:
    """A hash of everything that the built files depend on."""
    sources = [inspect.getsource(module) for module in (world, sft, reward_model, sys.modules[__name__])]
    return hashlib.sha256("".join([torch.__version__, *sources]).encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where built files go: $PPO_TUNE_CACHE, else the user's cache folder."""
    if folder := os.environ.get("PPO_TUNE_CACHE"):
        return Path(folder)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "ppo-tune"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ppo-tune"


@cache
def _messages() -> Mapping[str, world.Message]:
    """All messages of the world by their text, always the same."""
    rng = random.Random(SEED)
    messages: dict[str, world.Message] = {}
    while len(messages) < N_PROMPTS:
        message = world.write_message(rng)
        messages[message.text] = message
    return messages
