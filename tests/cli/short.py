"""What makes the commands of the guide short enough for a test, and what a study then holds."""

import random
from pathlib import Path

from ppo_tune.search.storage import load_study_from, storage_url
from tests.conftest import WORDS

SETTINGS = (
    "ppo.episodes=16", "ppo.rollout_size=8", "ppo.max_new_tokens=8", "task.heldout_prompts=4", "search.milestones=2",
    "search.confirm_top=0", "space.batch_size={type: categorical, choices: [4, 8]}",
)  # fmt: skip
SMALLER = {
    "sft": ("--layers", "1", "--width", "32", "--heads", "2", "--epochs", "1"),
    "reward": ("--base-samples", "16"),
    "search": (
        "--n-trials",
        "2",
        "--workers",
        "1",
        "--no-confirm",
        *(w for s in SETTINGS for w in ("--set", s)),
    ),
}
"""What makes a command of the guide short enough for a test."""


def write_prompts(path: Path) -> None:
    """A table of prompts that a tiny model knows the words of."""
    rng = random.Random(0)
    prompts = {" ".join(rng.choices(WORDS, k=4)): None for _ in range(120)}
    path.write_text("prompt\n" + "".join(f"{text}\n" for text in prompts), encoding="utf-8")


def endings(here: Path, study: str) -> list[str]:
    trials = load_study_from(storage_url(here, study), study).get_trials()
    return [trial.user_attrs["ending"] for trial in trials]
