"""Colours that can be read, and axes that a few wild values do not flatten."""

import pandas as pd
import pytest
from plotly import graph_objects as go

from ppo_tune.reporting.drawing import (
    DARK,
    ENDING_COLOURS,
    ENDING_SYMBOLS,
    LIGHT,
    ROLE_STYLES,
    axis_ends,
    fences,
    layout,
    left_outside,
    paint,
)
from ppo_tune.search.results import LOST, STATES


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("letters", ["ink", "soft", "accent", "good", "warn"])
@pytest.mark.parametrize("ground", ["paper", "card"])
def test_letters_can_be_read(palette: dict[str, str], letters: str, ground: str) -> None:
    assert contrast(palette[letters], palette[ground]) >= 4.5  # WCAG 2, level AA


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_the_marked_trials_stand_out_from_the_paper(palette: dict[str, str]) -> None:
    assert all(contrast(colour, palette["paper"]) >= 3 for colour, _ in ROLE_STYLES.values())


def test_both_palettes_name_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()


def test_every_ending_has_a_colour_and_a_shape_of_its_own() -> None:
    seen = {*STATES, "running"} - set(LOST)

    assert seen <= ENDING_COLOURS.keys()
    assert seen <= ENDING_SYMBOLS.keys()
    assert len(set(ENDING_SYMBOLS.values())) == len(ENDING_SYMBOLS)


def test_a_wild_value_lies_outside_the_axis() -> None:
    assert fences(pd.Series([0.0, 1.0, 2.0, 3.0, 4.0, -1e6, 1e6])) == (0.0, 4.0)


def test_an_axis_holds_everything_where_nothing_is_wild() -> None:
    # The middle half is 1 to 3, so the fences stand at -5 and 9.
    assert fences(pd.Series([-5.0, 1.0, 2.0, 3.0, 9.0])) == (-5.0, 9.0)


def test_an_axis_of_nothing_has_no_ends() -> None:
    assert fences(pd.Series([float("nan"), float("inf")])) == (-float("inf"), float("inf"))


def test_what_is_marked_is_inside_the_axis_however_wild() -> None:
    values = pd.Series([0.0, 1.0, 2.0, 3.0, 4.0, -1e6, 1e6])

    assert axis_ends(values) == (0.0, 4.0)
    assert axis_ends(values, [1e6, float("nan")]) == (0.0, 1e6)
    assert axis_ends(pd.Series([float("nan")])) == (0.0, 1.0)
    assert axis_ends(pd.Series([float("nan")]), [3.0]) == (3.0, 3.0)


@pytest.mark.parametrize(
    ("n", "words"),
    [(0, ""), (1, " 1 lies outside the axis."), (1234, " 1,234 lie outside the axis.")],
)
def test_what_lies_outside_is_told(n: int, words: str) -> None:
    assert left_outside(n) == words


def test_a_painted_copy_has_its_own_colours_and_the_figure_has_none() -> None:
    figure = layout(go.Figure().add_scatter(x=[1], y=[1]), "x", "y")

    painted = paint(figure, DARK)

    assert painted.layout.font.color == DARK["ink"]
    assert painted.layout.paper_bgcolor == DARK["paper"]
    assert painted.layout.xaxis.gridcolor == DARK["grid"]
    assert figure.layout.font.color is None
