"""What a reward's block asks of its own values."""

import pytest
from pydantic import ValidationError

from ppo_tune.config.rewards import LengthRule, RuleRewardConfig
from tests.config.study_files import blocks, mistakes


def test_a_range_of_words_is_not_inverted() -> None:
    with pytest.raises(ValidationError, match="`low <= high` must hold, but got low=9, high=5"):
        LengthRule(low=9, high=5)


def test_a_rule_reward_has_at_least_one_rule() -> None:
    with pytest.raises(
        ValidationError, match="at least one of `include`, `avoid` and `length` must be given"
    ):
        RuleRewardConfig(name="rule")


def test_a_wrong_range_is_told_by_its_place_in_the_file(here: None) -> None:
    task = "{name: support, gold: {name: rule, length: {low: 9, high: 5}}}"

    assert mistakes(blocks(task=task)) == [
        "a.yaml:1: task.gold.length: `low <= high` must hold, but got low=9, high=5"
    ]
