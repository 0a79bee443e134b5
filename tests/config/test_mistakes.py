"""What a study file says of unknown names, values of the wrong kind and what is missing."""

import pytest

from tests.config.study_files import DATASET, GAMMA, blocks, mistakes

pytestmark = pytest.mark.usefixtures("here")


def test_all_mistakes_of_a_file_are_told_at_once_in_its_order() -> None:
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
        "a.yaml:14: ppo.gamma: `gamma <= 1` must hold, but got 1.5",
        "a.yaml:15: ppo.ppo_epochs: must be a whole number, but got 2.5",
        "a.yaml:16: ppo.ppo_epochs: this key stands here and on line 15; keep one",
        "a.yaml:17: ppo.clip_range: must be finite, but got inf",
        "a.yaml:18: ppo.batch_size: `batch_size` must divide rollout_size 64, but got 24; take 16",
        "a.yaml:19: ppo.micro_batch_size: must divide batch_size 24, but got 5",
        "a.yaml:20: ppo.whiten_rewards: must be true or false, but got 'yes'",
        "a.yaml:21: ppo.ent_coef: stands in ppo and in space (line 30); keep one",
        "a.yaml:22: ppo.episodes: must be whole rollouts of 64, but got 100; take 128",
        "a.yaml:23: ppo.kl_target: `kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0",
        "a.yaml:24: ppo.kl_cof: unknown 'kl_cof'; did you mean 'kl_coef'?",
        "a.yaml:26: space.max_grad_norm: `low < high` must hold, but got low=2, high=1; "
        "a single value belongs in the ppo block",
        "a.yaml:27: space.vf_coef: `low > 0` must hold with log: true, but got low=0",
        "a.yaml:28: space.gae_lambda: `gae_lambda <= 1` must hold, but got 1.1",
        "a.yaml:31: space.temperature: cannot be searched: it decides how held-out responses are sampled too, and so "
        "their score, which is then no measure to compare trials by; set it in ppo",
        "a.yaml:32: space.clip_rang: unknown 'clip_rang'; did you mean 'clip_range'?",
        "a.yaml:32: space.clip_rang: unknown 'flaot'; did you mean 'float'?",
        "a.yaml:35: search.pruner: unknown 'halving'; choose one of hyperband, median, none, percentile, "
        "successive_halving",
        "a.yaml:36: serach: unknown block 'serach'; did you mean 'search'?",
    ]


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        pytest.param(
            {"optimizer": "{}"},
            "a.yaml:3: optimizer: unknown block 'optimizer'; choose one of constraints, model, ppo, search, space, "
            "task",
            id="block",
        ),
        pytest.param(
            {"seed": "3"},
            "a.yaml:3: seed: unknown block 'seed'; choose one of constraints, model, ppo, search, space, task",
            id="a training's block",
        ),
        pytest.param(
            {"task": "{name: suport}"}, "a.yaml:1: task: unknown 'suport'; did you mean 'support'?", id="task"
        ),
        pytest.param(
            {"task": "{name: chess}"},
            "a.yaml:1: task: unknown 'chess'; choose one of code, dataset, dialogue, summarize, support, translate",
            id="nothing like a task",
        ),
        pytest.param(
            {"task": "{name: support, heldout: 3}"},
            "a.yaml:1: task.heldout: unknown 'heldout'; did you mean 'heldout_prompts'?",
            id="key of a task",
        ),
        pytest.param(
            {"task": "{name: support, seed: -1}"},
            "a.yaml:1: task.seed: `seed >= 0` must hold, but got -1",
            id="seed of a world",
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
            {"task": "{name: support, gold: {name: reference, metric: wups}}"},
            "a.yaml:1: task.gold.metric: unknown 'wups'; choose one of bleu, chrf, meteor, rouge1, rouge2, rougeL",
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
            "a.yaml:2: space.batch_size.values: unknown 'values'; choose one of choices, default, type, when",
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
def test_an_unknown_name_names_the_one_that_was_meant_or_the_choices(
    contents: dict[str, str], expected: str
) -> None:
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
            ["a.yaml:3: ppo.clip_range: `clip_range > 0` must hold, but got 0"],
            id="at an open end",
        ),
        pytest.param(
            {"ppo": "{gae_lambda: -0.1}"},
            ["a.yaml:3: ppo.gae_lambda: `gae_lambda >= 0` must hold, but got -0.1"],
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
def test_a_value_of_the_wrong_kind_is_told_with_the_right_kind(
    contents: dict[str, str], expected: list[str]
) -> None:
    assert mistakes(blocks(**contents)) == expected


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
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
            {"space": "{ppo_epochs: {type: int, low: 1}}"},
            "a.yaml:2: space.ppo_epochs.high: is missing",
            id="end",
        ),
        pytest.param(
            {"space": "{}"},
            "a.yaml:2: space: at least one hyperparameter must be searched; for a single config use "
            "`ppo_tune.train`",
            id="every hyperparameter",
        ),
        pytest.param(
            {"space": "[gamma]"},
            "a.yaml:2: space: at least one hyperparameter must be searched; for a single config use "
            "`ppo_tune.train`",
            id="names without ranges",
        ),
    ],
)
def test_what_is_missing_is_named_where_it_should_stand(contents: dict[str, str], expected: str) -> None:
    assert mistakes(blocks(**contents)) == [expected]


def test_a_missing_name_is_missed_even_where_its_name_is_a_value() -> None:
    text = blocks(task="{name: dataset, path: reward}", model="{name: gpt2}")

    assert mistakes(text) == ["a.yaml:1: task.reward: is missing"]


def test_a_wrong_setting_is_not_blamed_on_its_neighbours() -> None:
    text = blocks(ppo="{rollout_size: '48', episodes: 4800, batch_size: 24}")

    assert mistakes(text) == [
        "a.yaml:3: ppo.rollout_size: must be a whole number, but got '48'; write it without quotes"
    ]


def test_a_key_written_with_dots_is_an_unknown_key() -> None:
    (message,) = mistakes(blocks(ppo="{'model.name': gpt2}"))

    assert message.startswith("a.yaml:3: ppo.model.name: unknown 'model.name'; choose one of ")


def test_one_tag_is_one_mistake() -> None:
    assert mistakes(blocks(ppo="{vf_coef: !secret 0.1}")) == [
        "a.yaml:3: ppo.vf_coef: tags are not allowed, but got !secret; write a plain value"
    ]


@pytest.mark.parametrize(
    ("block", "place", "choices"),
    [
        (
            {"search": "{sampler: null}"},
            "3: search.sampler",
            "name is missing; choose one of gp, grid, qmc, random, tpe",
        ),
        (
            {"search": "{sampler: {n_startup_trials: 4}}"},
            "3: search.sampler",
            "name is missing; choose one of gp, grid, qmc, random, tpe",
        ),
        (
            {"search": "{pruner: {}}"},
            "3: search.pruner",
            "name is missing; choose one of hyperband, median, none, percentile, successive_halving",
        ),
        ({"search": "{pruner: null}"}, "3: search.pruner", "name is missing; did you mean 'none'?"),
        (
            {"task": "{name: null}"},
            "1: task",
            "name is missing; choose one of code, dataset, dialogue, summarize, support, translate",
        ),
        (
            {"task": "{}"},
            "1: task",
            "name is missing; choose one of code, dataset, dialogue, summarize, support, translate",
        ),
        (
            {"task": ""},
            "1: task",
            "name is missing; choose one of code, dataset, dialogue, summarize, support, translate",
        ),
        (
            {"task": "{name: support, gold: {}}"},
            "1: task.gold",
            "name is missing; choose one of preference, python, reference, rule, unit_tests",
        ),
        (
            {"space": "{gamma: {low: 0.9, high: 1}}"},
            "2: space.gamma",
            "type is missing; choose one of categorical, float, int",
        ),
        (
            {"space": "{gamma: {type: null}}"},
            "2: space.gamma",
            "type is missing; choose one of categorical, float, int",
        ),
    ],
)
def test_a_name_that_is_left_out_or_null_is_missing(block: dict[str, str], place: str, choices: str) -> None:
    assert mistakes(blocks(**block)) == [f"a.yaml:{place}: a {choices}"]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (
            {"model": "{dtype: {a: 1}}"},
            "3: model.dtype: unknown {'a': 1}; choose one of auto, bfloat16, float32",
        ),
        (
            {"search": "{log: [{a: 1}]}"},
            "3: search.log.0: unknown {'a': 1}; choose one of tensorboard, wandb",
        ),
    ],
)
def test_a_mapping_where_a_word_stands_is_unknown(block: dict[str, str], said: str) -> None:
    assert mistakes(blocks(**block)) == [f"a.yaml:{said}"]
