"""Score against the searched values: one by one, at the edges of their ranges, and in the cells of a grid."""

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.config.scale import short
from ppo_tune.reporting.analysis.edges import BEST, best_values, edges_table
from ppo_tune.reporting.axes import Axis, axes_of
from ppo_tune.reporting.drawing import (
    ENDING_COLOURS,
    ENDING_SYMBOLS,
    GREY,
    ROLE_STYLES,
    axis_ends,
    layout,
    roles_in,
)
from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import cell, conditions_reading, join
from ppo_tune.search.results import repeated_cells, repeats_reading

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
    reading = f"{edges} {slices_reading(shown, len(begun))}{conditions_reading(record.config.space)}"
    figure = slices_figure(shown, axes_of(record.config.space), resting(record))
    slices = Section("slices", "Each hyperparameter by itself", reading, figure, begun[columns], wide=True)
    return (slices, *grid_sections(record))


def resting(record: StudyRecord) -> dict[str, set[int]]:
    """Numbers of the trials in which a hyperparameter is not searched, by its name."""
    return {
        name: {trial.number for trial in record.trials if trial.params and name not in trial.params}
        for name in record.config.space.conditions
    }


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


def slices_figure(
    trials: pd.DataFrame,
    axes: tuple[Axis, ...],
    resting: Mapping[str, Collection[int]] = MappingProxyType({}),
) -> go.Figure:
    """Score against each searched value; one small plot per hyperparameter, shaded outside a range of real numbers.

    Args:
        trials: Rows of the table of trials.
        axes: The hyperparameters.
        resting: Numbers of the trials in which one is not searched, which its plot leaves out.
    """
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
        place = {"row": i // columns + 1, "col": i % columns + 1}
        add_slice(figure, drawn[~drawn["number"].isin(list(resting.get(axis.name, ())))], axis, place)
        at, names = axis.ticks()
        margin_x = SPREAD if axis.n_values else OUTSIDE
        ticks = {"tickvals": at, "ticktext": names, "tickangle": 0, "showgrid": False}
        figure.update_xaxes(title_text=axis.name, range=[-margin_x, 1 + margin_x], **ticks, **place)
    named = set[str]()
    for trace in figure.data:
        trace.showlegend = trace.legendgroup not in named
        named.add(trace.legendgroup)
    layout(figure, None, None)
    figure.update_yaxes(range=[low - 2 * margin, high + 2 * margin])
    figure.update_yaxes(title_text="score", col=1)
    shapes = [shape for i, axis in enumerate(axes) if not axis.n_values for shape in _outside(i)]
    return figure.update_layout(height=90 + 230 * rows, hovermode="closest", shapes=shapes)


def add_slice(figure: go.Figure, trials: pd.DataFrame, axis: Axis, place: dict[str, int]) -> None:
    """One small plot: a trace for each ending, then the marked trials on top.

    Args:
        figure: To be added to.
        trials: With the height at which each is drawn.
        axis: The hyperparameter.
        place: Row and column of the plot.
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
                f"{axis.text_at(at)}<br>" + ("no score" if math.isnan(score) else f"score {score:.3f}")
                for at, score in zip(places, part["score"], strict=True)
            ]
            figure.add_scatter(
                x=x, y=part["height"], mode="markers", name=role or ending.replace("_", " "),
                legendgroup=role or ending,
                opacity=1.0 if role or ending == "completed" else 0.7,
                marker={"color": colour, "symbol": symbol, "size": 14 if role else 7,
                        "line": {"color": "white" if role else colour, "width": 1}},
                customdata=part["number"], text=said,
                hovertemplate=f"trial %{{customdata}}, {ending.replace('_', ' ')}<br>"
                              f"{axis.name} %{{text}}<extra></extra>",
                **place,
            )  # fmt: skip


def _outside(i: int) -> list[dict[str, object]]:
    """Grey to the left and to the right of one range."""
    number = str(i + 1) if i else ""
    return [
        {"type": "rect", "xref": f"x{number}", "yref": f"y{number} domain", "x0": start, "x1": end, "y0": 0, "y1": 1,
         "fillcolor": GREY, "opacity": 0.2, "line": {"width": 0}, "layer": "below"}
        for start, end in ((-OUTSIDE, 0), (1, 1 + OUTSIDE))
    ]  # fmt: skip


def edges_reading(table: pd.DataFrame, n_best: int, best_role: str = "winner") -> str:
    """Which values stand at the edge of their range.

    Args:
        table: See `edges_table`.
        n_best: How many of the best trials there are.
        best_role: What the trial to go on with is called.
    """
    if not n_best:
        return "No trial was completed within the KL budget, so there are no good values to look at."
    if table.empty:
        return (
            f"Neither the {best_role} nor the best trials stand at the edge of a range that could be wider."
        )
    said = [
        f"{row['name']} ({row['end']} end, {short(float(row['limit']))}: {_who(row, best_role)})"
        for row in to_records(table)
    ]
    plural = len(said) > 1
    return (
        f"At the edge of {'their ranges' if plural else 'its range'}: {join(said)}. Better values may lie outside; "
        f"widen {'them' if plural else 'it'} and search again."
    )


def _who(row: Mapping[str, Any], best_role: str) -> str:
    who = [f"the {best_role}"] if row["winner"] else []
    who += (
        [f"{row['near']} of the best {BEST} trials"]
        if row["best"] == BEST and row["near"] > row["winner"]
        else []
    )
    return " and ".join(who)


def grid_sections(record: StudyRecord) -> list[Section]:
    """The cells and the means by value; nothing for another sampler or before a cell has a score."""
    if not record.config.search.sampler.exhaustive or not record.trials:
        return []
    cells = cells_table(record)
    if cells.empty:
        return []
    reading, decimals = cells_reading(record, cells), record.judge_decimals(cells)
    words = "Means over the cells that have a value; a value that is tried in fewer cells is less sure."
    return [
        Section("cells", "Cells of the grid", reading, table=cells, decimals=decimals),
        Section("marginals", "Each value over the others", words, table=marginals_table(record, cells)),
    ]


def cells_table(record: StudyRecord) -> pd.DataFrame:
    """One row per cell with a completed trial, best within the KL budget first.

    Columns: the hyperparameters, then trials, score, the judges, kl, feasible; means over the trials of a cell, which
    is feasible if all its trials are.
    """
    names = list(record.config.space)
    completed = record.table[record.table["ending"] == "completed"]
    completed = completed.assign(**{name: completed[name].map(cell) for name in names})
    groups = completed.groupby(names, sort=False)
    cells = groups.agg(
        trials=("number", "size"),
        score=("score", "mean"),
        **{name: (name, "mean") for name in record.judge_columns},
        kl=("kl", "mean"),
        feasible=("feasible", "all"),
    ).reset_index()
    return cells.sort_values(["feasible", "score"], ascending=False, ignore_index=True)


def marginals_table(record: StudyRecord, cells: pd.DataFrame) -> pd.DataFrame:
    """One row per value of each hyperparameter: name, value, cells, score and kl (means over cells), feasible."""
    rows = [
        (name, value, len(part), part["score"].mean(), part["kl"].mean(), int(part["feasible"].sum()))
        for name in record.config.space
        for value, part in cells.groupby(name, sort=True)
    ]
    return pd.DataFrame(rows, columns=["name", "value", "cells", "score", "kl", "feasible_cells"])


def cells_reading(record: StudyRecord, cells: pd.DataFrame) -> str:
    """How many cells were tried, and whether trials repeat them."""
    n_cells = record.config.grid_size
    within = int(cells["feasible"].sum())
    words = f"{len(cells)} of {n_cells} cells have a completed trial, {within} of them within the KL budget."
    repeats = repeated_cells(record.config, record.trials)
    more = f" {repeats_reading(repeats)}." if repeats else ""
    return f"{words}{more} The default config is counted with the cell whose values it has."
