"""A whole small study, as fixtures: a fitted model, a prompt file, and a file that searches it."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import yaml

from ppo_tune.config.fitting import RewardTrainingConfig, SFTConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.study_file import load_study
from ppo_tune.config.tasks import EmbeddedName
from ppo_tune.fitting.sft import fit_sft
from ppo_tune.search.facts import Owner
from ppo_tune.tasks.worlds import world_of

COLOURS = ("red", "green", "blue", "black", "white", "grey")
OWNER = Owner("a search", "a worker")
THINGS = tuple(f"{kind}{i}" for kind in ("door", "wall", "car", "hat", "cup") for i in range(12))


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model/` and `prompts.jsonl`; the model answers with colours."""
    folder = tmp_path_factory.mktemp("world")
    rng = random.Random(0)
    pairs = [(f"a {thing}", " ".join(rng.choices(COLOURS, k=rng.randint(1, 4)))) for thing in THINGS] * 4
    fit_sft(pairs, folder / "model", SFTConfig(layers=1, width=16, heads=2, tokens="words", epochs=2))
    rows = (json.dumps({"prompt": f"a {thing}", "size": i}) for i, thing in enumerate(THINGS))
    (folder / "prompts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def built_worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of all small worlds of the embedded tasks, each built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def small_worlds(built_worlds: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder; the embedded tasks' models are fitted in a second or two, to a tenth of their data."""
    monkeypatch.setenv("PPO_TUNE_CACHE", str(built_worlds))
    for name in get_args(EmbeddedName):
        world = world_of(name)
        monkeypatch.setattr(world, "n_pairs", 400)
        monkeypatch.setattr(world, "n_preferences", 200)
        monkeypatch.setattr(world, "sft", world.sft.model_copy(update={"epochs": 1}))
        monkeypatch.setattr(world, "t5", {**world.t5, "epochs": 1})
        if isinstance(world.reward, RewardTrainingConfig):
            less = world.reward.model_copy(update={"epochs": 1, "base_samples": 64})
            monkeypatch.setattr(world, "reward", less)
    return built_worlds


StudyMaker = Callable[..., StudyConfig]


def small_blocks(small_world: Path) -> dict[str, dict[str, object]]:
    """The blocks of a study file over the small world."""
    return {
        "task": {
            "name": "dataset",
            "path": str(small_world / "prompts.jsonl"),
            "heldout_prompts": 6,
            "reward": {"name": "rule", "include": {"red": 1.0}, "avoid": {"blue": 0.5}},
        },
        "model": {"name": str(small_world / "model"), "lora_rank": 2},
        "ppo": {"rollout_size": 8, "ppo_epochs": 1, "episodes": 32, "max_new_tokens": 4, "batch_size": 4},
        "space": {
            "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
            "kl_coef": {"type": "float", "low": 0.01, "high": 0.5, "log": True},
        },
        "search": {
            "sampler": "random",
            "pruner": "none",
            "n_trials": 4,
            "milestones": 2,
            "kl_budget": 100.0,
            "confirm_top": 0,
        },
    }


@pytest.fixture
def write_study(small_world: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a study file over the small world; blocks given by name are merged into the usual ones."""

    def write(name: str = "small", **changes: dict[str, object]) -> Path:
        blocks = small_blocks(small_world)
        for block, change in changes.items():
            blocks[block] = (
                change if block in ("space", "constraints") else {**blocks.get(block, {}), **change}
            )
        for searched in blocks["space"]:
            blocks["ppo"].pop(searched, None)
            blocks["model"].pop(searched, None)
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(blocks, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def make_study(write_study: Callable[..., Path]) -> StudyMaker:
    """Like `write_study`, and reads the file."""

    def make(name: str = "small", **changes: dict[str, object]) -> StudyConfig:
        return load_study(write_study(name, **changes))

    return make
