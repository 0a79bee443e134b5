"""The recipe of an embedded task's models: a base model, preferences, and a reward model fitted to them.

All follows from the task's world and a seed. `ppo_tune.data.recipes` reads this file and the world's as text: a study
knows its models by what stands there.
"""

import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.config.tasks import Architecture
from ppo_tune.data.chats import Chat
from ppo_tune.data.prompts import Prompt, split_of
from ppo_tune.fitting.reward_model import fit_reward, sample_base
from ppo_tune.fitting.sft import fit_sft
from ppo_tune.tasks.world import P, World

Stage = Callable[[str, float], None]
"""Told what is being built and how much of it is done, from 0 to 1."""


def build(world: World[Any], seed: int, architecture: Architecture, draft: Path, stage: Stage) -> None:
    """Fit the models of a world; the draft gets their folders, and done.json when they are whole.

    A decoder is the base of the reward model, where there is one, so beside an encoder–decoder another is fitted.
    """
    facts = {
        "heldout_nats_per_token": _fit_base(world, seed, architecture, architecture, draft / "base", stage)
    }
    if isinstance(world.reward, RewardTrainingConfig):
        decoder = draft / "base"
        if architecture != "gpt2":
            decoder = draft / "decoder"
            _fit_base(world, seed, architecture, "gpt2", decoder, stage)
        stage("preferences", 0.0)
        preferences = make_preferences(world, seed, architecture, str(decoder))
        config = world.reward.model_copy(update={"seed": seeds_of(seed)[0], "learning_curve": False})
        result = fit_reward(preferences, str(decoder), draft / "reward", config,
                            progress=lambda step: stage("reward model", step.done))  # fmt: skip
        facts["reward_accuracy"] = result.accuracy
    (draft / "done.json").write_text(json.dumps(facts), encoding="utf-8")


def _fit_base(
    world: World[P], seed: int, written: Architecture, architecture: Architecture, out: Path, stage: Stage
) -> float:
    """Fit a model of an architecture to responses, prompts written as for another; gives its held-out loss."""
    world_seed, _ = seeds_of(seed)
    rng = random.Random(world_seed)
    everyone = [*asked(world, seed, written).items()]
    learned = [rng.choice(everyone) for _ in range(world.n_pairs)]
    pairs = [(text, world.respond(prompt, rng)) for text, prompt in learned]
    config = world.sft_of(architecture).model_copy(update={"seed": world_seed})
    name = "base model" if written == architecture else "base of the reward model"
    fitted = fit_sft(pairs, out, config, progress=lambda step: stage(name, step.done))
    return fitted.heldout_nats_per_token


def make_preferences(
    world: World[P], seed: int, architecture: Architecture, base: str
) -> list[tuple[str, str, str]]:
    """Pairs of a model's responses to training prompts, as the annotators of a world order them."""
    assert isinstance(world.reward, RewardTrainingConfig)
    _, preference_seed = seeds_of(seed)
    rng = random.Random(preference_seed)
    known = asked(world, seed, architecture)
    train = [text for text, prompt in known.items() if split_of(prompt.text) == "train"]
    n = world.n_preferences
    prompts = [train[i % len(train)] for i in range(n)]
    config = world.reward.model_copy(update={"base_samples": 2 * n, "seed": preference_seed})
    samples = sample_base(base, prompts, config, chat=isinstance(train[0], Chat))  # every prompt twice
    preferences = []
    for (prompt, first), (_, second) in zip(samples[:n], samples[n:], strict=True):
        if prefers_first(world, known[prompt], first, second, rng):
            preferences.append((prompt, first, second))
        else:
            preferences.append((prompt, second, first))
    return preferences


def prefers_first(world: World[P], prompt: P, first: str, second: str, rng: random.Random) -> bool:
    """Which of two responses an annotator picks: Bradley–Terry noise on their opinion."""
    lead = world.opinion(prompt, first) - world.opinion(prompt, second)
    return rng.random() < 1 / (1 + math.exp(-2.0 * lead))


def seeds_of(seed: int) -> tuple[int, int]:
    """The seeds of a world's prompts, responses and fits, and of its preferences; no two worlds share one."""
    return 2 * seed, 2 * seed + 1


def asked(world: World[P], seed: int, architecture: Architecture) -> Mapping[str, P]:
    """All prompts of a world by their text as it is written for an architecture, in its order."""
    template = world.templates[architecture]
    prompts = world.prompts(seeds_of(seed)[0])
    return {_written(prompt, template): prompt for prompt in prompts}


def _written(prompt: Prompt, template: str) -> str:
    """What a model is given for a prompt; a conversation is left to the chat template."""
    return prompt.text if isinstance(prompt.text, Chat) else template.format(prompt=prompt.text)
