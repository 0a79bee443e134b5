"""Every reward that a study file can name is made, by a class of its own, and keeps the contract."""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import get_args, get_origin

import pytest
import torch
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from ppo_tune.config.block import Block
from ppo_tune.config.rewards import RewardConfig
from ppo_tune.rewards import Reward, make_reward
from tests.blocks import Examples, kinds_of
from tests.rewards import contract
from tests.rewards.reward_models import save_reward

MEMBERS: tuple[type[Block], ...] = get_args(get_args(RewardConfig)[0])


def named(field: FieldInfo, folder: Path, words: Iterator[str]) -> object:
    """What a field may hold that tells the contract's responses apart; None where it does not matter."""
    if "judge" in kinds_of(field):
        return str(save_reward(folder / "judge"))
    if "function" in kinds_of(field):
        source = "def score(prompts, responses, **columns):\n    return [len(text) for text in responses]\n"
        (folder / "lengths.py").write_text(source, encoding="utf-8")
        return str(folder / "lengths.py:score")
    return {next(words): 1.0} if get_origin(field.annotation) is dict else None


def example(member: type[Block], folder: Path) -> Reward:
    """A reward of this kind; each of its mappings has a word that stands in one of the responses alone."""
    words = cycle(("fan", "thank", "désolé"))
    given = {key: named(field, folder, words) for key, field in member.model_fields.items()}
    data = Examples(folder).of(member, **{key: value for key, value in given.items() if value is not None})
    config: RewardConfig = TypeAdapter(RewardConfig).validate_python(data)
    return make_reward(config, torch.device("cpu"))


def test_every_block_becomes_a_reward_of_its_own(tmp_path: Path) -> None:
    rewards = []
    for member in MEMBERS:
        (tmp_path / member.__name__).mkdir()
        rewards.append(example(member, tmp_path / member.__name__))

    assert all(isinstance(reward, Reward) for reward in rewards)
    assert len({type(reward) for reward in rewards}) == len(MEMBERS)


@pytest.mark.parametrize("law", contract.LAWS, ids=lambda law: str(law.__name__))
@pytest.mark.parametrize("member", MEMBERS)
def test_every_reward_keeps_the_contract(
    member: type[Block], law: Callable[[Reward], None], tmp_path: Path
) -> None:
    law(example(member, tmp_path))
