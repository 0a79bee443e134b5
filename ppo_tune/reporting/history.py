"""How the search went: the trials in their order, and the curve of each."""

import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.drawing import ENDING_COLOURS, GREEN, GREY, ORANGE, ROLE_STYLES, add_roles, layout
from ppo_tune.reporting.record import StudyRecord, role_of, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.search.endings import ending_of


def chapter(record: StudyRecord) -> Chapter:
    """The optimisation history and the learning curves."""
    history, curves = history_table(record.table), curves_table(record)
    sections = (
        Section(
            "progress",
            "Best so far",
            history_reading(history),
            history_figure(record.table, history),
            history,
        ),
        Section(
            "curves",
            "Learning curves",
            curves_reading(curves),
            curves_figure(curves, record.config.ppo.episodes) if len(curves) else None,
            curves,
        ),
    )
    return Chapter("search", "How the search went", sections if len(record.table) else ())


def history_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Completed trials in the order of their numbers, with the best feasible score so far."""
    completed = trials[trials["ending"] == "completed"][["number", "role", "score", "kl", "feasible"]].copy()
    completed["best_so_far"] = completed["score"].where(completed["feasible"]).cummax().ffill()
    return completed


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
    add_roles(figure, scored, "number", "score")
    return layout(figure, "trial", "held-out score")


def history_reading(table: pd.DataFrame) -> str:
    """When the best came."""
    if table.empty:
        return "No trial has been completed yet."
    feasible = [row for row in to_records(table) if row["feasible"]]
    if not feasible:
        return "No completed trial is within the KL budget."
    best = max(feasible, key=lambda row: row["score"])
    return (
        f"{len(table)} trials were completed; the best within the KL budget is trial {best['number']} with "
        f"{best['score']:.3f}. A cross is a trial that ended early, at its last score."
    )


def curves_table(record: StudyRecord) -> pd.DataFrame:
    """One row per trial and milestone: number, role, ending, episodes, score, gold, kl."""
    rows = [
        {"number": trial.number, "role": role_of(record, trial), "ending": ending_of(trial), **point}
        for trial in record.trials
        for point in trial.user_attrs.get("curve", [])
    ]
    columns = ["number", "role", "ending", "episodes", "score", "gold", "kl"]
    return pd.DataFrame(rows, columns=columns).astype({"score": float, "gold": float, "kl": float})


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
    return layout(figure, "episodes", "held-out score")


def curves_reading(table: pd.DataFrame) -> str:
    """How many curves were cut short."""
    ends = table.groupby("number")["ending"].first()
    cut = int((~ends.isin(["completed", "running"])).sum())
    running = int((ends == "running").sum())
    under_way = f", {running} still running (dotted)" if running else ""
    return f"{len(ends)} trials, {cut} of them cut short (ending in a cross){under_way}. All answer the same prompts."
