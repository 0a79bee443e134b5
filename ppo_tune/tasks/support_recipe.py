"""The recipe of the embedded task's models: messages, a base model, preferences, and a reward model fitted to them.

All follows from a seed. `ppo_tune.data.recipes` reads this file as text: a study knows its models by what stands here.
"""

import json
import random
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from ppo_tune.config.fitting import RewardTrainingConfig, SFTConfig
from ppo_tune.data.prompts import split_of
from ppo_tune.fitting.reward_model import Preference, fit_reward, sample_base
from ppo_tune.fitting.sft import fit_sft
from ppo_tune.tasks import support_world as world

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


def build(draft: Path, stage: Stage) -> None:
    """Fit both models; the draft gets the folders base and reward, and done.json when they are whole."""
    rng = random.Random(SEED)
    everyone = list(messages().values())
    learned = [rng.choice(everyone) for _ in range(N_SFT_PAIRS)]
    pairs = [(message.text, world.write_reply(message, rng)) for message in learned]
    fitted = fit_sft(pairs, draft / "base", SFT, progress=lambda done: stage("base model", done))
    stage("preferences", 0.0)
    preferences = make_preferences(str(draft / "base"))
    result = fit_reward(preferences, str(draft / "base"), draft / "reward", REWARD,
                        progress=lambda done: stage("reward model", done))  # fmt: skip
    facts = {"heldout_nats_per_token": fitted.heldout_nats_per_token, "reward_accuracy": result.accuracy}
    (draft / "done.json").write_text(json.dumps(facts), encoding="utf-8")


def make_preferences(base: str) -> list[Preference]:
    """Pairs of the base model's replies, as the annotators order them."""
    rng = random.Random(SEED + 1)
    train = [text for text in messages() if split_of(text) == "train"]
    prompts = [train[i % len(train)] for i in range(N_PREFERENCES)]
    config = REWARD.model_copy(update={"base_samples": 2 * N_PREFERENCES, "seed": SEED + 1})
    samples = sample_base(base, prompts, config)  # every prompt twice
    preferences = []
    for (prompt, first), (_, second) in zip(samples[:N_PREFERENCES], samples[N_PREFERENCES:], strict=True):
        if world.prefers_first(messages()[prompt], first, second, rng):
            preferences.append((prompt, first, second))
        else:
            preferences.append((prompt, second, first))
    return preferences


@cache
def messages() -> Mapping[str, world.Message]:
    """All messages of the world by their text, always the same."""
    rng = random.Random(SEED)
    found: dict[str, world.Message] = {}
    while len(found) < N_PROMPTS:
        message = world.write_message(rng)
        found[message.text] = message
    return found
