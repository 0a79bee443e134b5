"""What page and figures share: the two palettes, marks, margins and the digits that are sent.

Colours of data are those of Okabe and Ito, which colour-blind people can tell apart; a mark's shape says the
same as its colour. Backgrounds, grids and letters are left out of a figure, so that the page decides between
light and dark; `paint` sets them where there is no page.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from plotly import graph_objects as go

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C8C8C",
)  # fmt: skip

LIGHT: Mapping[str, str] = {
    "ink": "#1b2430", "soft": "#566270", "paper": "#ffffff", "card": "#f5f7f9", "line": "#d9e0e7",
    "grid": "#e6ebf0", "accent": "#00639b", "good": "#00785a", "warn": "#a84300",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "ink": "#e6ebf1", "soft": "#9aa7b5", "paper": "#11161c", "card": "#1a212a", "line": "#2f3b48",
    "grid": "#28323d", "accent": "#6bbcec", "good": "#3fc79a", "warn": "#ff9d57",
}  # fmt: skip

ENDING_COLOURS: Mapping[str, str] = {
    "completed": BLUE, "pruned": GREY, "kl_limit": ORANGE, "diverged": RED, "reward_error": PURPLE,
    "out_of_memory": PURPLE, "crashed": PURPLE, "running": SKY,
}  # fmt: skip
ENDING_SYMBOLS: Mapping[str, str] = {
    "completed": "circle", "pruned": "x-thin", "kl_limit": "triangle-up", "diverged": "triangle-down",
    "reward_error": "square", "out_of_memory": "pentagon", "crashed": "hexagram", "running": "circle-open",
}  # fmt: skip
ROLE_STYLES: Mapping[str, tuple[str, str]] = {
    "winner": (GREEN, "star"), "best so far": (GREEN, "star"), "default": (RED, "diamond"),
}  # fmt: skip
"""Colour and symbol of the trial to go on with, by what it is called (see `role_of`), and of the default's."""

FONT = "system-ui, sans-serif"
FENCE = 3.0
"""Interquartile ranges beyond the middle half, from where on a value is left outside the axis (Tukey's "far out")."""


def roles_in(frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """The styles of the roles that trials of a frame have, in their order; the default's always."""
    present = {*frame["role"], "default"}
    return {role: style for role, style in ROLE_STYLES.items() if role in present}


def add_roles(figure: go.Figure, frame: pd.DataFrame, x: str, y: str) -> None:
    """Mark winner and default on top of everything."""
    for role, (colour, symbol) in roles_in(frame).items():
        part = frame[frame["role"] == role]
        figure.add_scatter(
            x=part[x], y=part[y], mode="markers", name=role, showlegend=len(part) > 0,
            marker={"color": colour, "symbol": symbol, "size": 15, "line": {"color": "white", "width": 1}},
            customdata=part["number"], hovertemplate=f"{role}, trial %{{customdata}}<extra></extra>",
        )  # fmt: skip


def layout(figure: go.Figure, x_title: str | None, y_title: str | None) -> go.Figure:
    """What all figures share; colours of text and grid are the page's business."""
    small = {"size": 13}
    figure.update_layout(
        template="none", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", height=400,
        font={"family": FONT, "size": 13}, margin={"l": 60, "r": 20, "t": 20, "b": 55},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0, "font": small,
                "maxheight": 1.0},
        hoverlabel={"align": "left", "font": {"family": FONT, "size": 13}},
    )  # fmt: skip
    figure.update_xaxes(zeroline=False, automargin=True, title_font=small)
    figure.update_yaxes(zeroline=False, automargin=True, title_font=small)
    if x_title is not None:
        figure.update_xaxes(title_text=x_title)
    if y_title is not None:
        figure.update_yaxes(title_text=y_title)
    return figure


def paint(figure: go.Figure, palette: Mapping[str, str]) -> go.Figure:
    """A copy with the colours that the page else gives: letters, paper and grid."""
    painted = go.Figure(figure)
    lines = {"gridcolor": palette["grid"], "linecolor": palette["line"], "tickcolor": palette["line"]}
    painted.update_layout(paper_bgcolor=palette["paper"], font_color=palette["ink"])
    painted.update_xaxes(**lines)
    painted.update_yaxes(**lines)
    return painted


def fences(values: pd.Series) -> tuple[float, float]:
    """The ends of an axis on which a few wild values do not flatten all others; infinite without values.

    Between them lies everything within three interquartile ranges of the middle half.
    """
    known = values[np.isfinite(values)]
    if known.empty:
        return -np.inf, np.inf
    low, high = known.quantile([0.25, 0.75])
    inside = known[known.between(low - FENCE * (high - low), high + FENCE * (high - low))]
    return float(inside.min()), float(inside.max())


def axis_ends(values: pd.Series, marked: Iterable[float] = ()) -> tuple[float, float]:
    """The ends of an axis: a wild value does not flatten the others, and what is marked is always inside.

    Without any value they are 0 and 1.
    """
    low, high = fences(values)
    inside = [value for value in (low, high, *marked) if np.isfinite(value)]
    return (min(inside), max(inside)) if inside else (0.0, 1.0)


def left_outside(n: int, where: str = "the axis") -> str:
    """A sentence that tells of what a figure does not show; nothing if that is nothing."""
    return f" {n:,} {'lies' if n == 1 else 'lie'} outside {where}." if n else ""


def kl_end(kl: pd.Series, marked: Iterable[float] = ()) -> float:
    """The right end of an axis of √KL, in nats: a wild KL does not flatten the others, what is marked is inside."""
    return axis_ends(np.sqrt(kl.clip(lower=0)), roots(marked))[1] ** 2


def kl_ticks(largest: float) -> list[float]:
    """Round numbers of nats from 0 to the largest, far enough from one another on a square-root scale."""
    if not largest > 0:
        return [0.0]
    power = math.floor(math.log10(largest))
    steps = [
        digit * 10.0**exponent for exponent in (power, power - 1, power - 2) for digit in (8, 6, 4, 2, 1)
    ]
    kept: list[float] = []
    for step in steps:
        is_apart = not kept or math.sqrt(kept[-1]) - math.sqrt(step) >= 0.11 * math.sqrt(largest)
        if step <= largest and is_apart and math.sqrt(step) >= 0.11 * math.sqrt(largest):
            kept.append(step)
    return [0.0, *sorted(round(step, 6) for step in kept)]


def scale_kl(figure: go.Figure, largest: float, **place: int) -> None:
    """An axis of √KL whose ticks are nats.

    Args:
        figure: The figure, whose x values are square roots.
        largest: The largest KL in it, in nats.
        place: Row and column of the title, in a figure of several plots.
    """
    largest = largest if largest > 0 else 1.0
    figure.update_xaxes(**tick_texts(kl_ticks(largest)), range=[0, 1.04 * math.sqrt(largest)])
    figure.update_xaxes(title_text="KL, nats per response (√ scale)", **place)


def tick_texts(ticks: list[float]) -> dict[str, list[float] | list[str]]:
    """Settings of an axis or a colour bar of √KL by which its ticks are told in nats."""
    return {"tickvals": roots(ticks), "ticktext": [f"{tick:g}" for tick in ticks]}


def roots(kl: Iterable[float]) -> list[float]:
    """Square roots of KLs; an estimate below 0 counts as 0."""
    return [round(math.sqrt(max(value, 0.0)), 4) for value in kl]
