"""Targets are told of a function that a reward names, and how to serve a reward model that has a gain and a bias."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from ppo_tune.config.block import Block, JudgeName
from ppo_tune.config.rewards import PreferenceRewardConfig, RewardConfig
from ppo_tune.export import TARGETS, Scale, Sources
from ppo_tune.export.base import REWARD_PLACEHOLDER
from tests.blocks import Examples, kinds_of
from tests.export.winners import winner


class PairwiseRewardConfig(Block):
    """A reward of a judge whose output is not the score up to a gain and a bias."""

    model: JudgeName


MEMBERS: tuple[type[Block], ...] = (*get_args(get_args(RewardConfig)[0]), PairwiseRewardConfig)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_target_knows_the_function_and_the_reward_model_to_serve(
    member: type[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reward: Any = TypeAdapter(member).validate_python(Examples(Path()).of(member))
    kinds = {kind for field in member.model_fields.values() for kind in kinds_of(field)}

    made = winner(sources=Sources(reward=reward))

    told = [str(remark) for remark in TARGETS["openrlhf"](made, Scale()).conversion.approximated]
    served = [text for text in told if "--reward.model_name_or_path" in text]

    assert bool(served) == (member is PreferenceRewardConfig)
    assert all(f"{reward.model} is faster" in text for text in served)
    assert not any(REWARD_PLACEHOLDER in text for text in served)
    assert any("your function is a copy" in text for text in told) == ("function" in kinds)
