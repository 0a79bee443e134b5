"""The space of a study file: ranges that are legal, and grids of a size that can be run."""

from typing import get_args

import pytest

from ppo_tune.config.model import RANKLESS, AdapterKind, ModelConfig
from tests.config.study_files import GRID, RATE, blocks, load, mistakes

pytestmark = pytest.mark.usefixtures("here")


def test_a_key_that_is_wrong_in_ppo_still_may_not_stand_in_the_space_too() -> None:
    text = blocks(space=f"{{{RATE}}}", ppo="{learning_rate: fast}")

    assert mistakes(text) == [
        "a.yaml:3: ppo.learning_rate: must be a number, but got 'fast'; write it without quotes",
        "a.yaml:3: ppo.learning_rate: stands in ppo and in space (line 2); keep one",
    ]


def test_a_key_whose_range_is_wrong_still_may_not_stand_in_ppo_too() -> None:
    text = blocks(space="{gamma: {type: float, low: 1, high: 0}}", ppo="{gamma: 0.9}")

    assert mistakes(text) == [
        "a.yaml:2: space.gamma: `low < high` must hold, but got low=1, high=0; a single value belongs in the "
        "ppo block",
        "a.yaml:3: ppo.gamma: stands in ppo and in space (line 2); keep one",
    ]


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
            "learning_rate.log: must be true, false or complement, but got 'yes'",
            id="yes",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1, log: complement}",
            "gamma: `0.5 < high < 1` must hold with log: complement, but got high=1; take 0.9999, or choices if 1 "
            "itself is to be tried",
            id="complement up to one",
        ),
        pytest.param(
            "gamma: {type: float, low: 1e-4, high: 0.1, log: complement}",
            "gamma: `0.5 < high < 1` must hold with log: complement, but got high=0.1; low and high are values "
            "themselves, not 1 − value",
            id="ends of one minus the value",
        ),
        pytest.param(
            "ppo_epochs: {type: int, low: 1, high: 4, log: complement}",
            "ppo_epochs.log: must be true or false, but got 'complement'",
            id="complement of a whole number",
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
            "gamma: `gamma <= 1` must hold, but got 1.5",
            id="end that no config can have",
        ),
        pytest.param(
            "clip_range: {type: float, low: 0, high: 0.5}",
            "clip_range: `clip_range > 0` must hold, but got 0.0",
            id="end that is just outside",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1.0, default: 2}",
            "gamma: `gamma <= 1` must hold, but got 2.0",
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
            "batch_size: `batch_size` must divide rollout_size 64, but got 24; take {type: categorical, choices: "
            "[8, 16, 32, 64]}",
            id="batch that does not divide the rollout",
        ),
        pytest.param(
            "rollout_size: {type: int, low: 32, high: 64}",
            "rollout_size: cannot be searched: it decides after how many episodes trials are scored, so it is the same "
            "for all trials of a study; set it in ppo, and search batch_size and ppo_epochs",
            id="shared field",
        ),
        pytest.param(
            "episodes: {type: int, low: 64, high: 640, step: 64}",
            "episodes: cannot be searched: it is what every trial gets, for trials are compared at equal episodes; set "
            "it in ppo",
            id="budget",
        ),
        pytest.param(
            "max_new_tokens: {type: int, low: 8, high: 64}",
            "max_new_tokens: cannot be searched: it decides how long a response may be, and so its score, which is "
            "then no measure to compare trials by; set it in ppo",
            id="length",
        ),
        pytest.param(
            "micro_batch_size: {type: categorical, choices: [8, 16]}",
            "micro_batch_size: cannot be searched: it changes no result, only memory; set it in ppo",
            id="memory",
        ),
        pytest.param(
            "name: {type: categorical, choices: [a, b]}",
            "name: cannot be searched: it decides which model is trained, and trials of different models share no base "
            "to be compared with; make a study of each, and put them side by side by `ppo-tune compare STUDY STUDY`",
            id="model",
        ),
        pytest.param(
            "dtype: {type: categorical, choices: [float32, bfloat16]}",
            "dtype: cannot be searched: it is that of the model that all trials share, and decides speed and rounding; "
            "set it in model",
            id="dtype",
        ),
        pytest.param(
            "adapter: {type: categorical, choices: [lora, rslora]}",
            "adapter: cannot be searched: it decides what the rows of a pack are, which all trials share; make a study "
            "of each, and put them side by side by `ppo-tune compare STUDY STUDY`",
            id="adapter",
        ),
        pytest.param(
            "compile: {type: categorical, choices: [true, false]}",
            "compile: cannot be searched: it changes no result, only speed; set it in model",
            id="compile",
        ),
        pytest.param(
            "lora_rank: {type: categorical, choices: [8, null]}",
            "lora_rank: null trains all weights, which shares no pack with adapters; make a study of its own of it",
            id="all weights",
        ),
        pytest.param(
            "lora_rank: {type: int, low: 0, high: 8}",
            "lora_rank: `lora_rank >= 1` must hold, but got 0",
            id="no adapters",
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
def test_a_searched_range_is_checked_with_its_line(param: str, expected: str) -> None:
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
def test_one_wrong_value_is_one_mistake_in_our_own_words(param: str) -> None:
    (message,) = mistakes(blocks(space=f"{{{param}}}"))

    assert "constrained" not in message
    assert "Tuple" not in message


def test_every_choice_of_a_batch_size_must_divide_the_rollout() -> None:
    text = blocks(space="{batch_size: {type: int, low: 8, high: 32, step: 8}}", ppo="{rollout_size: 48}")

    message = mistakes(text)[0]

    assert message.endswith(
        "must divide rollout_size 48, but got 32; take {type: categorical, choices: [8, 16, 24]}"
    )


def test_a_grid_of_more_than_ten_thousand_cells_is_refused() -> None:
    assert mistakes(blocks(space=GRID, search="{sampler: grid}")) == [
        "a.yaml:2: space: `cells <= 10000` must hold, but the grid has 10100; use fewer points, another "
        "sampler, or `allow_huge_grid=True`"
    ]


def test_a_huge_grid_is_accepted_from_who_insists() -> None:
    study = load(blocks(space=GRID, search="{sampler: grid}"), allow_huge_grid=True)

    assert study.n_trials == 10_101


def test_a_grid_of_ten_thousand_cells_is_accepted() -> None:
    study = load(blocks(space=GRID.replace("101", "100"), search="{sampler: grid}"))

    assert study.n_trials == 10_001


def test_a_huge_space_is_no_huge_grid_for_another_sampler() -> None:
    assert load(blocks(space=GRID)).n_trials == 32


def test_a_grid_of_a_thousand_million_cells_is_counted_in_no_time() -> None:
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


def test_a_key_of_the_model_may_not_stand_in_the_space_too() -> None:
    text = blocks(space="{lora_rank: {type: categorical, choices: [4, 16]}}", model="{lora_rank: 8}")

    assert mistakes(text) == ["a.yaml:3: model.lora_rank: stands in model and in space (line 2); keep one"]


def test_without_adapters_their_scale_is_not_searched() -> None:
    text = blocks(space="{lora_alpha: {type: float, low: 1, high: 64, log: true}}", model="{lora_rank: null}")

    assert mistakes(text) == [
        "a.yaml:2: space.lora_alpha: scales the adapters, and without any (model.lora_rank: null) it decides nothing; "
        "set a lora_rank, or leave it out"
    ]


def test_a_study_of_before_there_was_another_adapter_reads_and_writes_as_it_did() -> None:
    assert "adapter" not in load(blocks(model="{lora_rank: 8}")).model.model_dump()
    assert load(blocks(model="{adapter: rslora}")).model.model_dump()["adapter"] == "rslora"


def test_what_adapters_are_like_is_not_said_where_there_are_none() -> None:
    assert mistakes(blocks(model="{lora_rank: null, adapter: rslora}")) == [
        "a.yaml:3: model: adapter: rslora says what adapters are like, and lora_rank: null trains all weights without "
        "any; leave one of them out"
    ]


def test_what_peft_calls_it_leads_to_the_kind() -> None:
    (told,) = mistakes(blocks(model="{adapter: prefix_tuning}"))

    assert told.startswith("a.yaml:3: model.adapter: ")
    assert told.endswith("; did you mean 'prefix'?")


@pytest.mark.parametrize("kind", [kind for kind in get_args(AdapterKind) if kind != "prefix"])
def test_a_length_is_of_prefixes_alone(kind: str) -> None:
    assert mistakes(blocks(model=f"{{adapter: {kind}, prefix_length: 4}}")) == [
        f"a.yaml:3: model: prefix_length is of adapter: prefix, and would decide nothing of adapter: {kind}; leave it "
        "out, or take adapter: prefix"
    ]


@pytest.mark.parametrize("length", ["0", "-1", "1.5", "null"])
def test_a_prefix_has_a_whole_number_of_tokens(length: str) -> None:
    (told,) = mistakes(blocks(model=f"{{adapter: prefix, prefix_length: {length}}}"))

    assert told.startswith("a.yaml:3: model.prefix_length: ")


def test_a_prefix_is_written_with_its_length_where_that_is_not_the_usual_one_and_read_again() -> None:
    usual, short = (load(blocks(model=f"{{adapter: prefix{more}}}")) for more in ("", ", prefix_length: 3"))

    assert usual.model.model_dump().keys() & {"adapter", "prefix_length"} == {"adapter"}
    assert short.model.model_dump()["prefix_length"] == 3
    assert short.model_of({"learning_rate": 0.1}) == short.model
    assert ModelConfig.model_validate(short.model.model_dump()) == short.model


@pytest.mark.parametrize(
    ("model", "given"),
    [("lora_rank: 8", "lora_rank"), ("lora_rank: 8, lora_alpha: 4.0", "lora_alpha and lora_rank")],
)
@pytest.mark.parametrize("kind", RANKLESS)
def test_rank_and_alpha_are_not_said_of_what_has_none(kind: str, model: str, given: str) -> None:
    assert mistakes(blocks(model=f"{{adapter: {kind}, {model}}}")) == [
        f"a.yaml:3: model: adapter: {kind} has neither rank nor alpha, so {given} would decide nothing; leave that "
        "out, or take adapter: lora"
    ]


@pytest.mark.parametrize("kind", RANKLESS)
@pytest.mark.parametrize("name", ["lora_rank", "lora_alpha"])
def test_rank_and_alpha_are_not_searched_of_what_has_none(name: str, kind: str) -> None:
    text = blocks(
        space=f"{{{RATE}, {name}: {{type: categorical, choices: [4, 16]}}}}", model=f"{{adapter: {kind}}}"
    )

    assert mistakes(text) == [
        f"a.yaml:2: space.{name}: cannot be searched: adapter: {kind} has neither rank nor alpha; leave it out, or "
        "take adapter: lora"
    ]


@pytest.mark.parametrize("kind", RANKLESS)
def test_a_model_without_rank_and_alpha_is_written_without_and_read_again(kind: str) -> None:
    study = load(blocks(model=f"{{adapter: {kind}}}"))

    assert study.model.model_dump().keys() & {"adapter", "lora_rank", "lora_alpha"} == {"adapter"}
    assert study.model_of({"learning_rate": 0.1}) == study.model
    assert "lora_rank" not in study.hyperparameters
    assert not study.adapters_vary


def test_the_values_of_a_trial_are_those_of_its_trainer_and_of_its_model() -> None:
    study = load(blocks(space=f"{{{RATE}, lora_rank: {{type: categorical, choices: [4, 64, 16]}}}}"))

    assert study.baseline == {"learning_rate": 1e-4, "lora_rank": 16}
    assert study.ppo_of({"learning_rate": 1e-3, "lora_rank": 4}).learning_rate == 1e-3
    assert study.model_of({"learning_rate": 1e-3, "lora_rank": 4}).lora_rank == 4
    assert (study.model.lora_rank, study.widest_model.lora_rank, study.adapters_vary) == (16, 64, True)
    assert not load(blocks(space=f"{{{RATE}}}")).adapters_vary


def test_the_usual_rank_has_room_where_another_is_not_searched_always() -> None:
    rank = "lora_rank: {type: int, low: 2, high: 8, when: {whiten_rewards: true}}"
    study = load(blocks(space=f"{{whiten_rewards: {{type: categorical, choices: [true, false]}}, {rank}}}"))

    assert study.widest_model.lora_rank == 16


def test_a_key_of_ppo_may_not_stand_in_the_space_too() -> None:
    text = blocks(space=f"\n  {RATE}", ppo="{learning_rate: 1e-3}")

    assert mistakes(text) == ["a.yaml:4: ppo.learning_rate: stands in ppo and in space (line 3); keep one"]
