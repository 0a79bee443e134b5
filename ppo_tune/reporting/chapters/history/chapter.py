"""How the search went: the trials in their order, the best so far, and what the seed alone does to a score."""

import math

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.analysis.fidelity import MIN_TRIALS, fidelity_table
from ppo_tune.reporting.chapters.history.curves import curves_section, curves_table
from ppo_tune.reporting.drawing import (
    ENDING_COLOURS,
    ENDING_SYMBOLS,
    GREEN,
    GREY,
    ORANGE,
    add_roles,
    axis_ends,
    layout,
    left_outside,
)
from ppo_tune.reporting.record import CHOSEN, StudyRecord, chosen_instead, config_scores, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import label
from ppo_tune.search.pruners import first_look
from ppo_tune.search.race import Confirmation
from ppo_tune.search.results import ending_of

BAND = "rgba(0,158,115,0.15)"
"""Green, hardly there."""

FOOT = 0.1
"""How far below the axis of scores the trials without one stand, as a share of it."""

MANY = 200
"""Trials from which on their marks are smaller."""


def chapter(record: StudyRecord) -> Chapter:
    """The optimisation history, the learning curves, and whether short runs predict long ones."""
    history, noise = history_table(record), seed_noise(record.confirmation)
    progress = Section(
        "progress", "Best so far", history_reading(history, noise), history_figure(history, noise), history
    )
    curves = curves_table(record)
    along = (curves_section(curves, record.config.ppo.episodes),) if len(curves) else ()
    return Chapter(
        "search",
        "How the search went",
        (progress, *along, fidelity_section(record)) if len(record.table) else (),
        in_summary="reading",
        is_pictured=True,
    )


def history_table(record: StudyRecord) -> pd.DataFrame:
    """All trials in the order of their numbers, with the best score so far of those that count.

    A trial counts if its config was completed within the KL budget, and by the mean over all trials of the config:
    what a later one tells of the luck of the first is known by now.

    Columns: number, role, ending, score, kl, feasible, best_so_far.
    """
    table = record.table[["number", "role", "ending", "score", "kl", "feasible"]].copy()
    table["best_so_far"] = config_scores(record).cummax().ffill()
    return table


def seed_noise(confirmation: Confirmation | None) -> float | None:
    """The standard deviation of a config's score between seeds, pooled over the confirmed configs; None if unknown.

    From runs that reached their end; each config counts by its seeds less one.
    """
    if confirmation is None:
        return None
    means = [
        [float(run.scores.mean()) for run in candidate.runs if run.completed]
        for candidate in confirmation.candidates
    ]
    groups = [np.array(group) for group in means if len(group) > 1]
    if not groups:
        return None
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return math.sqrt(squares / sum(len(group) - 1 for group in groups))


def history_figure(table: pd.DataFrame, noise: float | None) -> go.Figure:
    """The last score of every trial, the best so far, and the trials without a score at the foot."""
    figure = go.Figure()
    table = table.round({"score": 4, "best_so_far": 4})
    low, high = history_ends(table, noise or 0.0)
    span = (high - low) or 1.0
    table["height"] = table["score"].fillna(low - FOOT * span)
    table["said"] = table["score"].map(
        lambda score: "no score" if math.isnan(score) else f"score {score:.3f}"
    )
    _add_best(figure, table, noise)
    beyond = (table["ending"] == "completed") & ~table["feasible"].astype(bool)
    _add_marks(figure, table[beyond], "beyond KL budget", ORANGE, "circle-open")
    for ending, part in table[~beyond].groupby("ending"):
        symbol = "x" if ending == "pruned" else ENDING_SYMBOLS.get(str(ending), "circle")
        _add_marks(figure, part, label(str(ending)), ENDING_COLOURS.get(str(ending), GREY), symbol)
    figure.update_traces(marker_size=8 if len(table) <= MANY else 5, selector={"mode": "markers"})
    add_roles(figure, table[table["score"].notna()], "number", "score")
    foot = FOOT + 0.05 if table["score"].isna().any() else 0.0
    figure.update_yaxes(range=[low - (foot + 0.05) * span, high + 0.06 * span])
    return layout(figure, "trial", "held-out score")


def history_ends(table: pd.DataFrame, noise: float = 0.0) -> tuple[float, float]:
    """Ends of the axis of scores, with the marked trials, and the best so far with its band."""
    best = table["best_so_far"]
    return axis_ends(
        table["score"], [*table.loc[table["role"] != "", "score"], *(best - noise), *(best + noise)]
    )


def _add_marks(figure: go.Figure, part: pd.DataFrame, name: str, colour: str, symbol: str) -> None:
    if part.empty:
        return
    figure.add_scatter(
        x=part["number"], y=part["height"], customdata=part["said"], mode="markers", name=name,
        opacity=0.5 if name == "pruned" else 0.9,
        marker={"color": colour, "symbol": symbol, "line": {"width": 2 if "open" in symbol else 0}},
        hovertemplate=f"trial %{{x}}, {name}<br>%{{customdata}}<extra></extra>",
    )  # fmt: skip


def _add_best(figure: go.Figure, table: pd.DataFrame, noise: float | None) -> None:
    """The best so far as steps, with a band as wide as the seed's noise where that is known."""
    known = table[table["best_so_far"].notna()]
    if known.empty:
        return
    is_step = known["best_so_far"].diff().ne(0)
    is_step.iloc[-1] = True
    steps = known[is_step]
    line = {"shape": "hv", "width": 0}
    if noise is not None:
        for sign, fill in ((-1, "none"), (1, "tonexty")):
            figure.add_scatter(
                x=steps["number"], y=(steps["best_so_far"] + sign * noise).round(4), mode="lines", line=line,
                name="± seed noise", showlegend=sign == 1, fill=fill, fillcolor=BAND, hoverinfo="skip",
            )  # fmt: skip
    figure.add_scatter(
        x=steps["number"], y=steps["best_so_far"], mode="lines", name="best so far", hoverinfo="skip",
        line={"color": GREEN, "shape": "hv", "width": 2},
    )  # fmt: skip


def history_reading(table: pd.DataFrame, noise: float | None) -> str:
    """When the best came, what the seed alone does, and what the axis leaves out."""
    counted = [row for row in to_records(table) if row["ending"] == "completed"]
    if not counted:
        return "No trial has been completed yet."
    score = table["best_so_far"].max()
    if math.isnan(score):
        return f"None of the trials that were completed ({len(counted):,}) is within the KL budget."
    best = to_records(table[table["best_so_far"] == score])[0]
    mean = "" if best["score"] == best["best_so_far"] else ", the mean over all trials of its config"
    parts = [
        f"{len(counted):,} of {len(table):,} trials were completed; the best within the KL budget is trial "
        f"{best['number']} with {score:.3f}{mean}. A trial that ended early stands at its last score"
        f"{', one without a score at the foot' if table['score'].isna().any() else ''}."
    ]
    parts += [
        chosen_instead(row["role"], row["number"])
        for row in counted
        if row["role"] in CHOSEN and row["number"] != best["number"]
    ]
    if noise is not None:
        parts.append(
            f"On fresh seeds one config's score varies by {noise:.3f} (one standard deviation, the band): a smaller "
            "lead is no lead."
        )
    outside = int((~table["score"].dropna().between(*history_ends(table, noise or 0.0))).sum())
    return " ".join(parts) + left_outside(outside)


def fidelity_section(record: StudyRecord) -> Section:
    """Rank agreement with the end at the pruner's first look, in words."""
    reading = fidelity_reading(fidelity_table(record), record)
    return Section("fidelity", "Do short runs predict long ones?", reading)


def fidelity_reading(table: pd.DataFrame, record: StudyRecord) -> str:
    """Whether the order at the pruner's first look predicts the end, how sure that is, and what it leaves out."""
    marks = record.config.milestone_episodes()
    look = marks[first_look(len(marks)) - 1]
    reached = sum(ending_of(t) == "completed" for t in record.trials)
    if len(marks) < 2:
        return "Trials are scored only at their end (search.milestones is 1): nothing says what shorter ones are worth."
    if table.empty:
        return (f"Not enough trials to say whether short runs predict long ones: {MIN_TRIALS} must reach the end, and "
                f"{reached} of {len(record.trials)} did.")  # fmt: skip
    row = next(row for row in to_records(table) if row["episodes"] == look)
    place = f"After {look:,} of {marks[-1]:,} episodes ({100 * row['share']:.0f} %)"
    if row["tau"] is None:
        return f"{place} all {row['trials']} trials that reached the end had the same score: no order to compare."
    interval = (
        "no interval, for every pair agrees" if row["low"] is None
        else f"95 % interval {row['low']:+.2f} to {row['high']:+.2f}"
    )  # fmt: skip
    return (
        f"{place} the trial ahead of another was ahead at the end in {100 * row['same_order']:.0f} % of pairs; chance "
        f"gives 50 % (rank agreement τ {row['tau']:+.2f}, {interval}, {row['trials']} trials). "
        f"{_worth(row['tau'], row['low'])} The best at the end was {_ordinal(row['best_stood'])} of "
        f"{row['trials']} then.{_selection(record, row['trials'])}"
    )


def _worth(tau: float, low: float | None) -> str:
    """What the agreement is good for."""
    sure = tau if low is None else low
    if sure > 0.5:
        return "Short runs predict long ones here."
    if sure > 0:
        return "Short runs tell something about long ones here, but not their whole order."
    return "That cannot be told from chance: early scores may mislead the pruner (search.pruner none lets all run)."


def _selection(record: StudyRecord, reached: int) -> str:
    """That only those who reached the end are counted, and what that does."""
    endings = [ending_of(trial) for trial in record.trials]
    if reached == len(endings):
        return ""
    counted = f" Only the {reached} of {len(endings)} trials that reached the end are counted"
    if "pruned" not in endings:
        return f"{counted}."
    return f"{counted}; chosen by early scores, they are more alike than all trials were, which lowers the agreement."


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
