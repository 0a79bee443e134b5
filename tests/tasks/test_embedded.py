"""The embedded task is another world for every seed, and the same one for the same."""

from pathlib import Path

import pytest
import torch

from ppo_tune.config.tasks import Architecture, EmbeddedTaskConfig
from ppo_tune.data.prompts import Split
from ppo_tune.data.recipes import recipe_hash
from ppo_tune.errors import ConfigError
from ppo_tune.files import content_hash
from ppo_tune.tasks import Task, check_form, make_task, prepare_task
from ppo_tune.tasks.recipe import build
from ppo_tune.tasks.worlds import world_of
from ppo_tune.tasks.worlds.support import gold_score

MODELS = ("base", "reward")


def world(seed: int) -> Task:
    return make_task(EmbeddedTaskConfig(name="support", seed=seed), torch.device("cpu"))


def folder_of(task: Task) -> Path:
    assert task.base_model is not None
    return Path(task.base_model).parent


def texts(task: Task, split: Split) -> list[str]:
    return [prompt.text for prompt in task.prompts[split]]


def test_another_seed_is_another_world_of_the_same_sizes(small_worlds: Path) -> None:
    usual, other = world(0), world(1)
    hashes = [[content_hash(folder_of(task) / model) for model in MODELS] for task in (usual, other)]
    sizes = [
        [file.stat().st_size for file in sorted(folder_of(task).rglob("model.safetensors"))]
        for task in (usual, other)
    ]

    assert all(one != another for one, another in zip(*hashes, strict=True))
    assert sizes[0] == sizes[1]
    for split in ("train", "heldout", "confirmation"):
        assert texts(usual, split) != texts(other, split)
        assert sorted(texts(usual, split)) == sorted(texts(other, split))


def test_a_world_is_told_by_its_folder_and_the_usual_one_by_none(small_worlds: Path) -> None:
    folders = [folder_of(world(seed)).name for seed in (0, 1)]

    assert folders == [f"support-{recipe_hash('support')}", f"support-{recipe_hash('support')}-seed1"]


def test_the_same_seed_is_the_same_world(small_worlds: Path, tmp_path: Path) -> None:
    build(world_of("support"), 1, "gpt2", tmp_path, lambda *_: None)

    for model in MODELS:
        assert content_hash(tmp_path / model) == content_hash(folder_of(world(1)) / model)


def test_a_world_is_prepared_once(small_worlds: Path) -> None:
    task = EmbeddedTaskConfig(name="support", seed=1)
    told: list[str] = []
    prepare_task(task)

    prepare_task(task, lambda name, _: told.append(name))

    assert told == []


@pytest.mark.parametrize("seed", [0, 1])
def test_the_hidden_judge_knows_the_messages_of_its_world_and_values_the_same_in_all(
    small_worlds: Path, seed: int
) -> None:
    task, reply = world(seed), "so sorry . please restart it twice ."
    asked = [prompt.text for split in task.prompts.values() for prompt in split]

    known = {message.text: message for message in world_of("support").prompts(0)}

    scores = task.judges["gold"](asked, [reply] * len(asked), {}).tolist()

    assert scores == pytest.approx([gold_score(known[text], reply) for text in asked])


def test_a_world_is_scored_by_its_own_reward_model(small_worlds: Path) -> None:
    asked = texts(world(0), "heldout")
    usual, other = (world(seed).reward(asked, ["thank you ."] * len(asked), {}) for seed in (0, 1))

    assert not torch.allclose(usual, other)


@pytest.mark.parametrize(
    ("architecture", "whole_texts", "told"),
    [
        (
            "gpt2",
            True,
            "for a decoder, as '{prompt}\\nTL;DR:', but 'mine' is an encoder–decoder; set architecture: t5",
        ),
        (
            "t5",
            False,
            "for an encoder–decoder, as 'summarize: {prompt}', but 'mine' is a decoder; set architecture: gpt2",
        ),
    ],
)
def test_a_model_of_the_other_kind_is_refused_where_it_expects_other_prompts(
    architecture: Architecture, whole_texts: bool, told: str
) -> None:
    config = EmbeddedTaskConfig(name="summarize", architecture=architecture)

    with pytest.raises(ConfigError) as caught:
        check_form(config, "mine", whole_texts=whole_texts)

    assert str(caught.value) == f"task.architecture: prompts of task summarize are written {told}"
    check_form(config, "mine", whole_texts=not whole_texts)


def test_a_model_of_either_kind_answers_prompts_that_are_written_alike_for_both() -> None:
    for whole_texts in (False, True):
        check_form(EmbeddedTaskConfig(name="support"), "mine", whole_texts=whole_texts)
