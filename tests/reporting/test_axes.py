"""Values and their places on a line from 0 to 1."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ppo_tune.reporting.axes import Axis

RATE = Axis("learning_rate", FloatDistribution(1e-5, 1e-2, log=True))
GAMMA = Axis("gamma", FloatDistribution(0.95, 1.0))
EPOCHS = Axis("ppo_epochs", IntDistribution(1, 4))
CLIP = Axis("clip_range_value", CategoricalDistribution([None, 0.2, 0.5]))
CLOSE_TO_ONE = Axis("gamma", FloatDistribution(0.9, 0.9999), is_complement=True)
DECADE = Axis("ent_coef", FloatDistribution(0.01, 0.1, log=True))
ONE = Axis("batch_size", CategoricalDistribution([8]))


@pytest.mark.parametrize(
    ("axis", "value", "place"),
    [
        pytest.param(RATE, 1e-5, 0.0, id="lower-end"),
        pytest.param(RATE, 1e-4, 1 / 3, id="a-third-of-the-decades"),
        pytest.param(GAMMA, 0.975, 0.5, id="middle"),
        pytest.param(CLOSE_TO_ONE, 0.99, 1 / 3, id="a-third-of-the-nines"),
        pytest.param(GAMMA, 2.0, 1.0, id="outside-is-the-end"),
        pytest.param(EPOCHS, 2, 1 / 3, id="whole-number"),
        pytest.param(CLIP, None, 0.0, id="none-is-a-choice"),
        pytest.param(CLIP, math.nan, 0.0, id="a-table-keeps-none-as-nan"),
        pytest.param(CLIP, 0.5, 1.0, id="last-choice"),
        pytest.param(ONE, 8, 0.5, id="the-only-choice"),
    ],
)
def test_a_value_has_its_place_on_the_scale_that_was_searched(
    axis: Axis, value: object, place: float
) -> None:
    assert axis.places([value])[0] == pytest.approx(place)


@pytest.mark.parametrize("axis", [RATE, EPOCHS, Axis("batch_size", CategoricalDistribution([8, 16]))])
def test_a_missing_value_has_no_place_and_a_dash(axis: Axis) -> None:
    place = axis.places([None])[0]

    assert math.isnan(place)
    assert axis.text_at(place) == "–"


@given(place=st.floats(0, 1), axis=st.sampled_from([RATE, GAMMA, CLOSE_TO_ONE]))
def test_the_value_at_a_place_stands_there(place: float, axis: Axis) -> None:
    assert axis.places([axis.value_at(place)])[0] == pytest.approx(place, abs=1e-9)


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        pytest.param(RATE, ["1e-05", "0.0001", "0.001", "0.01"], id="powers-of-ten"),
        pytest.param(Axis("x", FloatDistribution(3e-5, 3e-3, log=True)), ["0.0001", "0.001"], id="two-decades"),
        pytest.param(DECADE, ["0.01", "0.02", "0.05", "0.1"], id="one-two-five"),
        pytest.param(Axis("x", FloatDistribution(3.1, 3.2, log=True)), ["3.1", "3.2"], id="no-round-number-inside"),
        pytest.param(CLOSE_TO_ONE, ["0.9", "0.99", "0.999", "0.9999"], id="nines"),
        pytest.param(GAMMA, ["0.96", "0.98", "1"], id="multiples"),
        pytest.param(EPOCHS, ["1", "2", "3", "4"], id="every-value-of-a-few"),
        pytest.param(CLIP, ["None", "0.2", "0.5"], id="every-choice"),
        pytest.param(ONE, ["8"], id="the-only-choice"),
        pytest.param(Axis("x", IntDistribution(0, 100)), ["0", "50", "100"], id="many-whole-numbers"),
    ],
)  # fmt: skip
def test_ticks_are_round_values(axis: Axis, texts: list[str]) -> None:
    places, found = axis.ticks()

    assert found == texts
    assert all(0 <= place <= 1 for place in places)


@given(low=st.floats(-1e6, 1e6), size=st.floats(1e-3, 1e6))
def test_no_axis_has_more_than_a_handful_of_ticks(low: float, size: float) -> None:
    places, texts = Axis("x", FloatDistribution(low, low + size)).ticks()

    assert 1 <= len(places) == len(texts) <= 6


def test_trials_with_the_same_choice_lie_side_by_side_about_it() -> None:
    drawn = CLIP.spread([0.2] * 50, range(50), 0.1)

    assert len(set(drawn)) == 50
    assert np.abs(drawn - 0.5).max() <= 0.05


def test_real_numbers_stand_where_they_are() -> None:
    assert RATE.spread([1e-4], [7], 0.1) == pytest.approx([1 / 3])
