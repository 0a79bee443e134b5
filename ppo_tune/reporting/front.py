"""Score against KL: what each nat of distance from the untrained model buys."""

import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.drawing import (
    ENDING_COLOURS,
    GREY,
    RED,
    add_roles,
    layout,
)
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Chapter, Section


def chapter(record: StudyRecord) -> Chapter:
    """Score against KL."""
    scored, budget = record.scored, record.config.search.kl_budget
    if scored.empty:
        return Chapter("front", "Score against KL", ())
    section = Section(
        "front-trials",
        "",
        front_reading(record.table, budget),
        front_figure(scored, budget),
        scored[["number", "role", "ending", "kl", "score"]],
    )
    return Chapter("front", "Score against KL", (section,))


def front_figure(trials: pd.DataFrame, kl_budget: float) -> go.Figure:
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
    add_roles(figure, scored, "kl", "score")
    figure.add_vline(
        x=kl_budget, line={"color": RED, "dash": "dash", "width": 2},
        annotation={"text": "KL budget", "font": {"color": RED}, "yanchor": "top"},
    )  # fmt: skip
    return layout(figure, "KL, nats per response", "held-out score")


def front_reading(trials: pd.DataFrame, budget: float) -> str:
    """How many trials left the budget."""
    beyond = int(((trials["kl"] > budget) | (trials["ending"] == "kl_limit")).sum())
    return (f"A higher score bought with a larger distance from the untrained model may be exploitation. {beyond} of "
            f"{len(trials)} trials went beyond {budget:g} nats.")  # fmt: skip
