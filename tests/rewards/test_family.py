"""Every reward that a study file can name is made, by a class of its own."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter

from ppo_tune.config.block import Block
from ppo_tune.config.blocks import RewardConfig
from ppo_tune.rewards import Reward, make_reward
from tests.blocks import Examples, kinds_of
from tests.rewards.reward_models import save_reward

MEMBERS: tuple[type[Block], ...] = get_args(get_args(RewardConfig)[0])


def test_every_block_becomes_a_reward_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    examples = Examples(tmp_path)
    rewards = []
    for member in MEMBERS:
        judges = {
            key: str(save_reward(tmp_path / f"{member.__name__}-{key}"))
            for key, field in member.model_fields.items()
            if "judge" in kinds_of(field)
        }
        config: RewardConfig = TypeAdapter(RewardConfig).validate_python(examples.of(member, **judges))
        rewards.append(make_reward(config, torch.device("cpu")))

    assert all(isinstance(reward, Reward) for reward in rewards)
    assert len({type(reward) for reward in rewards}) == len(MEMBERS)
