"""A small search given as objects, and what came of its trials."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.study import Study

from ppo_tune.rewards import Columns, Reward
from tests.worlds import THINGS

PROMPTS = [f"a {thing}" for thing in THINGS]

SETTINGS: dict[str, Any] = {
    "prompts": PROMPTS,
    "space": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "batch_size": [4, 8]},
    "lora_rank": 2,
    "ppo": {"rollout_size": 8, "ppo_epochs": 1, "episodes": 32, "max_new_tokens": 4},
    "search": {"sampler": "random", "pruner": "none", "pack": 1, "milestones": 2, "confirm_top": 0},
    "n_trials": 3,
    "kl_budget": 100.0,
    "heldout_prompts": 6,
}
"""All that `tune` needs besides a model and a reward; a sampler that learns nothing."""

REWARD = "def score(prompts, responses, **columns):\n    return [r.split().count('red') - 0.5 for r in responses]\n"
"""The text of a module with a reward function."""


class CountRed(Reward):
    """What the module's function returns, by an object that only its session has; notes how often it is asked."""

    def __init__(self, word: str = "red") -> None:
        self.word = word
        self.calls = 0

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        self.calls += 1
        return [response.split().count(self.word) - 0.5 for response in responses]


def outcomes(study: Study) -> list[dict[str, object]]:
    """All that the trials of a study came to, but for the time they took."""
    kept = ("config", "ending", "score_std", "tokens")
    found = []
    for trial in study.get_trials():
        facts = {key: trial.user_attrs.get(key) for key in kept}
        curve = [{**point, "seconds": 0} for point in trial.user_attrs["curve"]]
        found.append({**facts, "curve": curve, "params": trial.params, "value": trial.value})
    return found


def given_files(out: Path, name: str) -> list[str]:
    """The files that objects of a study became."""
    return sorted(path.name for path in (out / "runs" / name / "given").iterdir())
