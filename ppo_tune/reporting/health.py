"""How trials ended, and what that cost."""

import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.drawing import ENDING_COLOURS, GREY, layout
from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.search.endings import STATES


def chapter(record: StudyRecord) -> Chapter:
    """Endings with their cost."""
    table = endings_table(record.table)
    section = Section("cost", "Endings and cost", endings_reading(table), endings_figure(table), table)
    return Chapter("health", "Run health", (section,) if len(record.table) else ())


def endings_table(trials: pd.DataFrame) -> pd.DataFrame:
    """What each ending cost: ending, trials, episodes, tokens, seconds, share (of all seconds)."""
    if trials.empty:
        return pd.DataFrame(columns=["ending", "trials", "episodes", "tokens", "seconds", "share"])
    grouped = trials.groupby("ending", as_index=False).agg(
        trials=("number", "count"),
        episodes=("episodes", "sum"),
        tokens=("tokens", "sum"),
        seconds=("seconds", "sum"),
    )
    order = {name: i for i, name in enumerate([*STATES, "running"])}
    grouped = grouped.sort_values("ending", key=lambda names: names.map(order), ignore_index=True)
    grouped["share"] = grouped["seconds"] / max(grouped["seconds"].sum(), 1e-9)
    return grouped


def endings_figure(endings: pd.DataFrame) -> go.Figure:
    """Seconds spent by ending, as one bar."""
    figure = go.Figure()
    for row in endings.itertuples():
        figure.add_bar(
            y=["seconds"], x=[row.seconds], orientation="h", name=row.ending,
            marker={"color": ENDING_COLOURS.get(str(row.ending), GREY)},
            hovertemplate=f"{row.ending}: {row.trials} trials, {row.seconds:,.0f} s<extra></extra>",
        )  # fmt: skip
    layout(figure, "worker seconds", "")
    figure.update_layout(barmode="stack", height=150, bargap=0.1, hovermode="closest")
    figure.update_yaxes(showticklabels=False)
    return figure


def endings_reading(table: pd.DataFrame) -> str:
    """Where the time went."""
    if table.empty:
        return "No trial has begun."
    trials = {row["ending"]: row["trials"] for row in to_records(table)}
    return (
        f"{sum(trials.values())} trials used {table['episodes'].sum():,.0f} episodes, "
        f"{table['tokens'].sum():,.0f} response tokens and {table['seconds'].sum():,.0f} worker seconds; "
        f"{trials.get('pruned', 0)} were pruned."
    )
