"""A small training that learns to say red."""

from pathlib import Path

import pytest

from ppo_tune.config.run import TrainConfig


@pytest.fixture
def config(small_world: Path) -> TrainConfig:
    return TrainConfig.model_validate({
        "name": "red",
        "task": {
            "name": "dataset",
            "path": str(small_world / "prompts.jsonl"),
            "heldout_prompts": 6,
            "reward": {"name": "rule", "include": {"red": 1.0}, "avoid": {"blue": 0.5}},
            "gold": {"name": "rule", "length": {"low": 1, "high": 2}},
        },
        "model": {"name": str(small_world / "model"), "lora_rank": 4},
        "ppo": {"learning_rate": 0.02, "kl_coef": 0.02, "rollout_size": 16, "batch_size": 8, "ppo_epochs": 2,
                "episodes": 320, "max_new_tokens": 4, "kl_target": 1.0, "kl_horizon": 500, "lr_schedule": "linear"},
    })  # fmt: skip


def shortened(config: TrainConfig, episodes: int) -> TrainConfig:
    return config.model_copy(update={"ppo": config.ppo.with_params({"episodes": episodes})})
