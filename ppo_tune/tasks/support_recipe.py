"""The recipe of the embedded task's models: messages, a base model, preferences, and a reward model fitted to them.

All follows from a world's seed. `ppo_tune.data.recipes` reads this file as text: a study knows its models by what
stands here.
"""

import json
import random
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from ppo_tune.config.fitting import RewardTrainingConfig, SFTConfig
from ppo_tune.data.prompts import split_of
from ppo_tune.fitting.lengths import Preference
from ppo_tune.fitting.reward_model import fit_reward, sample_base
from ppo_tune.fitting.sft import fit_sft
from ppo_tune.tasks import support_world as world

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


def build(seed: int, draft: Path, stage: Stage) -> None:
    """Fit both models of a world; the draft gets the folders base and reward, and done.json when they are whole."""
    world_seed, _ = seeds_of(seed)
    rng = random.Random(world_seed)
    everyone = list(messages(seed).values())
    learned = [rng.choice(everyone) for _ in range(N_SFT_PAIRS)]
    pairs = [(message.text, world.write_reply(message, rng)) for message in learned]
    sft = SFT.model_copy(update={"seed": world_seed})
    fitted = fit_sft(pairs, draft / "base", sft, progress=lambda step: stage("base model", step.done))
    stage("preferences", 0.0)
    preferences = make_preferences(seed, str(draft / "base"))
    reward = REWARD.model_copy(update={"seed": world_seed})
    result = fit_reward(preferences, str(draft / "base"), draft / "reward", reward,
                        progress=lambda step: stage("reward model", step.done))  # fmt: skip
    facts = {"heldout_nats_per_token": fitted.heldout_nats_per_token, "reward_accuracy": result.accuracy}
    (draft / "done.json").write_text(json.dumps(facts), encoding="utf-8")


def make_preferences(seed: int, base: str) -> list[Preference]:
    """Pairs of the base model's replies, as the annotators of a world order them."""
    _, preference_seed = seeds_of(seed)
    rng = random.Random(preference_seed)
    known = messages(seed)
    train = [text for text in known if split_of(text) == "train"]
    prompts = [train[i % len(train)] for i in range(N_PREFERENCES)]
    config = REWARD.model_copy(update={"base_samples": 2 * N_PREFERENCES, "seed": preference_seed})
    samples = sample_base(base, prompts, config)  # every prompt twice
    preferences = []
    for (prompt, first), (_, second) in zip(samples[:N_PREFERENCES], samples[N_PREFERENCES:], strict=True):
        if world.prefers_first(known[prompt], first, second, rng):
            preferences.append((prompt, first, second))
        else:
            preferences.append((prompt, second, first))
    return preferences


def seeds_of(seed: int) -> tuple[int, int]:
    """The seeds of a world's messages, replies and fits, and of its preferences; no two worlds share one."""
    return 2 * seed, 2 * seed + 1


@cache
def messages(seed: int) -> Mapping[str, world.Message]:
    """All messages of a world by their text, in its order: there are no others, so worlds differ in the order alone."""
    world_seed, _ = seeds_of(seed)
    rng = random.Random(world_seed)
    found: dict[str, world.Message] = {}
    while len(found) < N_PROMPTS:
        message = world.write_message(rng)
        found[message.text] = message
    return found
