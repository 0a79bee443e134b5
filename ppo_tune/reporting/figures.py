"""Data frames -> plotly figures, one function per question; no number is computed here.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; a mark's shape says the same
as its colour. Backgrounds are left out, so that the page decides between light and dark.
"""

import math
from collections.abc import Mapping

import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.space import CategoricalParam, Space

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C8C8C",
)  # fmt: skip

ENDING_COLOURS: Mapping[str, str] = {
    "completed": BLUE, "pruned": GREY, "kl_limit": ORANGE, "diverged": RED, "reward_error": PURPLE,
    "out_of_memory": PURPLE, "crashed": PURPLE, "running": SKY,
}  # fmt: skip
ROLE_STYLES: Mapping[str, tuple[str, str]] = {"winner": (GREEN, "star"), "default": (RED, "diamond")}


def history_figure(trials: pd.DataFrame, history: pd.DataFrame) -> go.Figure:
    """The last score of every trial, and the best within the budget so far."""
    figure = go.Figure()
    scored = trials[trials["score"].notna()]
    beyond = (scored["ending"] == "completed") & ~scored["feasible"]
    figure.add_scatter(
        x=scored[beyond]["number"], y=scored[beyond]["score"], mode="markers", name="completed beyond the KL budget",
        marker={"color": ORANGE, "size": 9, "symbol": "circle-open", "line": {"width": 2}},
        hovertemplate="trial %{x}, beyond the KL budget<br>score %{y:.3f}<extra></extra>",
    )  # fmt: skip
    for ending, part in scored[~beyond].groupby("ending"):
        figure.add_scatter(
            x=part["number"], y=part["score"], mode="markers", name=str(ending),
            opacity=0.95 if ending == "completed" else 0.5,
            marker={"color": ENDING_COLOURS.get(str(ending), GREY), "size": 9,
                    "symbol": "circle" if ending == "completed" else "x"},
            hovertemplate=f"trial %{{x}}, {ending}<br>score %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=history["number"], y=history["best_so_far"], mode="lines", name="best so far",
        line={"color": GREEN, "shape": "hv", "width": 2}, hoverinfo="skip",
    )  # fmt: skip
    _add_roles(figure, scored, "number", "score")
    return _layout(figure, "trial", "held-out score")


def curves_figure(curves: pd.DataFrame, total_episodes: int) -> go.Figure:
    """Score against episodes of every trial; those cut short end in a cross, running ones are dotted."""
    figure = go.Figure()
    shown: set[str] = set()
    order = {"": 0, "default": 1, "winner": 2}
    trials = sorted(curves.groupby("number"), key=lambda item: order[item[1]["role"].iloc[0]])
    for number, points in trials:
        role, ending = points["role"].iloc[0], points["ending"].iloc[0]
        label = role or ending
        colour = ROLE_STYLES[role][0] if role else ENDING_COLOURS.get(ending, GREY)
        symbols = ["circle"] * (len(points) - 1) + [
            "x" if ending not in ("completed", "running") else "circle"
        ]
        faint = not role and ending == "pruned"
        figure.add_scatter(
            x=points["episodes"], y=points["score"], mode="lines+markers", name=label, legendgroup=label,
            showlegend=label not in shown, opacity=0.45 if faint else 0.9,
            line={"color": colour, "width": 3 if role else 1.5, "dash": "dot" if ending == "running" else "solid"},
            marker={"symbol": symbols, "size": 6}, meta=number,
            hovertemplate=f"trial {number}, {ending}<br>%{{x:,}} episodes, score %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
        shown.add(label)
    figure.update_xaxes(range=[0, total_episodes * 1.02])
    return _layout(figure, "episodes", "held-out score")


def importance_figure(importance: pd.DataFrame) -> go.Figure:
    """Bars of importance, with what pure noise would get as a mark on each."""
    rows = importance.iloc[::-1]
    figure = go.Figure()
    figure.add_bar(
        y=rows["name"], x=rows["importance"], orientation="h", name="importance", showlegend=False,
        marker={"color": [BLUE if clear else GREY for clear in rows["clear"]]},
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        y=rows["name"], x=rows["noise"], mode="markers", name="what chance alone reaches",
        marker={"symbol": "line-ns-open", "size": 22, "color": RED, "line": {"width": 3}},
        hovertemplate="chance alone: %{x:.2f}<extra></extra>",
    )  # fmt: skip
    _layout(figure, "share of the effect", "")
    figure.update_layout(height=110 + 42 * len(rows), hovermode="closest")
    return figure


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
    _layout(figure, None, None)
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
        values = "<br>".join(f"{name} {_short(trial[name])}" for name in axes)
        figure.add_scatter(
            x=list(range(len(axes))), y=[places[name][row] for name in axes], mode="lines+markers",
            line={"color": colour, "width": 4 if role else 1.5}, marker={"size": 7 if role else 4},
            opacity=1.0 if role else 0.08 + 0.8 * share**2, name=role or "trial", showlegend=bool(role),
            hovertemplate=f"trial {trial['number']}, {trial['ending']}<br>{values}<extra></extra>",
        )  # fmt: skip
    _layout(figure, None, None)
    for i, name in enumerate(axes):
        low, high = _ends(scored[name], space, name)
        for y, text in ((-0.07, low), (1.07, high)):
            figure.add_annotation(x=i, y=y, text=text, showarrow=False, font={"size": 11})
    figure.update_xaxes(tickvals=list(range(len(axes))), ticktext=axes, showgrid=True, side="bottom")
    figure.update_yaxes(visible=False, range=[-0.12, 1.12])
    figure.update_layout(height=440, hovermode="closest", margin={"l": 40, "r": 40})
    return figure


def kl_figure(trials: pd.DataFrame, kl_budget: float) -> go.Figure:
    """Score against KL at each trial's last milestone, with the budget drawn."""
    figure = go.Figure()
    scored = trials[trials["score"].notna()]
    for ending, part in scored.groupby("ending"):
        figure.add_scatter(
            x=part["kl"], y=part["score"], mode="markers", name=ending, customdata=part["number"],
            opacity=0.55 if ending == "pruned" else 0.95,
            marker={"color": ENDING_COLOURS.get(str(ending), GREY), "size": 9},
            hovertemplate="trial %{customdata}<br>KL %{x:.2f} nats<br>score %{y:.3f}<extra></extra>",
        )  # fmt: skip
    _add_roles(figure, scored, "kl", "score")
    figure.add_vline(
        x=kl_budget, line={"color": RED, "dash": "dash", "width": 2},
        annotation={"text": "KL budget", "font": {"color": RED}, "yanchor": "top"},
    )  # fmt: skip
    return _layout(figure, "KL, nats per response", "held-out score")


def gold_figure(trials: pd.DataFrame) -> go.Figure:
    """Gold score against score at each trial's last milestone: do the two judges agree?"""
    figure = go.Figure()
    scored = trials[trials["gold"].notna()]
    figure.add_scatter(
        x=scored["score"], y=scored["gold"], mode="markers", name="trials", customdata=scored[["number", "kl"]],
        marker={"color": scored["kl"], "colorscale": [[0, SKY], [1, RED]], "size": 9, "showscale": True,
                "colorbar": {"title": {"text": "KL"}, "thickness": 12}},
        hovertemplate="trial %{customdata[0]}<br>score %{x:.3f}, gold %{y:.3f}<br>KL %{customdata[1]:.2f} nats"
                      "<extra></extra>",
    )  # fmt: skip
    _add_roles(figure, scored, "score", "gold")
    return _layout(figure, "held-out score (what the search compared)", "gold score (never used)")


def endings_figure(endings: pd.DataFrame) -> go.Figure:
    """Seconds spent by ending, as one bar."""
    figure = go.Figure()
    for row in endings.itertuples():
        figure.add_bar(
            y=["seconds"], x=[row.seconds], orientation="h", name=row.ending,
            marker={"color": ENDING_COLOURS.get(str(row.ending), GREY)},
            hovertemplate=f"{row.ending}: {row.trials} trials, {row.seconds:,.0f} s<extra></extra>",
        )  # fmt: skip
    _layout(figure, "worker seconds", "")
    figure.update_layout(barmode="stack", height=150, bargap=0.1, hovermode="closest")
    figure.update_yaxes(showticklabels=False)
    return figure


def _add_roles(figure: go.Figure, frame: pd.DataFrame, x: str, y: str) -> None:
    """Mark winner and default on top of everything."""
    for role, (colour, symbol) in ROLE_STYLES.items():
        part = frame[frame["role"] == role]
        figure.add_scatter(
            x=part[x], y=part[y], mode="markers", name=role,
            marker={"color": colour, "symbol": symbol, "size": 15, "line": {"color": "white", "width": 1}},
            customdata=part["number"], hovertemplate=f"{role}, trial %{{customdata}}<extra></extra>",
        )  # fmt: skip


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
        return _short(values.min()), _short(values.max())
    param = space[name]
    if isinstance(param, CategoricalParam):
        return str(param.choices[0]), str(param.choices[-1])
    low, high = _numeric_ends(space, name)
    return _short(low), _short(high)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _layout(figure: go.Figure, x_title: str | None, y_title: str | None) -> go.Figure:
    """What all figures share; colours of text and grid are the page's business."""
    figure.update_layout(
        template="none", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", height=400,
        font={"family": "system-ui, sans-serif", "size": 13}, margin={"l": 60, "r": 20, "t": 20, "b": 55},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0},
    )  # fmt: skip
    figure.update_xaxes(zeroline=False, automargin=True)
    figure.update_yaxes(zeroline=False, automargin=True)
    if x_title is not None:
        figure.update_xaxes(title_text=x_title)
    if y_title is not None:
        figure.update_yaxes(title_text=y_title)
    return figure
