"""The learning curves of all trials: few in colour, the others as one faint line with gaps."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.drawing import BLUE, ENDING_COLOURS, GREY, ROLE_STYLES, SKY, axis_ends, layout
from ppo_tune.reporting.record import StudyRecord, judged, role_of, with_judges
from ppo_tune.reporting.section import Section
from ppo_tune.reporting.wording import label
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.results import ending_of

N_BEST = 5
"""Completed trials that are drawn in full colour besides winner and default."""

RANKS = {"winner": 0, "best so far": 0, "default": 1, "": 2}
"""Which roles come first in a table, and last on a figure."""

COLUMNS = ("number", "role", "ending", "feasible", "episodes", "score", "kl")
"""Of the table of milestones; the judges stand behind the score."""


def curves_section(curves: pd.DataFrame, total_episodes: int) -> Section:
    """The learning curves of all trials that reached a milestone."""
    figure, twin = curves_figure(curves, total_episodes), by_milestone(curves)
    return Section("curves", "Learning curves", curves_reading(curves), figure, twin, all_rows="curves.csv")


def curves_table(record: StudyRecord) -> pd.DataFrame:
    """One row per trial and milestone: number, role, ending, feasible, episodes, score, the judges, kl."""
    feasible = dict(zip(record.table["number"], record.table["feasible"], strict=True))
    rows = [
        {
            "number": trial.number,
            "role": role_of(record, trial),
            "ending": ending_of(trial),
            "feasible": bool(feasible[trial.number]),
            **{name: getattr(point, name) for name in ("episodes", "score", "kl")},
            **judged(record, point),
        }
        for trial in record.trials
        for point in TrialFacts(trial).curve
    ]
    numbers = ["score", *record.judge_columns, "kl"]
    return pd.DataFrame(rows, columns=with_judges(record, COLUMNS)).astype(dict.fromkeys(numbers, float))


def by_milestone(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per trial with its score at each milestone; winner, default, then the best at their last."""
    wide = curves.pivot_table(index="number", columns="episodes", values="score", aggfunc="last")
    wide.columns = pd.Index([f"{episodes:,}" for episodes in wide.columns])
    facts = curves.groupby("number")[["role", "ending"]].first()
    last = curves.groupby("number")["score"].last()
    rank = facts["role"].map(RANKS)
    order = pd.DataFrame({"rank": rank, "last": -last}).sort_values(["rank", "last"]).index
    return facts.join(wide.round(3)).loc[order].reset_index()


def curves_figure(curves: pd.DataFrame, total_episodes: int) -> go.Figure:
    """Score against episodes; those cut short end in a cross, running ones are dotted."""
    figure = go.Figure()
    curves = curves.round({"score": 4})
    best = best_numbers(curves)
    is_marked = (curves["role"] != "") | curves["number"].isin(best)
    for ending, part in curves[~is_marked].groupby("ending"):
        _add_faint(figure, part, str(ending))
    marked = curves[is_marked].groupby("number")
    ordered = sorted(marked, key=lambda item: -RANKS[item[1]["role"].iloc[0]])
    for i, (_, points) in enumerate(ordered):
        _add_marked(figure, points, is_first=i == 0)
    low, high = curve_ends(curves, best)
    margin = 0.05 * ((high - low) or 1.0)
    figure.update_xaxes(range=[0, total_episodes * 1.02])
    figure.update_yaxes(range=[low - margin, high + margin])
    layout(figure, "episodes", "held-out score")
    return figure.update_layout(height=440, hovermode="closest")


def best_numbers(curves: pd.DataFrame) -> list[int]:
    """The best completed trials within the KL budget, by their last score."""
    counted = curves[(curves["ending"] == "completed") & curves["feasible"] & (curves["role"] == "")]
    return list(counted.groupby("number")["score"].last().nlargest(N_BEST).index)


def curve_ends(curves: pd.DataFrame, best: Iterable[int]) -> tuple[float, float]:
    """Ends of the axis of scores, with the coloured curves."""
    is_coloured = (curves["role"] != "") | curves["number"].isin(list(best))
    return axis_ends(curves["score"], curves.loc[is_coloured, "score"])


def _add_faint(figure: go.Figure, part: pd.DataFrame, ending: str) -> None:
    """All curves of one ending as one line with gaps, and a mark where each of them stops early."""
    colour = ENDING_COLOURS.get(ending, GREY)
    ends = part.groupby("number").tail(1)
    gaps = ends.assign(score=np.nan)  # one after each trial
    line = pd.concat([part, gaps]).sort_values("number", kind="stable")
    is_whole, mode = ending == "completed", "lines" if part["number"].duplicated().any() else "markers"
    hover = f"trial %{{customdata}}, {ending}<br>%{{x:,}} episodes, score %{{y:.3f}}<extra></extra>"
    figure.add_scatter(
        x=line["episodes"], y=line["score"], customdata=line["number"], mode=mode, name=label(ending),
        legendgroup=ending, opacity=0.35 if ending == "pruned" or is_whole else 0.6,
        hovertemplate=hover,
        line={"color": SKY if is_whole else colour, "width": 1.25, "dash": "dot" if ending == "running" else "solid"},
    )  # fmt: skip
    if not is_whole:
        symbol = "circle-open" if ending == "running" else "x"
        figure.add_scatter(
            x=ends["episodes"], y=ends["score"], customdata=ends["number"], mode="markers", name=label(ending),
            legendgroup=ending, showlegend=False, opacity=0.6, hovertemplate=hover,
            marker={"color": colour, "symbol": symbol, "size": 6},
        )  # fmt: skip


def _add_marked(figure: go.Figure, points: pd.DataFrame, *, is_first: bool) -> None:
    """The curve of the winner, of the default, or of one of the best."""
    number, role, ending = points[["number", "role", "ending"]].iloc[0]
    colour, symbol = ROLE_STYLES.get(role, (BLUE, "circle"))
    figure.add_scatter(
        x=points["episodes"], y=points["score"], mode="lines+markers", name=role or "best completed",
        legendgroup=role or "best", showlegend=bool(role) or is_first, opacity=1.0 if role else 0.8,
        line={"color": colour, "width": 3 if role else 1.5, "dash": "dot" if ending == "running" else "solid"},
        marker={"symbol": symbol, "size": 8 if role else 4},
        hovertemplate=f"trial {number}, {role or ending}<br>%{{x:,}} episodes, score %{{y:.3f}}<extra></extra>",
    )  # fmt: skip


def curves_reading(curves: pd.DataFrame) -> str:
    """How many curves were cut short, and which are in colour."""
    ends = curves.groupby("number")["ending"].first()
    cut = int((~ends.isin(["completed", "running"])).sum())
    running = int((ends == "running").sum())
    under_way = f", {running:,} still running (dotted)" if running else ""
    best = best_numbers(curves)
    coloured = f" In full colour: winner, default and the {len(best)} best besides them." if best else ""
    low, high = curve_ends(curves, best)
    outside = curves.loc[~curves["score"].between(low, high) & curves["score"].notna(), "number"].nunique()
    beyond = f" {outside} of the curves {'leaves' if outside == 1 else 'leave'} the axis." if outside else ""
    return (
        f"{len(ends):,} trials, {cut:,} of them cut short (ending in a cross){under_way}. All answer the same prompts."
        f"{coloured}{beyond}"
    )
