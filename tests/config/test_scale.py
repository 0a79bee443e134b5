"""Places of values on the scale of their range, and the digits with which they are written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.config.scale import Log, Scale, short

SCALES = [Scale(0.9, 0.9999, "complement"), Scale(1e-5, 1e-2, True), Scale(-3.0, 7.0)]


@pytest.mark.parametrize(
    ("log", "low", "high", "middle"),
    [(False, 2.0, 8.0, 5.0), (True, 2.0, 8.0, 4.0), ("complement", 0.9, 0.999, 0.99)],
)
def test_the_middle_of_a_range_is_that_of_its_scale(log: Log, low: float, high: float, middle: float) -> None:
    scale = Scale(low, high, log)

    assert scale.values(0.5) == pytest.approx(middle, rel=1e-12)
    assert scale.places(middle) == pytest.approx(0.5, abs=1e-12)


@given(st.sampled_from(SCALES), st.lists(st.floats(0, 1), min_size=1))
def test_places_and_values_are_each_others_inverse_one_by_one_and_together(
    scale: Scale, places: list[float]
) -> None:
    values = scale.values(np.array(places))

    assert scale.places(values) == pytest.approx(places, abs=1e-9)
    assert [scale.values(place) for place in places] == pytest.approx(values.tolist())


@pytest.mark.parametrize("scale", SCALES)
def test_the_ends_stand_at_0_and_1(scale: Scale) -> None:
    assert scale.places(np.array([scale.low, scale.high])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.99987, "0.99987"),
        (0.9996, "0.9996"),
        (0.99960001, "0.9996"),
        (0.9534, "0.953"),
        (0.999999873, "0.99999987"),
        (1.0, "1"),
        (0.9, "0.9"),
        (0.12345, "0.123"),
        (1.23456e-5, "1.23e-05"),
        (16, "16"),
        (None, "None"),
    ],
)
def test_a_value_is_written_with_the_digits_that_matter_also_close_to_1(value: object, text: str) -> None:
    assert short(value) == text


@given(st.floats(0.5, 1 - 1e-12, exclude_max=True))
def test_no_value_below_1_is_written_as_1(value: float) -> None:
    assert float(short(value)) < 1
    assert 1 - float(short(value)) == pytest.approx(1 - value, rel=0.06)
