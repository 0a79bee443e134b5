"""Hyperparameters that are searched only beside some values of others."""

import itertools
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.config.space import Space
from ppo_tune.config.writing import study_text
from tests.config.study_files import blocks, load, mistakes

pytestmark = pytest.mark.usefixtures("here")

TARGET = "kl_target: {type: categorical, choices: [null, 2.0, 4.0]}"
HORIZON = "kl_horizon: {type: float, low: 100, high: 1000, log: true, when: {kl_target: [2.0, 4.0]}}"
WHITEN = "whiten_rewards: {type: categorical, choices: [true, false]}"


def chain(**when: Any) -> Space:
    """Three hyperparameters, a, b and c, with two values each and conditions."""
    return Space.model_validate({
        name: {"type": "categorical", "choices": [1, 2], **({"when": when[name]} if name in when else {})}
        for name in "abc"
    })  # fmt: skip


def test_a_condition_is_a_value_or_a_list_of_them() -> None:
    study = load(blocks(space=f"{{{HORIZON}, {TARGET}, {WHITEN}}}"))

    assert study.space["kl_horizon"].when == {"kl_target": (2.0, 4.0)}
    assert chain(b={"a": 1})["b"].when == {"a": (1,)}
    assert study.space.conditions == {"kl_horizon": "kl_target is 2.0 or 4.0"}


def test_a_study_with_conditions_is_written_as_a_file_that_reads_as_the_same() -> None:
    study = load(blocks(space=f"{{{HORIZON}, {TARGET}}}"))

    assert load(study_text(study)) == study


def test_what_is_searched_always_does_not_speak_of_conditions() -> None:
    study = load(blocks(space=f"{{{TARGET}}}"))

    assert '"when":' not in study.model_dump_json()


def test_a_condition_that_holds_in_every_trial_is_none() -> None:
    text = blocks(space=f"{{{HORIZON}}}", ppo="{kl_target: 4}")

    assert load(text).space["kl_horizon"].when == {}


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        pytest.param(
            f"{HORIZON}",
            "kl_horizon.when.kl_target: is None in every trial of this study, so kl_horizon would never be searched; "
            "search kl_target too, or leave one of them out",
            id="never",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1, when: {kl_targt: 2.0}}",
            "gamma.when.kl_targt: unknown 'kl_targt'; did you mean 'kl_target'?",
            id="unknown",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1, when: {gamma: 0.9}}",
            "gamma.when.gamma: must name another hyperparameter, but this is the one that is searched",
            id="itself",
        ),
        pytest.param(
            f"{TARGET}, gamma: {{type: float, low: 0.9, high: 1, when: {{kl_target: [2.0, 3.0]}}}}",
            "gamma.when.kl_target: must be one of [None, 2.0, 4.0], its choices, but got 3.0",
            id="no choice",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1}, gae_lambda: {type: float, low: 0.9, high: 1, when: {gamma: 1.0}}",
            "gae_lambda.when.gamma: must be searched by choices to decide about others, but its type is float",
            id="a range",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1, when: {kl_target: []}}",
            "gamma.when.kl_target: must hold at least one value; leave `when` out if there is no condition",
            id="nothing",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1, when: {kl_target: [[1]]}}",
            "gamma.when.kl_target: must be true or false, a finite number or text, but got [1]",
            id="a list in a list",
        ),
        pytest.param(
            "gamma: {type: float, low: 0.9, high: 1, when: kl_target}",
            "gamma.when: must be a mapping, but got 'kl_target'",
            id="no mapping",
        ),
    ],
)
def test_a_condition_that_cannot_be_is_refused(space: str, expected: str) -> None:
    assert mistakes(blocks(space=f"{{{space}}}")) == [f"a.yaml:2: space.{expected}"]


def test_conditions_that_ask_for_one_another_are_refused() -> None:
    whiten = "whiten_rewards: {type: categorical, choices: [true, false], when: {kl_target: 2.0}}"
    target = "kl_target: {type: categorical, choices: [2.0, 4.0], when: {whiten_rewards: true}}"

    assert mistakes(blocks(space=f"{{{whiten}, {target}}}")) == [
        "a.yaml:2: space: conditions go round in a circle: whiten_rewards, kl_target; one of them must be searched in "
        "every trial"
    ]


def test_the_default_of_what_is_not_always_searched_must_fit_too() -> None:
    size = "batch_size: {type: categorical, choices: [10, 20], when: {whiten_rewards: true}}"

    assert mistakes(blocks(space=f"{{{WHITEN}, {size}}}", ppo="{rollout_size: 40, episodes: 400}")) == [
        "a.yaml:2: space.batch_size: `batch_size` must divide rollout_size 40, but got 32; take a "
        "rollout_size of 160"
    ]


@pytest.mark.parametrize(
    ("when", "cells"),
    [
        pytest.param({}, 8, id="none"),
        pytest.param({"b": {"a": 1}}, 6, id="one"),
        pytest.param({"b": {"a": 1}, "c": {"b": 2}}, 4, id="of one that is itself not always searched"),
        pytest.param({"a": {"b": 1, "c": 2}}, 5, id="two at once"),
        pytest.param({"b": {"a": 1}, "c": {"a": 2}}, 4, id="either"),
        pytest.param({"c": {"a": [1, 2]}}, 8, id="every value"),
    ],
)
def test_a_grid_has_every_combination_once_without_what_is_not_searched(when: Any, cells: int) -> None:
    searched = chain(**when)

    listed = list(searched.grid_cells())

    assert (
        len({repr(sorted(cell.items())) for cell in listed}) == len(listed) == searched.grid_size() == cells
    )
    assert all(searched.is_whole(cell) and searched.has_cell(cell) for cell in listed)
    every = [dict(zip("abc", values, strict=True)) for values in itertools.product([1, 2], repeat=3)]
    assert all(searched.active_part(values) in listed for values in every)


@given(st.integers(0, 2**32 - 1))
def test_a_trial_is_asked_only_for_what_is_searched_beside_its_other_values(seed: int) -> None:
    searched = chain(b={"a": 1}, c={"b": 2})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()

    found = searched.suggest(trial)

    assert found == trial.params
    assert searched.is_whole(found)
    assert ("b" in found) == (found["a"] == 1)
    assert ("c" in found) == (found.get("b") == 2)


def test_what_is_missing_or_too_much_makes_no_trial() -> None:
    searched = chain(b={"a": 1})

    assert searched.is_whole({"a": 2, "c": 1})
    assert not searched.is_whole({"a": 1, "c": 1})
    assert not searched.is_whole({"a": 2, "b": 1, "c": 1})
    assert not searched.is_whole({})


def test_trial_0_has_no_value_of_what_its_others_rule_out() -> None:
    study = load(blocks(space=f"{{{HORIZON}, {TARGET}}}"))
    other = load(
        blocks(space=f"{{{HORIZON}, {TARGET.replace(']', '], default: 2.0')}}}", ppo="{episodes: 6400}")
    )

    assert study.baseline == {"kl_target": None}
    assert other.baseline == {"kl_target": 2.0, "kl_horizon": 640}  # a tenth of the episodes
