# mypy: ignore-errors
"""The space block: its rules, Optuna's objects made of it, its grid and its baseline."""

import itertools
import math
import tracemalloc

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial
from pydantic import TypeAdapter, ValidationError

from ppo_tune.config.ranges import CategoricalParam, FloatParam, IntParam, Param
from ppo_tune.config.space import Space

law = settings(deadline=None, max_examples=100)

finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | finite | st.text(max_size=3)


def space(**params: dict) -> Space:
    """A space block as it stands in a file."""
    return Space.model_validate(params)


def numeric(low: float, high: float, **rest: object) -> dict:
    """A float parameter as it stands in a file."""
    return {"type": "float", "low": low, "high": high, **rest}


@st.composite
def float_params(draw: st.DrawFn, ends: st.SearchStrategy[float] = finite) -> FloatParam:
    """A legal float with points of a grid."""
    log = draw(st.booleans())
    inside = ends.filter(lambda x: x > 0) if log else ends
    low, high = sorted(draw(st.lists(inside, min_size=2, max_size=2, unique=True)))
    points = draw(st.integers(2, 6) | st.just((low, high)))
    return FloatParam(type="float", low=low, high=high, log=log, points=points)


@st.composite
def int_params(draw: st.DrawFn) -> IntParam:
    """A legal int with few values, or with many."""
    log = draw(st.booleans())
    step = 1 if log else draw(st.integers(1, 10**6))
    low = draw(st.integers(1 if log else -(10**6), 10**6))
    high = low + step * draw(st.integers(1, 6))
    return IntParam(type="int", low=low, high=high, step=step, log=log)


categorical_params = st.lists(anything, min_size=1, max_size=4, unique_by=repr).map(
    lambda choices: CategoricalParam(type="categorical", choices=tuple(choices))
)
params = float_params() | int_params() | categorical_params
spaces = st.dictionaries(st.sampled_from("abc"), params, min_size=1).map(Space)


def is_legal(value: object, param: FloatParam | IntParam | CategoricalParam) -> bool:
    """Whether Optuna's distribution can hold a value, by its public ends, step and choices."""
    distribution = param.distribution()
    if isinstance(distribution, CategoricalDistribution):
        return any(value == choice and type(value) is type(choice) for choice in distribution.choices)
    inside = distribution.low <= value <= distribution.high
    on_a_step = (
        isinstance(distribution, FloatDistribution) or (value - distribution.low) % distribution.step == 0
    )
    return inside and on_a_step


def test_the_file_becomes_optunas_own_objects():
    searched = space(
        learning_rate=numeric(1e-5, 1e-2, log=True),
        gamma=numeric(0.9, 1.0),
        ppo_epochs={"type": "int", "low": 1, "high": 9, "step": 2},
        kl_horizon={"type": "int", "low": 1, "high": 1000, "log": True},
        batch_size={"type": "categorical", "choices": [8, 16]},
    )

    assert searched.distributions() == {
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "gamma": FloatDistribution(0.9, 1.0),
        "ppo_epochs": IntDistribution(1, 9, step=2),
        "kl_horizon": IntDistribution(1, 1000, log=True),
        "batch_size": CategoricalDistribution([8, 16]),
    }


def test_a_space_is_a_mapping_in_the_order_of_the_file():
    searched = space(b=numeric(0, 1), a=numeric(0, 2))

    assert (list(searched), len(searched), searched["a"].high) == (["b", "a"], 2, 2.0)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        pytest.param(
            numeric(1.0, 0.5),
            "`low < high` must hold, but got low=1, high=0.5; a single value belongs in the ppo block",
            id="inverted",
        ),
        pytest.param(
            numeric(1.0, 1.0),
            "`low < high` must hold, but got low=1, high=1; a single value belongs in the ppo block",
            id="equal",
        ),
        pytest.param(
            {"type": "int", "low": 4, "high": 4},
            "`low < high` must hold, but got low=4, high=4; a single value belongs in the ppo block",
            id="equal ints",
        ),
        pytest.param(
            numeric(0.0, 1.0, log=True),
            "`low > 0` must hold with log: true, but got low=0",
            id="log from zero",
        ),
        pytest.param(
            {"type": "int", "low": -1, "high": 4, "log": True},
            "`low > 0` must hold with log: true, but got low=-1",
            id="log from below zero",
        ),
        pytest.param(
            {"type": "float", "low": 0.5},
            "`low` and `high` must be given unless `points` lists the values",
            id="one end",
        ),
        pytest.param(
            {"type": "float", "points": 3},
            "`low` and `high` must be given unless `points` lists the values",
            id="a number of points and no ends",
        ),
        pytest.param(
            {"type": "float", "points": [0.5]},
            "`points` must list at least two different values, but got [0.5]",
            id="one point",
        ),
        pytest.param(
            {"type": "float", "points": []},
            "`points` must list at least two different values, but got []",
            id="no point",
        ),
        pytest.param(
            {"type": "float", "points": [0.5, 0.5, 0.9]},
            "`points` must list at least two different values, but got [0.5, 0.5, 0.9]",
            id="the same point twice",
        ),
        pytest.param(
            numeric(0.5, 0.9, points=[0.5, 1.0]),
            "`low <= points <= high` must hold, but got points=[0.5, 1.0], low=0.5, high=0.9",
            id="a point outside",
        ),
        pytest.param(
            {"type": "float", "points": [0.0, 1.0], "log": True},
            "`low > 0` must hold with log: true, but got low=0",
            id="a log point of zero",
        ),
        pytest.param(
            {"type": "int", "low": 1, "high": 4, "step": 2},
            "`step` must divide `high - low`, but got step=2, low=1, high=4",
            id="a step that misses the end",
        ),
        pytest.param(
            {"type": "int", "low": 1, "high": 5, "step": 2, "log": True},
            "`step = 1` must hold with log: true, but got step=2",
            id="a step on a log scale",
        ),
        pytest.param(
            {"type": "categorical", "choices": [8, 8]},
            "`choices` must differ from one another, but got [8, 8]",
            id="the same choice twice",
        ),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_rule_and_its_value(param, message):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Param).validate_python(param)

    assert [error["msg"].removeprefix("Value error, ") for error in caught.value.errors()] == [message]


@pytest.mark.parametrize(
    "param",
    [
        pytest.param(numeric(-math.inf, 1.0), id="low"),
        pytest.param(numeric(0.0, math.inf), id="high"),
        pytest.param(numeric(math.nan, 1.0), id="nan"),
        pytest.param(numeric(0.0, 1.0, default=math.nan), id="default"),
    ],
)
def test_an_end_that_is_not_finite_is_refused(param):
    with pytest.raises(ValidationError, match="finite"):
        TypeAdapter(Param).validate_python(param)


def test_true_and_1_are_different_choices():
    param = CategoricalParam(type="categorical", choices=(True, 1))

    assert param.grid_values() == (True, 1)


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        pytest.param(numeric(0.0, 1.0, points=5), [0.0, 0.25, 0.5, 0.75, 1.0], id="even"),
        pytest.param(numeric(1e-4, 1e-2, points=3, log=True), [1e-4, 1e-3, 1e-2], id="even on the log scale"),
        pytest.param(
            numeric(0.9, 0.999, points=3, log="complement"), [0.9, 0.99, 0.999], id="even in log of 1 - value"
        ),
        pytest.param({"type": "float", "points": [0.9, 0.5]}, [0.9, 0.5], id="a list, in its order"),
        pytest.param({"type": "int", "low": 2, "high": 8, "step": 3}, [2, 5, 8], id="every step"),
        pytest.param({"type": "categorical", "choices": ["k3", "k1"]}, ["k3", "k1"], id="every choice"),
    ],
)
def test_a_grid_takes_these_values(param, expected):
    cells = list(space(a=param).grid_cells())

    assert [cell["a"] for cell in cells] == pytest.approx(expected)


def test_listed_points_need_no_ends():
    searched = space(a={"type": "float", "points": [0.9, 0.5, 0.7]})

    assert searched.distributions() == {"a": FloatDistribution(0.5, 0.9)}


def test_the_last_name_of_a_grid_varies_fastest():
    searched = space(b={"type": "int", "low": 1, "high": 2}, a={"type": "categorical", "choices": ["x", "y"]})

    assert list(searched.grid_cells()) == [
        {"b": 1, "a": "x"},
        {"b": 1, "a": "y"},
        {"b": 2, "a": "x"},
        {"b": 2, "a": "y"},
    ]


def test_only_floats_can_lack_the_values_of_a_grid():
    searched = space(
        a=numeric(0, 1),
        b=numeric(0, 1, points=2),
        c={"type": "int", "low": 1, "high": 3},
        d=numeric(0, 2),
        e={"type": "categorical", "choices": [1]},
    )

    assert searched.without_grid_values() == ["a", "d"]


@law
@given(spaces)
def test_every_cell_of_a_grid_is_legal(searched):
    cells = list(searched.grid_cells())

    assert all(is_legal(cell[name], searched[name]) for cell in cells for name in searched)


@law
@given(float_params())
def test_the_points_of_a_grid_reach_from_end_to_end(param):
    values = param.grid_values()

    assert (min(values), max(values)) == param.ends


@law
@given(float_params(st.floats(-1e6, 1e6).map(lambda x: round(x, 3))))
def test_the_points_of_a_grid_rise(param):
    values = param.grid_values()

    assert list(values) == sorted(set(values))


@law
@given(spaces)
def test_the_size_of_a_grid_is_the_number_of_its_cells(searched):
    assert searched.grid_size() == len(list(searched.grid_cells()))


def test_a_space_holds_as_many_combinations_as_optuna_can_draw():
    steps, switch = (
        {"type": "int", "low": 2, "high": 8, "step": 3},
        {"type": "categorical", "choices": [True, 1, None]},
    )

    assert space(a=steps, b=switch).size() == 3 * 3
    assert space(a=steps, b=switch, c=numeric(0.0, 1.0, points=2)).size() == math.inf


def test_a_cell_is_known_by_all_its_values():
    grid = space(a=numeric(0.0, 1.0, points=3), b={"type": "categorical", "choices": [True, 2]})

    assert grid.has_cell({"a": 0.5, "b": True})
    assert not grid.has_cell({"a": 0.4, "b": True})
    assert not grid.has_cell({"a": 0.5, "b": 1})


def test_a_grid_of_a_thousand_million_cells_is_counted_and_begun_without_listing_it():
    searched = space(**{f"p{i}": {"type": "int", "low": 1, "high": 10} for i in range(9)})

    size = searched.grid_size()

    assert size == 10**9
    assert list(itertools.islice(searched.grid_cells(), 2))[1]["p8"] == 2


@pytest.mark.parametrize(
    "param",
    [
        pytest.param({"type": "int", "low": 1, "high": 1_000_000}, id="a wide int"),
        pytest.param(numeric(0.0, 1.0, points=1_000_000), id="many points"),
    ],
)
def test_counting_the_cells_of_one_wide_parameter_needs_no_memory(param):
    searched = space(a=param)
    tracemalloc.start()

    size = searched.grid_size()

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 1_000_000
    assert peak < 100_000


@pytest.mark.parametrize(
    ("param", "value", "expected"),
    [
        pytest.param(numeric(0.1, 0.5), 0.3, 0.3, id="inside"),
        pytest.param(numeric(0.1, 0.5), 0.9, 0.5, id="above"),
        pytest.param(numeric(0.1, 0.5), 0.0, 0.1, id="below"),
        pytest.param(numeric(0.1, 0.5), None, 0.1, id="off"),
        pytest.param({"type": "int", "low": 1, "high": 9, "step": 4}, 6, 5, id="nearest step"),
        pytest.param({"type": "int", "low": 1, "high": 9, "step": 4}, 99, 9, id="above the last step"),
        pytest.param({"type": "int", "low": 1, "high": 9}, None, 1, id="no int"),
        pytest.param({"type": "categorical", "choices": [8, 16, 64]}, 32, 16, id="nearest choice"),
        pytest.param({"type": "categorical", "choices": [16, 8]}, 8, 8, id="a choice"),
        pytest.param({"type": "categorical", "choices": ["k3", "k2"]}, "k1", "k3", id="first choice"),
        pytest.param({"type": "categorical", "choices": [None, 2.0]}, None, None, id="off is a choice"),
        pytest.param({"type": "categorical", "choices": [3.0, 2.0]}, None, 3.0, id="off is no choice"),
    ],
)
def test_the_baseline_is_the_legal_value_closest_to_the_default(param, value, expected):
    assert space(a=param).baseline({"a": value}) == {"a": expected}


@pytest.mark.parametrize(
    ("choices", "default", "expected"),
    [
        pytest.param([True, False], 1, True, id="1 is not true"),
        pytest.param([2, 1], True, 2, id="true is not 1"),
        pytest.param([8, 16], 8.0, 8, id="8.0 is not 8"),
    ],
)
def test_the_baseline_has_the_type_of_the_choice(choices, default, expected):
    searched = space(a={"type": "categorical", "choices": choices})

    assert repr(searched.baseline({"a": default})["a"]) == repr(expected)


def test_a_parameters_own_default_comes_before_the_trainers():
    searched = space(a=numeric(0.1, 0.5, default=0.2), b=numeric(0.1, 0.5))

    assert searched.baseline({"a": 0.4, "b": 0.4}) == {"a": 0.2, "b": 0.4}


@law
@given(spaces, anything)
def test_the_baseline_is_legal_whatever_the_default(searched, default):
    baseline = searched.baseline(dict.fromkeys(searched, default))

    assert all(is_legal(baseline[name], searched[name]) for name in searched)


@law
@given(int_params(), st.integers(-(10**7), 10**7))
def test_no_legal_int_is_closer_than_the_nearest(param, value):
    nearest = param.nearest(value)

    assert abs(nearest - value) == min(abs(other - value) for other in param.grid_values())


@law
@given(params)
def test_a_legal_value_is_its_own_nearest(param):
    values = param.grid_values()

    assert [param.nearest(value) for value in values] == list(values)


def test_a_trial_is_suggested_what_it_already_holds():
    held = {"a": 0.25, "b": 6, "c": "y"}
    searched = space(
        a=numeric(0.1, 0.5, log=True),
        b={"type": "int", "low": 2, "high": 8, "step": 2},
        c={"type": "categorical", "choices": ["x", "y"]},
    )

    assert searched.suggest(FixedTrial(held)) == held


def test_a_plain_study_draws_from_the_same_distributions_as_ask():
    searched = space(
        a=numeric(0.1, 0.5, log=True),
        b={"type": "int", "low": 2, "high": 8, "step": 2},
        c={"type": "categorical", "choices": ["x", "y"]},
    )
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()

    searched.suggest(trial)

    assert trial.distributions == searched.distributions()
