"""Whatever reward names a model or a function, every target is told of it."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from ppo_tune.config.block import Block
from ppo_tune.config.blocks import RewardConfig
from ppo_tune.export import Sources
from ppo_tune.export.base import REWARD_PLACEHOLDER
from ppo_tune.export.conversions import function_remarks, has_reward_model, reward_model_name
from tests.blocks import Examples, kinds_of
from tests.export.winners import winner

MEMBERS: tuple[type[Block], ...] = get_args(get_args(RewardConfig)[0])


@pytest.mark.parametrize("member", MEMBERS)
def test_a_target_knows_the_model_and_the_function_that_a_reward_names(
    member: type[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reward: Any = TypeAdapter(RewardConfig).validate_python(Examples(Path()).of(member))
    kinds = {kind for field in member.model_fields.values() for kind in kinds_of(field)}

    made = winner(sources=Sources(reward=reward))

    assert has_reward_model(made) == ("judge" in kinds)
    assert (reward_model_name(made) != REWARD_PLACEHOLDER) == ("judge" in kinds)
    assert bool(function_remarks(made)) == ("function" in kinds)
