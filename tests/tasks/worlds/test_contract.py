"""Every embedded task has enough prompts, each with a good response, and something to win and to exploit."""

import random
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import get_args

import pytest
import torch

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.config.tasks import Architecture, EmbeddedName, EmbeddedTaskConfig
from ppo_tune.data.chats import has_turns, turns_of
from ppo_tune.data.recipes import definitions_of
from ppo_tune.tasks import make_task, task_prompts
from ppo_tune.tasks.recipe import asked
from ppo_tune.tasks.worlds import world_of

NAMES: tuple[EmbeddedName, ...] = get_args(EmbeddedName)
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
SCORED_AT_THE_END = 4 * EmbeddedTaskConfig.model_fields["heldout_prompts"].default
LARGEST = 200_000

names = pytest.mark.parametrize("name", NAMES)
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


@names
@architectures
def test_there_are_as_many_different_prompts_in_each_split_as_score_a_trial_at_its_end(
    name: EmbeddedName, architecture: Architecture
) -> None:
    splits = task_prompts(EmbeddedTaskConfig(name=name, architecture=architecture)).prompts
    texts = {split: {prompt.text for prompt in prompts} for split, prompts in splits.items()}

    assert all(len(found) >= SCORED_AT_THE_END for found in texts.values())
    assert all(one.isdisjoint(other) for one, other in combinations(texts.values(), 2))


@names
def test_a_prompt_is_in_one_split_whatever_model_it_is_written_for(name: EmbeddedName) -> None:
    configs = [EmbeddedTaskConfig(name=name, architecture=one) for one in ARCHITECTURES]
    counts = [{split: len(found) for split, found in task_prompts(one).prompts.items()} for one in configs]

    assert counts[0] == counts[1]


@names
def test_prompts_follow_from_the_seed(name: EmbeddedName) -> None:
    world = world_of(name)

    assert [*map(str, world.prompts(3))] == [*map(str, world.prompts(3))]
    assert [prompt.text for prompt in world.prompts(3)] != [prompt.text for prompt in world.prompts(4)]


@names
def test_a_response_follows_from_the_generator(name: EmbeddedName) -> None:
    world = world_of(name)
    prompts = world.prompts(0)[:50]
    one, same, other = ([world.respond(p, rng) for p in prompts] for rng in map(random.Random, (1, 1, 2)))

    assert one == same != other


@names
def test_every_prompt_has_a_good_response(name: EmbeddedName) -> None:
    assert all(
        prompt.columns["references"] and all(prompt.columns["references"])
        for prompt in world_of(name).prompts(0)
    )


@names
def test_prompts_are_conversations_just_where_the_config_says_so(name: EmbeddedName) -> None:
    config = EmbeddedTaskConfig(name=name)

    assert has_turns(prompt.text for prompt in world_of(name).prompts(0)) == config.chat


@names
def test_conversations_stand_as_messages_in_the_column_that_exports_and_their_judges_read(
    name: EmbeddedName,
) -> None:
    config = EmbeddedTaskConfig(name=name)

    for prompt in world_of(name).prompts(0):
        assert prompt.columns.get(config.prompt, []) == (turns_of(prompt.text) if config.chat else [])


@names
def test_the_gold_judge_prefers_the_references_to_what_the_model_learns_from(
    name: EmbeddedName, small_worlds: Path
) -> None:
    """There is something to win."""
    rng, task = random.Random(0), make_task(EmbeddedTaskConfig(name=name), torch.device("cpu"))
    known = asked(world_of(name), 0, "gpt2")
    prompts = task.prompts["heldout"][:200]
    columns = {key: [prompt.columns[key] for prompt in prompts] for key in prompts[0].columns}
    texts = [prompt.text for prompt in prompts]
    good = [prompt.columns["references"][0] for prompt in prompts]
    usual = [world_of(name).respond(known[text], rng) for text in texts]

    gold = task.judges["gold"]

    assert mean(gold(texts, good, columns).tolist()) > mean(gold(texts, usual, columns).tolist())


@names
@architectures
def test_every_task_brings_a_model_of_either_architecture(
    name: EmbeddedName, architecture: Architecture, small_worlds: Path
) -> None:
    task = make_task(EmbeddedTaskConfig(name=name, architecture=architecture), torch.device("cpu"))
    assert task.base_model is not None
    prompts = task.prompts["heldout"][:2]
    columns = {key: [prompt.columns[key] for prompt in prompts] for key in prompts[0].columns}

    assert (Path(task.base_model) / "model.safetensors").is_file()
    assert task.reward([p.text for p in prompts], ["a", "b"], columns).isfinite().all()
    is_fitted = isinstance(world_of(name).reward, RewardTrainingConfig)
    assert (Path(task.base_model).parent / "reward").is_dir() == is_fitted


@names
def test_what_a_task_brings_is_small(name: EmbeddedName) -> None:
    sources = [text for (module, _), text in definitions_of(name).items() if ".worlds." in f".{module}."]

    assert 0 < sum(len(text.encode()) for text in sources) <= LARGEST
