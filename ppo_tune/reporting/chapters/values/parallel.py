"""All hyperparameters together: each trial as a line through its values."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.axes import Axis
from ppo_tune.reporting.drawing import BLUE, GREY, axis_ends, layout, roles_in
from ppo_tune.reporting.wording import short

MAX_AXES = 7
"""Hyperparameters that are drawn, the most important ones; the score is one more."""

BEST_SHARE, MIN_BEST, MAX_BEST = 0.1, 3, 40
"""The best trials are bold: so many of all, at least and at most."""

MAX_OTHERS = 200
"""Other trials that are drawn."""

SPREAD = 0.04
"""How far lines through the same choice lie apart, as a share of an axis."""


def parallel_reading(scored: pd.DataFrame, axes: Sequence[Axis], *, by_importance: bool = True) -> str:
    """What lines are drawn.

    Args:
        scored: The trials with a score.
        axes: In the order in which they are drawn.
        by_importance: Whether that is the order of PED-ANOVA; else it is that of the file.
    """
    best, others = best_and_others(scored)
    n_others = len(scored) - len(best)
    drawn = f"{len(others)} of the {n_others} others" if len(others) < n_others else f"the {n_others} others"
    blue = (
        f"the best {len(best)} within the KL budget in blue over {drawn} in grey"
        if len(best)
        else "all in grey, for none was completed within the KL budget"
    )
    n_left = len(axes) - MAX_AXES
    left_out = (
        f" The {n_left} {'least important' if by_importance else 'last'} are left out." if n_left > 0 else ""
    )
    order = "PED-ANOVA" if by_importance else "the study file"
    is_wild = not scored["score"].between(*score_ends(scored)).all()
    wild = "; a score far from all others stands at its end" if is_wild else ""
    return f"A line is a trial: {blue}. Axes stand in the order of {order}, the score at the right{wild}.{left_out}"


def score_ends(trials: pd.DataFrame) -> tuple[float, float]:
    """Ends of an axis of scores, with the marked trials."""
    return axis_ends(trials["score"], trials.loc[trials["role"] != "", "score"])


def best_and_others(scored: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The best tenth of the completed trials within the KL budget, and of all others so many, drawn evenly."""
    good = scored[(scored["ending"] == "completed") & scored["feasible"].astype(bool)]
    n_best = min(max(round(BEST_SHARE * len(good)), MIN_BEST), MAX_BEST)
    best = good.nlargest(n_best, "score")
    others = scored.drop(best.index).sort_values("score")
    drawn = np.linspace(0, len(others) - 1, min(MAX_OTHERS, len(others))).astype(int)
    return best, others.iloc[drawn]


def parallel_figure(scored: pd.DataFrame, axes: Sequence[Axis]) -> go.Figure:
    """Each scored trial as a line through its values; the best ones are bold and drawn on top.

    Drawn with ordinary lines: plotly's own parallel coordinates need WebGL, which not every browser has.
    """
    axes = axes[:MAX_AXES]
    low, high = score_ends(scored)
    best, others = best_and_others(scored)
    figure = go.Figure()
    for part, name, style in (
        (others, "other trials", {"color": GREY, "width": 1}),
        (best, f"best {len(best)}", {"color": BLUE, "width": 2}),
        *((scored[scored["role"] == role], role, {"color": colour, "width": 4})
          for role, (colour, _) in roles_in(scored).items()),
    ):  # fmt: skip
        add_lines(figure, part, axes, (low, high), name, style)
    layout(figure, None, None)
    for i, axis in enumerate(axes):
        for place, text in zip(*(axis.ticks() if axis.choices else _ends(axis)), strict=True):
            _write(figure, i, place, text, is_choice=bool(axis.choices))
    _write(figure, len(axes), 0.0, short(low))
    _write(figure, len(axes), 1.0, short(high))
    names = [axis.name.replace("_", "_<br>") for axis in axes]
    figure.update_xaxes(
        tickvals=list(range(len(names) + 1)), ticktext=[*names, "score"], showgrid=True, gridwidth=2, tickangle=0,
        range=[-0.3, len(names) + 0.4],
    )  # fmt: skip
    figure.update_yaxes(visible=False, range=[-0.14, 1.14])
    return figure.update_layout(height=470, hovermode="closest", margin={"l": 20, "r": 20, "b": 70})


def add_lines(figure: go.Figure, trials: pd.DataFrame, axes: Sequence[Axis], ends: tuple[float, float], name: str,
              line: dict[str, object]) -> None:  # fmt: skip
    """One trace for all lines of a kind, with gaps between them.

    Args:
        figure: To be added to.
        trials: One line each.
        axes: What the lines run through before the score.
        ends: Of the axis of scores.
        name: In the legend.
        line: Colour and width.
    """
    scores = ((trials["score"] - ends[0]) / ((ends[1] - ends[0]) or 1.0)).clip(0, 1)
    heights = [
        *(axis.spread(trials[axis.name], trials["number"], SPREAD) for axis in axes),
        scores.to_numpy(),
    ]
    gaps = np.full(len(trials), np.nan)
    x = np.tile([*range(len(heights)), np.nan], len(trials))
    values = [[axis.text_at(place) for place in axis.places(trials[axis.name])] for axis in axes]
    said = [
        f"trial {number}, {ending.replace('_', ' ')}, score {score:.3f}<br>"
        + "<br>".join(f"{axis.name} {text}" for axis, text in zip(axes, texts, strict=True))
        for number, ending, score, texts in zip(
            trials["number"], trials["ending"], trials["score"], zip(*values, strict=True), strict=True
        )
    ]
    is_faint = line["width"] == 1
    figure.add_scatter(
        x=x, y=np.stack([*heights, gaps], axis=1).ravel().round(3), mode="lines" if is_faint else "lines+markers",
        name=name, line=line, marker={"size": 5}, opacity=0.35 if is_faint else 0.9, showlegend=len(trials) > 0,
        **({"hoverinfo": "skip"} if is_faint else
           {"text": np.repeat(said, len(heights) + 1), "hovertemplate": "%{text}<extra></extra>"}),
    )  # fmt: skip


def _ends(axis: Axis) -> tuple[list[float], list[str]]:
    return [0.0, 1.0], [axis.text_at(0.0), axis.text_at(1.0)]


def _write(figure: go.Figure, x: int, place: float, text: str, *, is_choice: bool = False) -> None:
    """A value beside an axis, or beyond its end."""
    shift = {"xshift": 8, "xanchor": "left"} if is_choice else {"yshift": 14 if place > 0.5 else -14}
    figure.add_annotation(x=x, y=place, text=text, showarrow=False, font={"size": 12}, **shift)
