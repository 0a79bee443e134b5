"""Whether the reward was exploited: score against the gold judge."""

import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.drawing import (
    RED,
    SKY,
    add_roles,
    layout,
)
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Chapter, Section


def chapter(record: StudyRecord) -> Chapter:
    """What the gold judge says, where there is one."""
    scored = record.scored
    if scored.empty or not scored["gold"].notna().any():
        return Chapter("hacking", "Is the reward exploited?", ())
    table = scored[["number", "role", "score", "gold", "kl"]]
    section = Section("gold", "Two judges", gold_reading(record.table), gold_figure(scored), table)
    return Chapter("hacking", "Is the reward exploited?", (section,))


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
    add_roles(figure, scored, "score", "gold")
    return layout(figure, "held-out score (what the search compared)", "gold score (never used)")


def gold_reading(trials: pd.DataFrame) -> str:
    """Whether the two judges agree over trials."""
    known = trials[trials["gold"].notna() & trials["score"].notna()]
    if len(known) < 3:
        return "Too few trials have a gold score."
    agreement = known["score"].corr(known["gold"], method="spearman")
    verdict = "agree" if agreement > 0.5 else "disagree" if agreement < 0 else "agree only partly"
    return f"The reward and the gold judge {verdict} about which trials are better (rank correlation {agreement:+.2f})."
