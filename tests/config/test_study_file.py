"""Study and training files: what they mean, and every mistake at once with its line and its way out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppo_tune.config.blocks import PPOConfig, SearchConfig, StudyConfig, TrainConfig
from ppo_tune.config.study_file import load_run, load_study, load_training, notes
from ppo_tune.errors import ConfigError

GAMMA = "gamma: {type: float, low: 0.9, high: 1.0}"
RATE = "learning_rate: {type: float, low: 1e-5, high: 1e-2, log: true}"
DATASET = "name: dataset, path: a.csv"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, so that messages name short paths."""
    monkeypatch.chdir(tmp_path)


def blocks(**contents: str) -> str:
    """A study file with a task on line 1, a space on line 2, and other blocks from line 3 on."""
    contents = {"task": "{name: support}", "space": f"{{{GAMMA}}}", **contents}
    return "".join(f"{name}: {content}\n" for name, content in contents.items())


def training(**contents: str) -> str:
    """A training file with a task on line 1 and other blocks from line 2 on."""
    contents = {"task": "{name: support}", **contents}
    return "".join(f"{name}: {content}\n" for name, content in contents.items())


def load(text: str, **options: Any) -> StudyConfig:
    """The study of a file of this text."""
    Path("a.yaml").write_text(text, encoding="utf-8")
    return load_study("a.yaml", **options)


def train(text: str, **options: Any) -> TrainConfig:
    """The training of a file of this text."""
    Path("a.yaml").write_text(text, encoding="utf-8")
    return load_training("a.yaml", **options)


def mistakes(text: str, read: Callable[..., Any] = load, **options: Any) -> list[str]:
    """The lines of the message with which a file is refused."""
    with pytest.raises(ConfigError) as caught:
        read(text, **options)
    return str(caught.value).splitlines()


def test_a_file_is_a_study_of_its_name():
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
    assert (study.space["learning_rate"].low, study.space["ppo_epochs"].high) == (1e-5, 4)
    assert study.search == SearchConfig(sampler="qmc", n_trials=8, seed=3)


def test_task_and_space_are_enough():
    study = load(blocks())

    assert (study.ppo, study.search) == (PPOConfig(), SearchConfig())


@pytest.mark.parametrize("block", ["model", "ppo", "search"])
def test_a_block_with_nothing_in_it_is_the_default(block):
    assert load(blocks(**{block: ""})) == load(blocks())


@pytest.mark.parametrize("spelling", ["1e-5", "1E-5", "1.0e-5", "1e-05", "10e-6", "0.00001", ".00001"])
def test_every_spelling_of_a_float_loads_as_a_float(spelling):
    rate = f"{{type: float, low: {spelling}, high: 1e-2}}"

    study = load(blocks(space=f"{{learning_rate: {rate}}}", ppo=f"{{adam_epsilon: {spelling}}}"))

    assert (study.space["learning_rate"].low, study.ppo.adam_epsilon) == (1e-5, 1e-5)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        pytest.param("{name: rule, include: {sorry: 1.5}, length: {low: 1, high: 9}}", "rule", id="rule"),
        pytest.param("{name: python, function: my/reward.py:score}", "python", id="python"),
        pytest.param("{name: reference, metric: rougeL}", "reference", id="reference"),
        pytest.param("{name: preference, model: my/model}", "preference", id="preference"),
    ],
)
def test_each_reward_can_be_reward_and_gold(task, expected):
    study = load(blocks(task=f"{{{DATASET}, reward: {task}, gold: {task}}}", model="{name: gpt2}"))

    assert (study.task.reward.name, study.task.gold.name) == (expected, expected)


def test_all_mistakes_of_a_file_are_told_at_once_in_its_order():
    text = """\
task:
  name: dataset
  path: a.csv
  promt: question
  heldout_prompts: true
  reward:
    name: rule
    include: {sorry: '1', thanks: .nan}
    length: {low: 9, hgh: 5}
  gold: {name: refrence}
model: {lora_rank: 0, dtype: float16}
ppo:
  learning_rate: '1e-4'
  gamma: 1.5
  ppo_epochs: 2.5
  ppo_epochs: 2
  clip_range: .inf
  batch_size: 24
  micro_batch_size: 5
  whiten_rewards: yes
  ent_coef: 0
  episodes: 100
  kl_target: 6.0
  kl_cof: 0.1
space:
  max_grad_norm: {type: float, low: 2, high: 1}
  vf_coef: {type: float, low: 0, high: 1, log: true}
  gae_lambda: {type: float, low: 0.9, high: 1.1}
  kl_coef: {type: float, low: 0, high: 0.1}
  ent_coef: {type: float, low: 0, high: 0.1}
  temperature: {type: float, low: 0.5, high: 1}
  clip_rang: {type: flaot, low: 0.1, high: 0.2}
search:
  sampler: grid
  pruner: halving
serach: {}
"""

    assert mistakes(text) == [
        "a.yaml:4: task.promt: unknown 'promt'; did you mean 'prompt'?",
        "a.yaml:5: task.heldout_prompts: must be a whole number, but got True",
        "a.yaml:8: task.reward.include.sorry: must be a number, but got '1'; write it without quotes",
        "a.yaml:8: task.reward.include.thanks: must be finite, but got nan",
        "a.yaml:9: task.reward.length.high: is missing",
        "a.yaml:9: task.reward.length.hgh: unknown 'hgh'; did you mean 'high'?",
        "a.yaml:10: task.gold: unknown 'refrence'; did you mean 'reference'?",
        "a.yaml:11: model.lora_rank: `lora_rank >= 1` must hold, but got 0",
        "a.yaml:11: model.dtype: unknown 'float16'; did you mean 'bfloat16'?",
        "a.yaml:13: ppo.learning_rate: must be a number, but got '1e-4'; write it without quotes",
        "a.yaml:14: ppo.gamma: `gamma <= 1.0` must hold, but got 1.5",
        "a.yaml:15: ppo.ppo_epochs: must be a whole number, but got 2.5",
        "a.yaml:16: ppo.ppo_epochs: this key stands here and on line 15; keep one",
        "a.yaml:17: ppo.clip_range: must be finite, but got inf",
        "a.yaml:18: ppo.batch_size: `batch_size` must divide rollout_size 64, but got 24",
        "a.yaml:19: ppo.micro_batch_size: must divide batch_size 24, but got 5",
        "a.yaml:20: ppo.whiten_rewards: must be true or false, but got 'yes'",
        "a.yaml:21: ppo.ent_coef: stands in ppo and in space (line 30); keep one",
        "a.yaml:22: ppo.episodes: must be whole rollouts of 64, but got 100; take 128",
        "a.yaml:23: ppo.kl_target: `kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0",
        "a.yaml:24: ppo.kl_cof: unknown 'kl_cof'; did you mean 'kl_coef'?",
        "a.yaml:26: space.max_grad_norm: `low < high` must hold, but got low=2, high=1; "
        "a single value belongs in the ppo block",
        "a.yaml:27: space.vf_coef: `low > 0` must hold with log: true, but got low=0",
        "a.yaml:28: space.gae_lambda: `gae_lambda <= 1.0` must hold, but got 1.1",
        "a.yaml:31: space.temperature: is shared by all trials of a study and cannot be searched; "
        "set it in ppo",
        "a.yaml:32: space.clip_rang: unknown 'clip_rang'; did you mean 'clip_range'?",
        "a.yaml:32: space.clip_rang: unknown 'flaot'; did you mean 'float'?",
        "a.yaml:35: search.pruner: unknown 'halving'; choose one of hyperband, median, none, percentile, "
        "successive_halving",
        "a.yaml:36: serach: unknown block 'serach'; did you mean 'search'?",
    ]


def test_a_key_that_is_wrong_in_ppo_still_may_not_stand_in_the_space_too():
    text = blocks(space=f"{{{RATE}}}", ppo="{learning_rate: fast}")

    assert mistakes(text) == [
        "a.yaml:3: ppo.learning_rate: must be a number, but got 'fast'; write it without quotes",
        "a.yaml:3: ppo.learning_rate: stands in ppo and in space (line 2); keep one",
    ]


def test_a_key_whose_range_is_wrong_still_may_not_stand_in_ppo_too():
    text = blocks(space="{gamma: {type: float, low: 1, high: 0}}", ppo="{gamma: 0.9}")

    assert mistakes(text) == [
        "a.yaml:2: space.gamma: `low < high` must hold, but got low=1, high=0; a single value belongs in the "
        "ppo block",
        "a.yaml:3: ppo.gamma: stands in ppo and in space (line 2); keep one",
    ]


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        pytest.param(
            {"optimizer": "{}"},
            "a.yaml:3: optimizer: unknown block 'optimizer'; choose one of model, ppo, search, space, task",
            id="block",
        ),
        pytest.param(
            {"seed": "3"},
            "a.yaml:3: seed: unknown block 'seed'; choose one of model, ppo, search, space, task",
            id="a training's block",
        ),
        pytest.param(
            {"task": "{name: suport}"}, "a.yaml:1: task: unknown 'suport'; did you mean 'support'?", id="task"
        ),
        pytest.param(
            {"task": "{name: chess}"},
            "a.yaml:1: task: unknown 'chess'; choose one of dataset, support",
            id="nothing like a task",
        ),
        pytest.param(
            {"task": "{name: support, heldout: 3}"},
            "a.yaml:1: task.heldout: unknown 'heldout'; did you mean 'heldout_prompts'?",
            id="key of a task",
        ),
        pytest.param(
            {"task": "{name: support, reward: {name: ruel}}"},
            "a.yaml:1: task.reward: unknown 'ruel'; did you mean 'rule'?",
            id="reward",
        ),
        pytest.param(
            {"task": "{name: support, reward: {name: rule, inclde: {a: 1}, avoid: {b: 1}}}"},
            "a.yaml:1: task.reward.inclde: unknown 'inclde'; did you mean 'include'?",
            id="key of a reward",
        ),
        pytest.param(
            {"task": "{name: support, gold: {name: python, function: f.py:g, args: 1}}"},
            "a.yaml:1: task.gold.args: unknown 'args'; choose one of function, name",
            id="nothing like a key of a reward",
        ),
        pytest.param(
            {"task": "{name: support, gold: {name: preference, model: m, templte: x}}"},
            "a.yaml:1: task.gold.templte: unknown 'templte'; did you mean 'template'?",
            id="key of a gold reward",
        ),
        pytest.param(
            {"task": "{name: support, gold: {name: reference, metric: bleu}}"},
            "a.yaml:1: task.gold.metric: unknown 'bleu'; choose one of chrf, rouge1, rouge2, rougeL",
            id="metric",
        ),
        pytest.param(
            {"task": "{name: support, reward: {name: rule, length: {low: 1, high: 9, wieght: 2}}}"},
            "a.yaml:1: task.reward.length.wieght: unknown 'wieght'; did you mean 'weight'?",
            id="key of a length rule",
        ),
        pytest.param(
            {"model": "{lora_rnk: 8}"},
            "a.yaml:3: model.lora_rnk: unknown 'lora_rnk'; did you mean 'lora_rank'?",
            id="key of a model",
        ),
        pytest.param(
            {"ppo": "{cliprange: 0.2}"},
            "a.yaml:3: ppo.cliprange: unknown 'cliprange'; did you mean 'clip_range'?",
            id="hyperparameter",
        ),
        pytest.param(
            {"ppo": "{kl_estimator: k4}"},
            "a.yaml:3: ppo.kl_estimator: unknown 'k4'; choose one of k1, k2, k3",
            id="estimator",
        ),
        pytest.param(
            {"space": "{gama: {type: float, low: 0.9, high: 1.0}}"},
            "a.yaml:2: space.gama: unknown 'gama'; did you mean 'gamma'?",
            id="searched hyperparameter",
        ),
        pytest.param(
            {"space": "{gamma: {type: float, low: 0.9, high: 1.0, pionts: 3}}"},
            "a.yaml:2: space.gamma.pionts: unknown 'pionts'; did you mean 'points'?",
            id="key of a float",
        ),
        pytest.param(
            {"space": "{ppo_epochs: {type: int, low: 1, high: 4, stp: 1}}"},
            "a.yaml:2: space.ppo_epochs.stp: unknown 'stp'; did you mean 'step'?",
            id="key of an int",
        ),
        pytest.param(
            {"space": "{batch_size: {type: categorical, choices: [8], values: [8]}}"},
            "a.yaml:2: space.batch_size.values: unknown 'values'; choose one of choices, default, type",
            id="key of a choice",
        ),
        pytest.param(
            {"space": "{gamma: {type: loguniform, low: 0.9, high: 1.0}}"},
            "a.yaml:2: space.gamma: unknown 'loguniform'; choose one of categorical, float, int",
            id="type",
        ),
        pytest.param(
            {"search": "{n_trails: 3}"},
            "a.yaml:3: search.n_trails: unknown 'n_trails'; did you mean 'n_trials'?",
            id="key of a search",
        ),
        pytest.param(
            {"search": "{sampler: tpee}"},
            "a.yaml:3: search.sampler: unknown 'tpee'; did you mean 'tpe'?",
            id="sampler",
        ),
    ],
)
def test_an_unknown_name_names_the_one_that_was_meant_or_the_choices(contents, expected):
    assert mistakes(blocks(**contents)) == [expected]


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        pytest.param(
            {"ppo": "{gamma_: 1, learning_rate: '1'}", "space": f"{{{GAMMA}}}"},
            [
                "a.yaml:3: ppo.learning_rate: must be a number, but got '1'; write it without quotes",
                "a.yaml:3: ppo.gamma_: unknown 'gamma_'; did you mean 'gamma'?",
            ],
            id="quoted number",
        ),
        pytest.param(
            {"ppo": "{ppo_epochs: '4'}"},
            ["a.yaml:3: ppo.ppo_epochs: must be a whole number, but got '4'; write it without quotes"],
            id="quoted whole number",
        ),
        pytest.param(
            {"ppo": "{ppo_epochs: true}"},
            ["a.yaml:3: ppo.ppo_epochs: must be a whole number, but got True"],
            id="bool for a whole number",
        ),
        pytest.param(
            {"ppo": "{vf_coef: false}"},
            ["a.yaml:3: ppo.vf_coef: must be a number, but got False"],
            id="bool for a number",
        ),
        pytest.param(
            {"ppo": "{whiten_rewards: 1}"},
            ["a.yaml:3: ppo.whiten_rewards: must be true or false, but got 1"],
            id="number for a bool",
        ),
        pytest.param(
            {"ppo": "{ppo_epochs: 2.0}"},
            ["a.yaml:3: ppo.ppo_epochs: must be a whole number, but got 2.0"],
            id="float for a whole number",
        ),
        pytest.param(
            {"ppo": "{clip_range: 0}"},
            ["a.yaml:3: ppo.clip_range: `clip_range > 0.0` must hold, but got 0"],
            id="at an open end",
        ),
        pytest.param(
            {"ppo": "{gae_lambda: -0.1}"},
            ["a.yaml:3: ppo.gae_lambda: `gae_lambda >= 0.0` must hold, but got -0.1"],
            id="below",
        ),
        pytest.param(
            {"ppo": "{temperature: -.inf}"},
            ["a.yaml:3: ppo.temperature: must be finite, but got -inf"],
            id="infinity",
        ),
        pytest.param(
            {"ppo": "[1, 2]"}, ["a.yaml:3: ppo: must be a mapping, but got [1, 2]"], id="list for a block"
        ),
        pytest.param(
            {"model": "gpt2"}, ["a.yaml:3: model: must be a mapping, but got 'gpt2'"], id="text for a block"
        ),
        pytest.param(
            {"model": "{name: 5}"}, ["a.yaml:3: model.name: must be text, but got 5"], id="number for text"
        ),
        pytest.param(
            {"task": "{name: support, reward: {name: rule, include: [a]}}"},
            ["a.yaml:1: task.reward.include: must be a mapping, but got ['a']"],
            id="list for a mapping",
        ),
        pytest.param(
            {"task": "support"},
            ["a.yaml:1: task: must be a mapping, but got 'support'"],
            id="text for a task",
        ),
        pytest.param(
            {"task": "{name: support, gold: rule}"},
            ["a.yaml:1: task.gold: must be a mapping, but got 'rule'"],
            id="text for a reward",
        ),
        pytest.param(
            {"space": "{gamma: 0.9}"},
            ["a.yaml:2: space.gamma: must be a mapping, but got 0.9"],
            id="value for a parameter",
        ),
        pytest.param(
            {"space": "{batch_size: {type: categorical, choices: 8}}"},
            ["a.yaml:2: space.batch_size.choices: must be a list, but got 8"],
            id="value for a list",
        ),
        pytest.param(
            {"task": "{name: support, reward: {name: python, function: score}}"},
            ["a.yaml:1: task.reward.function: must look like path/to/file.py:function, but got 'score'"],
            id="no path to a function",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_the_right_kind(contents, expected):
    assert mistakes(blocks(**contents)) == expected


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        pytest.param({"task": "{}"}, "a.yaml:1: task: 'name' must be given", id="name of a task"),
        pytest.param({"task": ""}, "a.yaml:1: task: 'name' must be given", id="everything of a task"),
        pytest.param(
            {"task": "{name: support, gold: {}}"}, "a.yaml:1: task.gold: 'name' must be given", id="reward"
        ),
        pytest.param(
            {"task": "{name: support, gold: {name: preference}}"},
            "a.yaml:1: task.gold.model: is missing",
            id="model of a reward",
        ),
        pytest.param(
            {"task": "{name: support, gold: {name: rule}}"},
            "a.yaml:1: task.gold: at least one of `include`, `avoid` and `length` must be given",
            id="rules",
        ),
        pytest.param(
            {"task": f"{{{DATASET}}}", "model": "{name: gpt2}"},
            "a.yaml:1: task.reward: is missing",
            id="reward of a dataset",
        ),
        pytest.param(
            {"task": f"{{{DATASET}, reward: {{name: reference}}}}", "model": "{lora_rank: 4}"},
            "a.yaml:3: model: `name` must be given with task dataset: a model folder or hub name",
            id="model of a dataset",
        ),
        pytest.param(
            {"space": "{gamma: {low: 0.9, high: 1}}"},
            "a.yaml:2: space.gamma: 'type' must be given",
            id="type",
        ),
        pytest.param(
            {"space": "{ppo_epochs: {type: int, low: 1}}"},
            "a.yaml:2: space.ppo_epochs.high: is missing",
            id="end",
        ),
        pytest.param(
            {"space": "{}"},
            "a.yaml:2: space: at least one hyperparameter must be searched; for a single config use "
            "`ppo-tune train`",
            id="every hyperparameter",
        ),
        pytest.param(
            {"space": "[gamma]"},
            "a.yaml:2: space: at least one hyperparameter must be searched; for a single config use "
            "`ppo-tune train`",
            id="names without ranges",
        ),
    ],
)
def test_what_is_missing_is_named_where_it_should_stand(contents, expected):
    assert mistakes(blocks(**contents)) == [expected]


def test_a_missing_name_is_missed_even_where_its_name_is_a_value():
    text = blocks(task="{name: dataset, path: reward}", model="{name: gpt2}")

    assert mistakes(text) == ["a.yaml:1: task.reward: is missing"]


def test_missing_blocks_are_named():
    assert mistakes("# nothing\n") == [
        "a.yaml: task: this block is missing",
        "a.yaml: space: at least one hyperparameter must be searched; for a single config use "
        "`ppo-tune train`",
    ]


@pytest.mark.parametrize("text", ["- task\n", "task\n", "5\n", "null\n"])
def test_a_file_that_is_no_mapping_is_told_its_blocks(text):
    assert mistakes(text) == ["a.yaml:1: must hold the blocks task, model, ppo, space, search"]


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        pytest.param(
            "gamma: {type: float, low: 1.0, high: 0.5}",
            "gamma: `low < high` must hold, but got low=1, high=0.5; a single value belongs in the ppo block",
            id="inverted",
        ),
        pytest.param(
            "ppo_epochs: {type: int, low: 2, high: 2}",
            "ppo_epochs: `low < high` must hold, but got low=2, high=2; a single value belongs in "
            "the ppo block",
            id="equal",
        ),
        pytest.param(
            "learning_rate: {type: float, low: 0, high: 1e-2, log: true}",
            "learning_rate: `low > 0` must hold with log: true, but got low=0",
            id="log from zero",
        ),
        pytest.param(
            "learning_rate: {type: float, low: 1e-5, high: .inf}",
            "learning_rate.high: must be finite, but got inf",
            id="infinite end",
        ),
        pytest.param(
            "learning_rate: {type: float, low: .nan, high: 1}",
            "learning_rate.low: must be finite, but got nan",
            id="nan",
        ),
        pytest.param(
            "learning_rate: {type: float, low: '1e-5', high: 1e-2}",
            "learning_rate.low: must be a number, but got '1e-5'; write it without quotes",
            id="quoted end",
        ),
        pytest.param(
            "learning_rate: {type: float, low: 1e-5, high: 1e-2, log: yes}",
            "learning_rate.log: must be true or false, but got 'yes'",
            id="yes",
        ),
        pytest.param(
            "ppo_epochs: {type: int, low: 1, high: 4.5}",
            "ppo_epochs.high: must be a whole number, but got 4.5",
            id="half an epoch",
        ),
        pytest.param(
            "ppo_epochs: {type: int, low: 1, high: 4, step: 0}",
            "ppo_epochs.step: `step >= 1` must hold, but got 0",
            id="step of zero",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1.5}",
            "gamma: `gamma <= 1.0` must hold, but got 1.5",
            id="end that no config can have",
        ),
        pytest.param(
            "clip_range: {type: float, low: 0, high: 0.5}",
            "clip_range: `clip_range > 0.0` must hold, but got 0.0",
            id="end that is just outside",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1.0, default: 2}",
            "gamma: `gamma <= 1.0` must hold, but got 2.0",
            id="default that no config can have",
        ),
        pytest.param(
            "kl_estimator: {type: categorical, choices: [k1, k4]}",
            "kl_estimator: unknown 'k4'; choose one of k1, k2, k3",
            id="choice that no config can have",
        ),
        pytest.param(
            "ppo_epochs: {type: categorical, choices: [1, '2']}",
            "ppo_epochs: must be a whole number, but got '2'; write it without quotes",
            id="quoted choice",
        ),
        pytest.param(
            "batch_size: {type: categorical, choices: [16, 24]}",
            "batch_size: `batch_size` must divide rollout_size 64, but got 24",
            id="batch that does not divide the rollout",
        ),
        pytest.param(
            "rollout_size: {type: int, low: 32, high: 64}",
            "rollout_size: is shared by all trials of a study and cannot be searched; set it in ppo",
            id="shared field",
        ),
        pytest.param(
            "ppo_epochs: {type: int, low: -3, high: 4}",
            "ppo_epochs: `ppo_epochs >= 1` must hold, but got -3",
            id="range that begins outside",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1.0, points: 1}",
            "gamma.points: `points >= 2` must hold, but got 1",
            id="one point",
        ),
        pytest.param(
            "gamma: {type: float, points: [0.9, '1']}",
            "gamma.points.1: must be a number, but got '1'; write it without quotes",
            id="quoted point",
        ),
    ],
)
def test_a_searched_range_is_checked_with_its_line(param, expected):
    assert mistakes(blocks(space=f"\n  {RATE.replace('learning_rate', 'kl_coef')}\n  {param}")) == [
        f"a.yaml:4: space.{expected}"
    ]


@pytest.mark.parametrize(
    "param",
    [
        pytest.param("gamma: {type: float, low: 0.9, high: 1.0, points: many}", id="points"),
        pytest.param("gamma: {type: float, low: 0.9, high: 1.0, points: true}", id="points that are a bool"),
        pytest.param("batch_size: {type: categorical, choices: [[8], 16]}", id="a list as a choice"),
        pytest.param("gamma: {type: categorical, choices: [.nan, 0.9]}", id="nan as a choice"),
        pytest.param("batch_size: {type: categorical, choices: []}", id="no choice"),
    ],
)
def test_one_wrong_value_is_one_mistake_in_our_own_words(param):
    (message,) = mistakes(blocks(space=f"{{{param}}}"))

    assert "constrained" not in message
    assert "Tuple" not in message


def test_every_choice_of_a_batch_size_must_divide_the_rollout():
    text = blocks(space="{batch_size: {type: int, low: 8, high: 32, step: 8}}", ppo="{rollout_size: 48}")

    message = "\n".join(mistakes(text))

    assert "must divide rollout_size 48, but got 32" in message
    assert "24" not in message


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        pytest.param(
            {"ppo": "{batch_size: 24}"},
            "a.yaml:3: ppo.batch_size: `batch_size` must divide rollout_size 64, but got 24",
            id="batch and rollout",
        ),
        pytest.param(
            {"ppo": "{micro_batch_size: 5}"},
            "a.yaml:3: ppo.micro_batch_size: must divide batch_size 32, but got 5",
            id="micro-batch and batch",
        ),
        pytest.param(
            {
                "ppo": "{micro_batch_size: 16}",
                "space": "{batch_size: {type: categorical, choices: [8, 32]}}",
            },
            "a.yaml:3: ppo.micro_batch_size: must divide batch_size 8, but got 16",
            id="micro-batch and searched batch",
        ),
        pytest.param(
            {"ppo": "{episodes: 1000}"},
            "a.yaml:3: ppo.episodes: must be whole rollouts of 64, but got 1000; take 1024",
            id="episodes and rollout",
        ),
        pytest.param(
            {"ppo": "{kl_target: 6, kl_coef: 0}"},
            "a.yaml:3: ppo.kl_target: `kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0",
            id="target and coefficient",
        ),
        pytest.param(
            {"ppo": "{kl_target: 6}", "space": "{kl_coef: {type: float, low: 0, high: 0.1}}"},
            "a.yaml:3: ppo.kl_target: `kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0",
            id="target and searched coefficient",
        ),
        pytest.param(
            {"model": "{lora_rank: null}", "search": "{pack: 4}"},
            "a.yaml:4: search.pack: `pack = 1` must hold when all weights are trained "
            "(model.lora_rank: null), but got 4; set a lora_rank",
            id="pack and rank",
        ),
        pytest.param(
            {"search": "{kl_budget: 10, kl_limit: 5}"},
            "a.yaml:3: search.kl_limit: `kl_limit >= kl_budget` must hold, but got 5 < 10",
            id="limit and budget",
        ),
        pytest.param(
            {"space": f"\n  {RATE}", "ppo": "{learning_rate: 1e-3}"},
            "a.yaml:4: ppo.learning_rate: stands in ppo and in space (line 3); keep one",
            id="fixed and searched",
        ),
        pytest.param(
            {"search": "{sampler: grid}"},
            "a.yaml:2: space.gamma: `points` must be given for a grid: a list of values, or how many",
            id="grid and float",
        ),
        pytest.param(
            {"task": "{name: support, gold: {name: rule, length: {low: 9, high: 5}}}"},
            "a.yaml:1: task.gold.length: `low <= high` must hold, but got low=9, high=5",
            id="ends of a length",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_told_with_the_way_out(contents, expected):
    assert mistakes(blocks(**contents)) == [expected]


@pytest.mark.parametrize(
    ("wrong", "told"), [("sometimes", "'sometimes'"), ("1", "1"), ("null", "None"), ("'true'", "'true'")]
)
def test_compiling_is_wanted_or_not_or_left_open(wrong, told):
    assert mistakes(blocks(model=f"{{compile: {wrong}}}")) == [
        f"a.yaml:3: model.compile: `true`, `false` or `auto` must stand here, but got {told}"
    ]


@pytest.mark.parametrize("good", ["true", "false", "auto"])
def test_a_study_says_whether_it_compiles(good):
    assert str(load(blocks(model=f"{{compile: {good}}}")).model.compile).lower() == good


@pytest.mark.parametrize("wrong", ["0", "-1", "2.0", "true", "null", "many", "'4'", "[4]"])
def test_a_pack_is_a_whole_number_or_auto(wrong):
    told = {"true": "True", "null": "None", "many": "'many'"}.get(wrong, wrong)

    assert mistakes(blocks(search=f"{{pack: {wrong}}}")) == [
        f"a.yaml:3: search.pack: `pack >= 1` must hold, or auto, but got {told}"
    ]


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param({"ppo": "{batch_size: 16, micro_batch_size: 8}"}, id="micro-batch divides batch"),
        pytest.param({"search": "{kl_budget: 10, kl_limit: 10}"}, id="limit is the budget"),
        pytest.param({"model": "{lora_rank: null}", "search": "{pack: 1}"}, id="all weights, one at a time"),
        pytest.param({"model": "{lora_rank: null}", "search": "{pack: auto}"}, id="all weights, auto"),
        pytest.param({"ppo": "{kl_target: 6, kl_coef: 0.1}"}, id="target and coefficient"),
        pytest.param({"ppo": "{learning_rate: 0}"}, id="at a closed end"),
    ],
)
def test_settings_at_their_limits_go_together(contents):
    load(blocks(**contents))


def test_a_wrong_setting_is_not_blamed_on_its_neighbours():
    text = blocks(ppo="{rollout_size: '48', episodes: 4800, batch_size: 24}")

    assert mistakes(text) == [
        "a.yaml:3: ppo.rollout_size: must be a whole number, but got '48'; write it without quotes"
    ]


def test_a_study_without_a_space_is_told_once_of_a_batch_that_does_not_fit():
    (_, message) = mistakes("task: {name: support}\nppo: {batch_size: 24}\n")

    assert message == "a.yaml:2: ppo.batch_size: `batch_size` must divide rollout_size 64, but got 24"


def test_a_key_written_with_dots_is_an_unknown_key():
    (message,) = mistakes(blocks(ppo="{'model.name': gpt2}"))

    assert message.startswith("a.yaml:3: ppo.model.name: unknown 'model.name'; choose one of ")


def test_one_tag_is_one_mistake():
    assert mistakes(blocks(ppo="{vf_coef: !secret 0.1}")) == [
        "a.yaml:3: ppo.vf_coef: tags are not allowed, but got !secret; write a plain value"
    ]


GRID = "{gamma: {type: float, low: 0.9, high: 1.0, points: 101}, ppo_epochs: {type: int, low: 1, high: 100}}"


def test_a_grid_of_more_than_ten_thousand_cells_is_refused():
    assert mistakes(blocks(space=GRID, search="{sampler: grid}")) == [
        "a.yaml:2: space: `cells <= 10000` must hold, but the grid has 10100; use fewer points, another "
        "sampler, or --yes"
    ]


def test_a_huge_grid_is_accepted_from_who_insists():
    study = load(blocks(space=GRID, search="{sampler: grid}"), allow_huge_grid=True)

    assert study.n_trials == 10_101


def test_a_grid_of_ten_thousand_cells_is_accepted():
    study = load(blocks(space=GRID.replace("101", "100"), search="{sampler: grid}"))

    assert study.n_trials == 10_001


def test_a_huge_space_is_no_huge_grid_for_another_sampler():
    assert load(blocks(space=GRID)).n_trials == 32


def test_a_grid_of_a_thousand_million_cells_is_counted_in_no_time():
    names = (
        "gamma",
        "gae_lambda",
        "clip_range",
        "vf_coef",
        "ent_coef",
        "kl_coef",
        "max_grad_norm",
        "kl_horizon",
    )
    space = ", ".join(f"{name}: {{type: float, low: 0.5, high: 1.0, points: 10}}" for name in names)
    rate = "learning_rate: {type: float, low: 0.5, high: 1.0, points: 10}"

    (message,) = mistakes(blocks(space=f"{{{space}, {rate}}}", search="{sampler: grid}"))

    assert "the grid has 1000000000;" in message


@pytest.mark.parametrize("name", ["a b", "-a", ".a", "é", "A" * 101])
def test_a_file_whose_name_is_no_study_name_is_to_be_renamed(name):
    Path(f"{name}.yaml").write_text(blocks())

    with pytest.raises(ConfigError) as caught:
        load_study(f"{name}.yaml")

    assert str(caught.value) == (
        f"{name}.yaml: study name: must be letters, digits, dots, dashes and underscores, at most "
        f"100, the first a letter or a digit, but got {name!r}; rename it"
    )


def test_a_missing_file_is_told_with_the_folder_that_was_searched(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_study("none.yaml")

    assert str(caught.value) == f"none.yaml: no such file (looked in {tmp_path})"


CLIP = "clip_range: {type: float, low: 0.1, high: 0.3}"


def test_a_clip_range_that_can_never_matter_is_noted():
    study = load(blocks(space=f"{{{CLIP}}}", ppo="{batch_size: 64, ppo_epochs: 1}"))

    assert notes(study) == [
        "clip_range is inert: with one optimizer step per rollout the policy ratio is 1 everywhere; raise "
        "ppo_epochs or lower batch_size"
    ]


@pytest.mark.parametrize(
    ("other", "ppo"),
    [
        pytest.param(
            "batch_size: {type: categorical, choices: [64, 32]}", "{ppo_epochs: 1}", id="searched batch"
        ),
        pytest.param("ppo_epochs: {type: int, low: 1, high: 4}", "{batch_size: 64}", id="searched epochs"),
    ],
)
def test_a_clip_range_that_sometimes_matters_is_noted(other, ppo):
    study = load(blocks(space=f"{{{CLIP}, {other}}}", ppo=ppo))

    assert notes(study) == [
        "clip_range is inert in trials with batch_size = rollout_size and one PPO epoch: the policy "
        "ratio is 1 everywhere"
    ]


@pytest.mark.parametrize(
    ("space", "ppo"),
    [
        pytest.param(f"{{{CLIP}}}", "{batch_size: 64, ppo_epochs: 2}", id="two epochs"),
        pytest.param(f"{{{CLIP}}}", "{batch_size: 32, ppo_epochs: 1}", id="two batches"),
        pytest.param(f"{{{GAMMA}}}", "{batch_size: 64, ppo_epochs: 1}", id="not searched"),
    ],
)
def test_a_clip_range_that_matters_is_not_noted(space, ppo):
    assert notes(load(blocks(space=space, ppo=ppo))) == []


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ("clip_range: {type: float, low: 0.3, high: 0.4}", "clip_range = 0.3: the default 0.2"),
        ("batch_size: {type: categorical, choices: [8, 16]}", "batch_size = 16: the default 32"),
        ("dual_clip: {type: float, low: 2, high: 3}", "dual_clip = 2.0: the default None"),
        ("gamma: {type: float, low: 0.9, high: 0.95, default: 0.5}", "gamma = 0.9: the default 0.5"),
    ],
)
def test_a_default_that_the_space_does_not_hold_is_noted(param, expected):
    study = load(blocks(space=f"{{{param}, {RATE}}}"))

    assert notes(study) == [f"trial 0, the default config, uses {expected} is outside the space"]


def test_a_default_that_the_space_holds_is_not_noted():
    assert notes(load(blocks(space=f"{{{RATE}, {GAMMA}}}"))) == []


def test_a_training_file_is_a_training():
    text = training(name="winner", ppo="{gamma: 0.9, episodes: 640}", seed="3", model="{lora_rank: 4}")

    config = train(text)

    assert (config.name, config.seed, config.model.lora_rank) == ("winner", 3, 4)
    assert config.ppo == PPOConfig(gamma=0.9, episodes=640)


def test_a_training_is_called_like_its_file_and_seeded_with_0():
    config = train(training())

    assert (config.name, config.seed) == ("a", 0)


@pytest.mark.parametrize("ppo", ["{episodes: 640}", "{gamma: 0.9}", "{}", ""])
def test_episodes_and_seed_of_the_caller_come_before_those_of_the_file(ppo):
    config = train(training(ppo=ppo, seed="1"), episodes=1280, seed=7)

    assert (config.ppo.episodes, config.seed) == (1280, 7)


def test_the_other_settings_stay_those_of_the_file():
    assert train(training(ppo="{gamma: 0.9}"), episodes=1280).ppo == PPOConfig(gamma=0.9, episodes=1280)


@pytest.mark.parametrize(
    ("contents", "options", "expected"),
    [
        pytest.param(
            {"ppo": "{}"},
            {"episodes": 100},
            "a.yaml:2: ppo.episodes: must be whole rollouts of 64, but got 100; take 128",
            id="episodes that are no whole rollouts",
        ),
        pytest.param(
            {"ppo": "{}"},
            {"episodes": 0},
            "a.yaml:2: ppo.episodes: `episodes >= 1` must hold, but got 0",
            id="no episodes",
        ),
        pytest.param({"seed": "-1"}, {}, "a.yaml:2: seed: `seed >= 0` must hold, but got -1", id="seed"),
        pytest.param({"seed": "true"}, {}, "a.yaml:2: seed: `seed >= 0` must hold, but got True", id="bool"),
        pytest.param({}, {"seed": -1}, "a.yaml: seed: `seed >= 0` must hold, but got -1", id="caller's seed"),
        pytest.param(
            {"kl_budget": "0"},
            {},
            "a.yaml:2: kl_budget: `kl_budget > 0` must hold, or null for none, but got 0",
            id="budget of nothing",
        ),
        pytest.param(
            {"kl_budget": ".inf"},
            {},
            "a.yaml:2: kl_budget: `kl_budget > 0` must hold, or null for none, but got inf",
            id="budget without end",
        ),
        pytest.param(
            {"score_std": "-1.5"},
            {},
            "a.yaml:2: score_std: `score_std > 0` must hold, or null for none, but got -1.5",
            id="spread below nothing",
        ),
        pytest.param(
            {"ppo": "{batch_size: 24}"},
            {},
            "a.yaml:2: ppo.batch_size: `batch_size` must divide rollout_size 64, but got 24",
            id="batch",
        ),
        pytest.param(
            {"ppo": "{micro_batch_size: 7}"},
            {},
            "a.yaml:2: ppo.micro_batch_size: must divide batch_size 32, but got 7",
            id="micro-batch",
        ),
        pytest.param(
            {"ppo": "{kl_target: 6, kl_coef: 0}"},
            {},
            "a.yaml:2: ppo.kl_target: `kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0",
            id="target and coefficient",
        ),
        pytest.param(
            {"sede": "3"},
            {},
            "a.yaml:2: sede: unknown block 'sede'; did you mean 'seed'?",
            id="unknown block",
        ),
        pytest.param(
            {"search": "{}"},
            {},
            "a.yaml:2: search: this is a study file; run `ppo-tune search` on it, then `ppo-tune export`",
            id="a study's block",
        ),
    ],
)
def test_a_wrong_training_is_refused_with_the_rule(contents, options, expected):
    assert mistakes(training(**contents), train, **options) == [expected]


def test_a_training_with_an_unsafe_name_is_refused():
    (message,) = mistakes(training(name="../x"), train)

    assert message.endswith("but got '../x'; rename it")


def test_a_study_file_is_no_training():
    lines = mistakes(blocks(search="{sampler: tpe}"), train)

    assert lines == [
        "a.yaml:2: space: this is a study file; run `ppo-tune search` on it, then `ppo-tune export`",
        "a.yaml:3: search: this is a study file; run `ppo-tune search` on it, then `ppo-tune export`",
    ]


def test_a_run_is_read_from_either_kind_of_file():
    Path("study.yaml").write_text(blocks(ppo="{vf_coef: 0.5}"))
    Path("train.yaml").write_text(training(ppo="{vf_coef: 0.7}"))

    runs = [load_run("study.yaml"), load_run("train.yaml")]

    assert [run.ppo.vf_coef for run in runs] == [0.5, 0.7]


def test_a_run_is_read_from_a_huge_grid_too():
    Path("a.yaml").write_text(blocks(space=GRID, search="{sampler: grid}"))

    assert load_run("a.yaml").name == "a"


@pytest.mark.parametrize("text", ["5\n", "true\n", "- space\n", "space\n"])
def test_a_run_is_not_read_from_what_is_no_mapping(text):
    Path("a.yaml").write_text(text)

    with pytest.raises(ConfigError, match=r"a\.yaml:1: must hold the blocks"):
        load_run("a.yaml")


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
def test_whatever_a_file_holds_it_is_read_or_refused_with_its_name(content, read):
    text = json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf")

    lines = lines_about(text, read)

    assert all(line.startswith("a.yaml:") for line in lines)


TWO = "ppo_epochs: {type: categorical, choices: [1, 4]}, whiten_rewards: {type: categorical, choices: [true, false]}"
NINE = "ppo_epochs: {type: int, low: 1, high: 3}, batch_size: {type: categorical, choices: [8, 16, 32]}"
OTHER_NINE = (
    "ppo_epochs: {type: int, low: 1, high: 3}, gae_lambda: {type: float, low: 0.9, high: 0.98, points: 3}"
)


@pytest.mark.parametrize(
    ("space", "search", "expected"),
    [
        pytest.param(
            TWO, "{n_trials: 14}",
            ["the space has only 4 combinations for 14 trials: at least 10 trials repeat one; sampler: grid tries each "
             "of them once"],
            id="choices",
        ),
        pytest.param(
            NINE, "{n_trials: 10, sampler: random}",
            ["the space has only 9 combinations for 10 trials: at least 1 trials repeat one; sampler: grid tries each "
             "of them once"],
            id="integers",
        ),
        pytest.param(
            "ppo_epochs: {type: int, low: 2, high: 20, step: 6}", "{n_trials: 4, sampler: qmc}",
            ["the space has only 4 combinations for 4 trials: some may be drawn more than once; sampler: grid tries "
             "each of them once"],
            id="as many as trials",
        ),
        pytest.param(NINE, "{n_trials: 4}", [], id="enough"),
        pytest.param(f"{NINE}, {GAMMA}", "{n_trials: 100}", [], id="a float"),
        pytest.param(
            OTHER_NINE, "{n_trials: 15, sampler: grid}",
            ["15 trials, but the grid has 9 cells: 5 trials repeat one"],
            id="a grid, and the default beside it",
        ),
        pytest.param(
            NINE.replace("high: 3", "high: 4"), "{n_trials: 15, sampler: grid}",
            ["15 trials, but the grid has 12 cells: 3 trials repeat one"],
            id="a grid that holds the default",
        ),
        pytest.param(OTHER_NINE, "{sampler: grid}", [], id="a whole grid, and the default beside it"),
        pytest.param(
            NINE.replace("high: 3", "high: 4"), "{sampler: grid}",
            ["the default config is also a cell of the grid: it runs twice, as trial 0 and in its turn"],
            id="a whole grid that holds the default",
        ),
        pytest.param(NINE.replace("high: 3", "high: 4"), "{sampler: grid, n_trials: 12}", [], id="part of a grid"),
    ],
)  # fmt: skip
def test_combinations_that_trials_must_repeat_are_counted(space, search, expected):
    said = notes(load(blocks(space=f"{{{space}}}", search=search)))

    assert [note for note in said if "combination" in note or "cells" in note or "a cell" in note] == expected


ADAPTIVE = "{kl_target: 4.0, episodes: 2560, rollout_size: 64"


@pytest.mark.parametrize(
    ("ppo", "space", "expected"),
    [
        pytest.param(f"{ADAPTIVE}}}", GAMMA, None, id="a tenth of the episodes"),
        pytest.param(f"{ADAPTIVE}, kl_horizon: 10000}}", GAMMA, "1.05", id="ten thousand"),  # 1.00128 ** 40
        pytest.param(
            f"{ADAPTIVE}, kl_horizon: 1300}}", GAMMA, "1.48", id="half of the episodes"
        ),  # 1.00985 ** 40
        pytest.param(
            f"{ADAPTIVE}, kl_horizon: 1250}}", GAMMA, None, id="a little less"
        ),  # 1.01024 ** 40 = 1.503
        pytest.param(
            "{kl_horizon: 10000}", "kl_target: {type: float, low: 1, high: 9}", "1.05", id="a searched target"
        ),
        pytest.param(
            "{kl_target: 4.0}",
            "kl_horizon: {type: float, low: 10000, high: 20000}",
            "1.05",
            id="searched horizons",
        ),
        pytest.param(
            "{kl_target: 4.0}", "kl_horizon: {type: float, low: 1000, high: 20000}", None, id="some are short"
        ),
        pytest.param("{kl_horizon: 10000}", GAMMA, None, id="no target"),
    ],
)
def test_a_kl_target_that_a_trial_is_too_short_for_is_noted(ppo, space, expected):
    said = [note for note in notes(load(blocks(space=f"{{{space}}}", ppo=ppo))) if "kl_target does" in note]

    assert said == (
        []
        if expected is None
        else [
            f"kl_target does little: with this kl_horizon, kl_coef can change {expected}-fold at most in a trial of "
            "2,560 episodes; leave kl_horizon out, and it is a tenth of them"
        ]
    )


@pytest.mark.parametrize("horizon", ["12.8", "1"])
def test_a_horizon_by_which_one_rollout_takes_the_coefficient_to_0_is_refused(horizon):
    text = blocks(ppo=f"{{kl_target: 4.0, rollout_size: 64, kl_horizon: {horizon}}}")

    assert mistakes(text) == [
        "a.yaml:3: ppo.kl_horizon: `kl_horizon > rollout_size / 5` must hold, or one rollout can take β to 0, but got "
        f"{horizon} with rollout_size 64"
    ]


def test_a_horizon_that_is_not_used_may_be_anything():
    assert load(blocks(ppo="{kl_horizon: 1}")).ppo.kl_horizon == 1.0


def test_trial_0_of_a_searched_horizon_uses_a_tenth_of_the_studys_episodes():
    space = "{kl_horizon: {type: float, low: 1, high: 100000}}"
    study = load(blocks(space=space, ppo="{episodes: 12800}"))

    assert study.baseline == {"kl_horizon": 1280.0}
    assert notes(study) == []
