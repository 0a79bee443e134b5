"""Score against the searched values, one by one."""

import math

import numpy as np
import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.reporting.analysis.edges import best_values, edges_table
from ppo_tune.reporting.axes import Axis, axes_of
from ppo_tune.reporting.chapters.values import grid
from ppo_tune.reporting.chapters.values.edges import edges_reading
from ppo_tune.reporting.drawing import (
    ENDING_COLOURS,
    ENDING_SYMBOLS,
    GREY,
    ROLE_STYLES,
    axis_ends,
    layout,
    roles_in,
)
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Chapter, Section

MAX_POINTS = 400
"""Trials in each small plot: the marked ones, the best, and others drawn evenly."""

MARGIN = 0.08
"""Room above and below the scores, and how far below them the bottom line lies, as a share of their range."""

SPREAD = 0.1
"""How far trials with the same choice lie apart, as a share of the width."""

OUTSIDE = 0.06
"""How much of what lies outside a range is drawn, as a share of it."""


def chapter(record: StudyRecord) -> Chapter:
    """Slices, and the cells of a grid."""
    return Chapter(
        "values", "Good and bad values", _sections(record), in_summary="reading", is_pictured=False
    )


def _sections(record: StudyRecord) -> tuple[Section, ...]:
    if record.scored.empty:
        return ()
    columns = ["number", "role", "ending", "score", *record.config.space]
    begun = record.table[
        record.table["number"].isin([trial.number for trial in record.trials if trial.params])
    ]
    shown = some(begun, MAX_POINTS)
    edges = edges_reading(edges_table(record), len(best_values(record)), record.best_role)
    reading = f"{edges} {slices_reading(shown, len(begun))}"
    figure = slices_figure(shown, axes_of(record.config.space))
    slices = Section("slices", "Each hyperparameter by itself", reading, figure, begun[columns], wide=True)
    return (slices, *grid.sections(record))


def some(trials: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many trials: those with a role, the best tenth of what fits, and others drawn evenly."""
    if len(trials) <= most:
        return trials
    first = trials.assign(marked=trials["role"] != "").sort_values(["marked", "score"], ascending=False)
    kept, others = first.head(most // 10), first.iloc[most // 10 :].sort_values("number")
    drawn = np.linspace(0, len(others) - 1, most - len(kept)).astype(int)
    return trials.loc[[*kept.index, *others.index[drawn]]].sort_values("number")


def slices_reading(shown: pd.DataFrame, n: int) -> str:
    """How to read the small plots."""
    words = "A trial that was cut short stands at its last score."
    low, high = score_ends(shown)
    n_low, n_high = int((~(shown["score"] >= low)).sum()), int((shown["score"] > high).sum())
    if n_low:
        words += f" {n_low} on the bottom line have no score, or one far below all others."
    if n_high:
        words += f" {n_high} at the top {'has' if n_high == 1 else 'have'} one far above all others."
    return words + (f" {len(shown)} of {n} trials are drawn." if len(shown) < n else "")


def score_ends(trials: pd.DataFrame) -> tuple[float, float]:
    """Ends of an axis of scores, with the marked trials."""
    return axis_ends(trials["score"], trials.loc[trials["role"] != "", "score"])


def slices_figure(trials: pd.DataFrame, axes: tuple[Axis, ...]) -> go.Figure:
    """Score against each searched value; one small plot per hyperparameter, shaded outside a range of real numbers."""
    columns = min(3, len(axes))
    rows = math.ceil(len(axes) / columns)
    figure = make_subplots(
        rows=rows, cols=columns, shared_yaxes=True, horizontal_spacing=0.04, vertical_spacing=0.3 / rows
    )
    low, high = score_ends(trials)
    margin = MARGIN * ((high - low) or 1.0)
    heights = trials["score"].where(trials["score"] >= low, low - margin).clip(upper=high + margin)
    drawn = trials.assign(height=heights.round(4))
    for i, axis in enumerate(axes):
        cell = {"row": i // columns + 1, "col": i % columns + 1}
        add_slice(figure, drawn, axis, cell)
        at, names = axis.ticks()
        margin_x = SPREAD if axis.n_values else OUTSIDE
        figure.update_xaxes(
            title_text=axis.name,
            tickvals=at,
            ticktext=names,
            showgrid=False,
            tickangle=0,
            range=[-margin_x, 1 + margin_x],
            **cell,
        )
    layout(figure, None, None)
    figure.update_yaxes(range=[low - 2 * margin, high + 2 * margin])
    figure.update_yaxes(title_text="score", col=1)
    shapes = [shape for i, axis in enumerate(axes) if not axis.n_values for shape in _outside(i)]
    return figure.update_layout(height=90 + 230 * rows, hovermode="closest", shapes=shapes)


def add_slice(figure: go.Figure, trials: pd.DataFrame, axis: Axis, cell: dict[str, int]) -> None:
    """One small plot: a trace for each ending, then the marked trials on top.

    Args:
        figure: To be added to.
        trials: With the height at which each is drawn.
        axis: The hyperparameter.
        cell: Row and column of the plot.
    """
    for role in ("", *roles_in(trials)):
        group = trials[trials["role"] == role]
        for ending in sorted(group["ending"].unique(), key="completed".__eq__):
            part = group[group["ending"] == ending]
            plain = ENDING_COLOURS.get(ending, GREY), ENDING_SYMBOLS.get(ending, "circle")
            colour, symbol = ROLE_STYLES.get(role, plain)
            places = axis.places(part[axis.name])
            x = axis.spread(part[axis.name], part["number"], SPREAD).round(4)
            said = [
                f"{axis.text_at(place)}<br>" + ("no score" if math.isnan(score) else f"score {score:.3f}")
                for place, score in zip(places, part["score"], strict=True)
            ]
            figure.add_scatter(
                x=x, y=part["height"], mode="markers", name=role or ending.replace("_", " "),
                legendgroup=role or ending, showlegend=cell == {"row": 1, "col": 1},
                opacity=1.0 if role or ending == "completed" else 0.7,
                marker={"color": colour, "symbol": symbol, "size": 14 if role else 7,
                        "line": {"color": "white" if role else colour, "width": 1}},
                customdata=part["number"], text=said,
                hovertemplate=f"trial %{{customdata}}, {ending.replace('_', ' ')}<br>"
                              f"{axis.name} %{{text}}<extra></extra>",
                **cell,
            )  # fmt: skip


def _outside(i: int) -> list[dict[str, object]]:
    """Grey to the left and to the right of one range."""
    number = str(i + 1) if i else ""
    return [
        {"type": "rect", "xref": f"x{number}", "yref": f"y{number} domain", "x0": start, "x1": end, "y0": 0, "y1": 1,
         "fillcolor": GREY, "opacity": 0.2, "line": {"width": 0}, "layer": "below"}
        for start, end in ((-OUTSIDE, 0), (1, 1 + OUTSIDE))
    ]  # fmt: skip
