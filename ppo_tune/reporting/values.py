"""Score against the searched values: one by one, and all together."""

import math

import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.reporting.drawing import (
    ENDING_COLOURS,
    GREY,
    ROLE_STYLES,
    SKY,
    layout,
    short,
)
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.space import CategoricalParam, Space


def chapter(record: StudyRecord) -> Chapter:
    """Slices and parallel coordinates."""
    space = record.config.space
    scored = record.scored
    if scored.empty:
        return Chapter("values", "Good and bad values", ())
    slices = Section(
        "slices",
        "Each hyperparameter by itself",
        slices_reading(at_edge(record)),
        slices_figure(scored, space),
        scored[["number", "role", "ending", "score", *space]],
        wide=True,
    )
    parallel = Section(
        "parallel",
        "All hyperparameters together",
        "A line is a trial; the better its score, the bolder it is.",
        parallel_figure(scored, space),
        wide=True,
    )
    return Chapter("values", "Good and bad values", (slices, parallel))


def at_edge(record: StudyRecord) -> list[str]:
    """Names of the winner's values within 2 % of the end of their range, where the range could be wider."""
    if record.winner is None:
        return []
    found = []
    for name, distribution in record.config.space.distributions().items():
        if isinstance(record.config.space[name], CategoricalParam):
            continue
        value = distribution.to_internal_repr(record.winner.params[name])
        low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
        place = _share(value, low, high, is_log=distribution.log)  # type: ignore[attr-defined]
        is_natural = (value - low < high - value and low in (0, 1)) or (
            value - low > high - value and high in (0, 1)
        )
        if not 0.02 < place < 0.98 and not is_natural:
            found.append(name)
    return found


def _share(value: float, low: float, high: float, *, is_log: bool) -> float:
    if is_log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)


def slices_reading(at_edge: list[str]) -> str:
    """Where the best value stands at the edge of its range."""
    if at_edge:
        return (f"The winner's {' and '.join(at_edge)} stands at the edge of its range: the best may lie outside. "
                "A trial that was pruned is shown with its last score.")  # fmt: skip
    return (
        "No value of the winner stands at the edge of its range. A pruned trial is shown with its last score."
    )


def slices_figure(trials: pd.DataFrame, space: Space) -> go.Figure:
    """Score against each searched value; one small plot per hyperparameter."""
    names = list(space)
    columns = 3 if len(names) > 2 else len(names)
    rows = math.ceil(len(names) / columns)
    figure = make_subplots(rows=rows, cols=columns, shared_yaxes=True, horizontal_spacing=0.04,
                           vertical_spacing=0.38 / rows)  # fmt: skip
    scored = trials[trials["score"].notna()]
    for i, name in enumerate(names):
        row, column = i // columns + 1, i % columns + 1
        for (ending, role), part in scored.groupby(["ending", "role"]):
            colour, symbol = ROLE_STYLES.get(str(role), (ENDING_COLOURS.get(str(ending), GREY), "circle"))
            figure.add_scatter(
                x=_axis_values(part[name], space, name), y=part["score"], mode="markers", name=role or ending,
                legendgroup=role or ending, showlegend=i == 0, row=row, col=column, customdata=part["number"],
                opacity=0.5 if ending == "pruned" and not role else 0.95,
                marker={"color": colour, "symbol": symbol, "size": 13 if role else 7},
                hovertemplate="trial %{customdata}<br>%{x}<br>score %{y:.3f}<extra></extra>",
            )  # fmt: skip
        param = space[name]
        is_log = not isinstance(param, CategoricalParam) and param.log
        kind = "category" if isinstance(param, CategoricalParam) else "log" if is_log else "linear"
        figure.update_xaxes(title_text=name, type=kind, row=row, col=column, nticks=5)
        if is_log:
            figure.update_xaxes(dtick=1, tickformat=".0e", row=row, col=column)
        if kind == "category":
            order = [str(choice) for choice in space[name].choices]  # type: ignore[union-attr]
            figure.update_xaxes(categoryorder="array", categoryarray=order, row=row, col=column)
    layout(figure, None, None)
    figure.update_yaxes(title_text="score", col=1)
    figure.update_layout(height=90 + 250 * rows, hovermode="closest")
    return figure


def parallel_figure(trials: pd.DataFrame, space: Space) -> go.Figure:
    """Each scored trial as a line through its values; better ones are bolder and drawn on top.

    Drawn with ordinary lines: plotly's own parallel coordinates need WebGL, which not every browser has.
    """
    scored = trials[trials["score"].notna()].sort_values(["role", "score"], ignore_index=True)
    ranks = scored["score"].rank(pct=True)
    axes = [*space, "score"]
    figure = go.Figure()
    places = {name: _places(scored[name], space, name) for name in axes}
    for row, trial in enumerate(scored.to_dict("records")):
        role, share = str(trial["role"]), float(ranks[row])
        colour = ROLE_STYLES[role][0] if role else SKY
        values = "<br>".join(f"{name} {short(trial[name])}" for name in axes)
        figure.add_scatter(
            x=list(range(len(axes))), y=[places[name][row] for name in axes], mode="lines+markers",
            line={"color": colour, "width": 4 if role else 1.5}, marker={"size": 7 if role else 4},
            opacity=1.0 if role else 0.08 + 0.8 * share**2, name=role or "trial", showlegend=bool(role),
            hovertemplate=f"trial {trial['number']}, {trial['ending']}<br>{values}<extra></extra>",
        )  # fmt: skip
    layout(figure, None, None)
    for i, name in enumerate(axes):
        low, high = _ends(scored[name], space, name)
        for y, text in ((-0.07, low), (1.07, high)):
            figure.add_annotation(x=i, y=y, text=text, showarrow=False, font={"size": 11})
    figure.update_xaxes(tickvals=list(range(len(axes))), ticktext=axes, showgrid=True, side="bottom")
    figure.update_yaxes(visible=False, range=[-0.12, 1.12])
    figure.update_layout(height=440, hovermode="closest", margin={"l": 40, "r": 40})
    return figure


def _axis_values(values: pd.Series, space: Space, name: str) -> pd.Series:
    return values.map(str) if isinstance(space[name], CategoricalParam) else values


def _places(values: pd.Series, space: Space, name: str) -> list[float]:
    """Where each value stands between the ends of its axis, from 0 to 1."""
    if name in space.root and isinstance(param := space[name], CategoricalParam):
        last = max(len(param.choices) - 1, 1)
        return [param.choices.index(value) / last for value in values]
    numbers = [float(value) for value in values]
    low, high = (min(numbers), max(numbers)) if name == "score" else _numeric_ends(space, name)
    if name in space.root and getattr(space[name], "log", False):
        numbers, low, high = [math.log(n) for n in numbers], math.log(low), math.log(high)
    return [(number - low) / ((high - low) or 1.0) for number in numbers]


def _numeric_ends(space: Space, name: str) -> tuple[float, float]:
    distribution = space[name].distribution()
    return distribution.low, distribution.high  # type: ignore[attr-defined]


def _ends(values: pd.Series, space: Space, name: str) -> tuple[str, str]:
    """What to write at the two ends of an axis."""
    if name == "score":
        return short(values.min()), short(values.max())
    param = space[name]
    if isinstance(param, CategoricalParam):
        return str(param.choices[0]), str(param.choices[-1])
    low, high = _numeric_ends(space, name)
    return short(low), short(high)
