"""Configs as points of the unit cube, and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.config.space import Space
from ppo_tune.search.cube import Cube

SPACE = Space.model_validate({
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
    "gae_lambda": {"type": "float", "low": 0.8, "high": 1.0},
    "gamma": {"type": "float", "low": 0.8, "high": 0.9999, "log": "complement"},
    "ppo_epochs": {"type": "int", "low": 1, "high": 9, "step": 2},
    "rollout_size": {"type": "int", "low": 1, "high": 64, "log": True},
    "batch_size": {"type": "categorical", "choices": [32, 8, 16]},
    "lr_schedule": {"type": "categorical", "choices": ["linear", "constant", None]},
    "whiten": {"type": "categorical", "choices": [False, True]},
    "clip_range": {"type": "categorical", "choices": [0.2]},
})  # fmt: skip


def choices(**listed: list[Any]) -> Space:
    return Space.model_validate({
        name: {"type": "categorical", "choices": values} for name, values in listed.items()
    })  # fmt: skip


@given(st.lists(st.floats(-0.5, 1.5), min_size=len(SPACE), max_size=len(SPACE)))
def test_a_legal_point_is_a_config_of_the_space_and_its_place(point: list[float]) -> None:
    cube = Cube(SPACE)

    (legal,) = cube.legal(np.array([point]))

    config = cube.config(legal)
    for name, distribution in SPACE.distributions().items():
        assert distribution._contains(distribution.to_internal_repr(config[name])), name
        assert type(config[name]) in (float, int, str, bool, type(None))
    again = cube.points([config])[0]
    assert again == pytest.approx(legal, abs=1e-9)
    assert cube.config(again) == pytest.approx(config)


def test_numbers_among_choices_stand_in_their_order() -> None:
    cube = Cube(choices(batch_size=[32, 8, 16, 64]))

    places = cube.points([{"batch_size": size} for size in (8, 16, 32, 64)])

    assert places[:, 0] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert not cube.unordered.any()


def test_choices_that_are_no_numbers_are_unordered() -> None:
    cube = Cube(choices(a=[False, True], b=["x", 1]))

    assert cube.unordered.tolist() == [True, True]
    assert cube.points([{"a": True, "b": "x"}]).tolist() == [[1, 0]]


def test_every_value_of_a_grid_is_reached() -> None:
    cube = Cube(SPACE)
    found = cube.legal(np.random.default_rng(0).random((2000, len(SPACE))))
    seen = [cube.config(point) for point in found]

    assert {config["ppo_epochs"] for config in seen} == {1, 3, 5, 7, 9}
    assert {config["batch_size"] for config in seen} == {8, 16, 32}
    assert {config["lr_schedule"] for config in seen} == {"linear", "constant", None}


CONDITIONAL = Space.model_validate({
    "kl_horizon": {"type": "float", "low": 10, "high": 1000, "log": True, "when": {"kl_target": [2.0, 4.0]}},
    "kl_target": {"type": "categorical", "choices": [None, 2.0, 4.0]},
    "batch_size": {"type": "categorical", "choices": [8, 16, 32], "when": {"kl_target": 4.0}},
    "ppo_epochs": {"type": "int", "low": 1, "high": 4, "when": {"batch_size": [16]}},
})  # fmt: skip


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_what_is_not_searched_beside_other_values_rests_at_one_place(point: list[float]) -> None:
    cube = Cube(CONDITIONAL)

    (rested,) = cube.rested(cube.legal(np.array([point])))

    config = cube.config(rested)
    assert CONDITIONAL.is_whole(config)
    assert cube.points([config])[0] == pytest.approx(rested, abs=1e-9)
    assert [x for x, name in zip(rested, CONDITIONAL, strict=True) if name not in config] == [0.5] * (
        4 - len(config)
    )


def test_close_to_one_every_factor_of_one_minus_the_value_is_as_far() -> None:
    cube = Cube(
        Space.model_validate({"gamma": {"type": "float", "low": 0.9, "high": 0.9999, "log": "complement"}})
    )

    points = cube.points([{"gamma": value} for value in (0.9, 0.99, 0.999, 0.9999)])

    assert points[:, 0] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert [cube.config(point)["gamma"] for point in points] == pytest.approx(
        [0.9, 0.99, 0.999, 0.9999], abs=1e-12
    )
