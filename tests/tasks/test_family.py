"""Every task that a study file can name is made, of the judges that its block names, with prompts in three splits."""

from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter

from ppo_tune.config.block import Block
from ppo_tune.config.tasks import TaskConfig, named_judges
from ppo_tune.rewards import Reward
from ppo_tune.tasks import Task, embedded, make_task
from tests.blocks import Examples

MEMBERS: tuple[type[Block], ...] = get_args(get_args(TaskConfig)[0])
members = pytest.mark.parametrize("member", MEMBERS)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and build no model: what the embedded task builds has tests of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded, "build_models", lambda *_: tmp_path)


def rule(weight: float) -> dict[str, Any]:
    """A reward that gives this much for an apple."""
    return {"name": "rule", "include": {"apple": weight}}


def config_of(member: type[Block], **given: Any) -> TaskConfig:
    """A block of this kind, whose reward is a rule."""
    data = Examples(Path()).of(member, **{"reward": rule(1.0), "judges": {}, **given})
    config: TaskConfig = TypeAdapter(TaskConfig).validate_python(data)
    return config


def task_of(member: type[Block], **given: Any) -> Task:
    return make_task(config_of(member, **given), torch.device("cpu"))


def worth(judge: Reward) -> float:
    """What an apple is worth to a judge."""
    return judge(["a prompt"], ["an apple"], {}).item()


@members
def test_every_task_has_prompts_in_three_splits_and_none_in_two(member: type[Block]) -> None:
    task = task_of(member)
    texts = {split: {prompt.text for prompt in prompts} for split, prompts in task.prompts.items()}

    assert set(texts) == {"train", "heldout", "confirmation"}
    assert all(texts.values())
    assert all(one.isdisjoint(other) for one, other in combinations(texts.values(), 2))


@members
def test_the_judges_of_every_task_are_those_that_its_block_names(member: type[Block]) -> None:
    named = {"gold": rule(3.0), "judges": {"safe": rule(4.0), "short": rule(5.0)}}
    task = task_of(member, **named)

    assert {name: worth(judge) for name, judge in task.judges.items()} == {
        "gold": 3.0,
        "safe": 4.0,
        "short": 5.0,
    }
    assert set(task.judges) == set(named_judges(config_of(member, **named)))


@members
def test_every_task_compares_trials_by_the_objective_that_its_block_names(member: type[Block]) -> None:
    task = task_of(member, objective=rule(2.0))

    assert (worth(task.reward), worth(task.objective)) == (1.0, 2.0)


@members
def test_every_task_compares_trials_by_its_reward_where_its_block_names_no_objective(
    member: type[Block],
) -> None:
    task = task_of(member)

    assert worth(task.reward) == 1.0
    assert task.objective is task.reward


@members
def test_a_task_has_a_model_just_where_its_block_says_that_it_brings_one(member: type[Block]) -> None:
    assert (task_of(member).base_model is not None) == config_of(member).brings_model
