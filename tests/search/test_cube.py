"""Configs as points of the unit cube, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ppo_tune.search.cube import Cube

SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "gamma": FloatDistribution(0.8, 1.0),
    "ppo_epochs": IntDistribution(1, 9, step=2),
    "rollout_size": IntDistribution(1, 64, log=True),
    "batch_size": CategoricalDistribution((32, 8, 16)),
    "lr_schedule": CategoricalDistribution(("linear", "constant", None)),
    "whiten": CategoricalDistribution((False, True)),
    "clip_range": FloatDistribution(0.2, 0.2),
}


@given(st.lists(st.floats(-0.5, 1.5), min_size=len(SPACE), max_size=len(SPACE)))
def test_a_legal_point_is_a_config_of_the_space_and_its_place(point: list[float]) -> None:
    cube = Cube(SPACE)

    (legal,) = cube.legal(np.array([point]))

    config = cube.config(legal)
    for name, distribution in SPACE.items():
        assert distribution._contains(distribution.to_internal_repr(config[name])), name
        assert type(config[name]) in (float, int, str, bool, type(None))
    again = cube.points([config])[0]
    assert again[:-1] == pytest.approx(legal[:-1], abs=1e-9)  # a range of one value has one place
    assert cube.config(again) == pytest.approx(config)


def test_numbers_among_choices_stand_in_their_order() -> None:
    cube = Cube({"batch_size": CategoricalDistribution((32, 8, 16, 64))})

    places = cube.points([{"batch_size": size} for size in (8, 16, 32, 64)])

    assert places[:, 0] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert not cube.unordered.any()


def test_choices_that_are_no_numbers_are_unordered() -> None:
    cube = Cube({"a": CategoricalDistribution((False, True)), "b": CategoricalDistribution(("x", 1))})

    assert cube.unordered.tolist() == [True, True]
    assert cube.points([{"a": True, "b": "x"}]).tolist() == [[1, 0]]


def test_every_value_of_a_grid_is_reached() -> None:
    cube = Cube(SPACE)
    found = cube.legal(np.random.default_rng(0).random((2000, len(SPACE))))
    seen = [cube.config(point) for point in found]

    assert {config["ppo_epochs"] for config in seen} == {1, 3, 5, 7, 9}
    assert {config["batch_size"] for config in seen} == {8, 16, 32}
    assert {config["lr_schedule"] for config in seen} == {"linear", "constant", None}
