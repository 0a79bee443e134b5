"""Study files: what they mean, their names, and that every one is read or refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppo_tune.config.methods import QMCSamplerConfig, SearchConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.study_file import load_study
from ppo_tune.config.tasks import TaskConfig
from ppo_tune.errors import ConfigError
from tests.blocks import Examples
from tests.config.study_files import DATASET, blocks, load, mistakes, train, training

pytestmark = pytest.mark.usefixtures("here")


def test_a_file_is_a_study_of_its_name() -> None:
    Path("first-try.yaml").write_text(
        """
        task:   {name: support, heldout_prompts: 32}
        model:  {lora_rank: 8, lora_alpha: 4}
        ppo:    {rollout_size: 32, episodes: 320, batch_size: 16}
        space:
          learning_rate: {type: float, low: 1e-5, high: 1e-2, log: true}
          ppo_epochs:    {type: int, low: 1, high: 4}
        search: {sampler: qmc, n_trials: 8, seed: 3}
        """
    )

    study = load_study("first-try.yaml")

    assert study.name == "first-try"
    assert (study.task.heldout_prompts, study.model.lora_rank, study.model.lora_alpha) == (32, 8, 4.0)
    assert study.ppo == PPOConfig(rollout_size=32, episodes=320, batch_size=16)
    ends = study.space.model_dump()
    assert (ends["learning_rate"]["low"], ends["ppo_epochs"]["high"]) == (1e-5, 4)
    assert study.search == SearchConfig(sampler=QMCSamplerConfig(name="qmc"), n_trials=8, seed=3)


def test_task_and_space_are_enough() -> None:
    study = load(blocks())

    assert (study.ppo, study.search) == (PPOConfig(), SearchConfig())


@pytest.mark.parametrize("block", ["model", "ppo", "search"])
def test_a_block_with_nothing_in_it_is_the_default(block: str) -> None:
    assert load(blocks(**{block: ""})) == load(blocks())


@pytest.mark.parametrize("spelling", ["1e-5", "1E-5", "1.0e-5", "1e-05", "10e-6", "0.00001", ".00001"])
def test_every_spelling_of_a_float_loads_as_a_float(spelling: str) -> None:
    rate = f"{{type: float, low: {spelling}, high: 1e-2}}"

    study = load(blocks(space=f"{{learning_rate: {rate}}}", ppo=f"{{adam_epsilon: {spelling}}}"))

    assert (study.space.model_dump()["learning_rate"]["low"], study.ppo.adam_epsilon) == (1e-5, 1e-5)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        pytest.param("{name: rule, include: {sorry: 1.5}, length: {low: 1, high: 9}}", "rule", id="rule"),
        pytest.param("{name: python, function: my/reward.py:score}", "python", id="python"),
        pytest.param("{name: reference, metric: rougeL}", "reference", id="reference"),
        pytest.param("{name: preference, model: my/model}", "preference", id="preference"),
    ],
)
def test_each_reward_can_be_reward_and_gold(task: str, expected: str) -> None:
    text = blocks(task=f"{{{DATASET}, reward: {task}, gold: {task}}}", model="{name: gpt2}")

    task_block = load(text).model_dump()["task"]

    assert (task_block["reward"]["name"], task_block["gold"]["name"]) == (expected, expected)


def test_missing_blocks_are_named() -> None:
    assert mistakes("# nothing\n") == [
        "a.yaml: task: this block is missing",
        "a.yaml: space: at least one hyperparameter must be searched; for a single config use "
        "`ppo_tune.train`",
    ]


@pytest.mark.parametrize("text", ["- task\n", "task\n", "5\n", "null\n"])
def test_a_file_that_is_no_mapping_is_told_its_blocks(text: str) -> None:
    assert mistakes(text) == ["a.yaml:1: must hold the blocks task, model, ppo, space, constraints, search"]


@pytest.mark.parametrize("name", ["a b", "-a", ".a", "é", "A" * 101])
def test_a_file_whose_name_is_no_study_name_is_to_be_renamed_or_the_study_named(name: str) -> None:
    Path(f"{name}.yaml").write_text(blocks())

    with pytest.raises(ConfigError) as caught:
        load_study(f"{name}.yaml")

    assert str(caught.value) == (
        f"{name}.yaml: study name: must be letters, digits, dots, dashes and underscores, at most "
        f"100, the first a letter or a digit, but got {name!r}; rename the file, or name the study by "
        "`name`"
    )
    assert load_study(f"{name}.yaml", name="x").name == "x"
    with pytest.raises(ConfigError, match="but got 'a b'; give another `name`"):
        load_study(f"{name}.yaml", name="a b")


def test_a_missing_file_is_told_with_the_folder_that_was_searched(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_study("none.yaml")

    assert str(caught.value) == f"none.yaml: no such file (looked in {tmp_path})"


KEYS = [
    "name", "path", "reward", "gold", "length", "include", "low", "high", "step", "type", "choices", "points",
    "log", "default", "gamma", "batch_size", "ppo_epochs", "kl_coef", "kl_target", "rollout_size", "episodes",
    "sampler", "pack", "lora_rank", "dtype", "model", "ppo.x", "1", "<<", "",
]  # fmt: skip
WORDS = [
    "name",
    "support",
    "dataset",
    "rule",
    "python",
    "f.py:g",
    "float",
    "int",
    "categorical",
    "grid",
    "k1",
    "",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 100) | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
files = st.dictionaries(st.sampled_from(["task", "model", "ppo", "space", "search", "seed", "x"]), values)


def lines_about(text: str, read: Callable[..., Any]) -> list[str]:
    """The lines of the message with which a file is refused; none if it is not."""
    try:
        read(text)
    except ConfigError as error:
        return str(error).splitlines()
    return []


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(files, st.sampled_from([load, train]))
def test_whatever_a_file_holds_it_is_read_or_refused_with_its_name(
    content: dict[str, Any], read: Callable[..., Any]
) -> None:
    text = json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf")

    lines = lines_about(text, read)

    assert all(line.startswith("a.yaml:") for line in lines)


@pytest.mark.parametrize("member", get_args(get_args(TaskConfig)[0]))
def test_a_model_must_be_named_just_where_the_task_brings_none(member: Any) -> None:
    task = Examples(Path()).of(member, judges={})
    refused = [] if member.brings_model else [f"model: `name` must be given with task {task['name']}"]

    for text, read in ((blocks, load), (training, train)):
        try:
            read(text(task=json.dumps(task)))
            told = []
        except ConfigError as error:
            told = [str(error).partition(" ")[2].rpartition(":")[0]]
        assert told == refused
        read(text(task=json.dumps(task), model="{name: gpt2}"))
