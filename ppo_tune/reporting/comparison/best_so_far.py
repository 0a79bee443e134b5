"""How fast studies got where they are: the best so far against what had been spent."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.reporting.analysis.spend import busy_seconds, spend_table
from ppo_tune.reporting.comparison import standing
from ppo_tune.reporting.comparison.comparability import Contender, groups, obstacles
from ppo_tune.reporting.drawing import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, layout
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Section
from ppo_tune.reporting.wording import join
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.results import TriedConfig

Axis = Literal["episodes", "seconds"]
AXES: tuple[Axis, ...] = ("episodes", "seconds")

EPISODES = "Episodes are those of all trials up to then, pruned ones included. "
SECONDS = (
    "By the clock, while at least one trial ran: pauses between two sessions are left out, trials side by side count "
    "once. More workers or a faster machine make a line shorter, not a search better."
)

STYLES = tuple(zip(
    (BLUE, RED, GREEN, ORANGE, PURPLE, SKY), ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot"),
    strict=True,
))  # fmt: skip
"""Colour and dash of the first, second, third … way of searching; both say the same."""

ALL_ROWS = "progress.csv"
"""The file beside the page that has the whole table of progress."""


def sections(contenders: Sequence[Contender], progress: pd.DataFrame) -> list[Section]:
    """Best so far against episodes and against seconds, and who reached which score first."""
    if progress.empty:
        return []
    shared = not obstacles(contenders)
    found = [_against(axis, contenders, progress, shared=shared) for axis in AXES]
    levels = standing.reach_table(progress) if shared else pd.DataFrame()
    if len(levels):
        words = standing.reach_words(levels)
        found.append(
            Section("reached", "Who reached which score", standing.reach_reading(levels), table=words)
        )
    return found


def _against(axis: Axis, contenders: Sequence[Contender], progress: pd.DataFrame, *, shared: bool) -> Section:
    lines = lines_table(progress, contenders, axis, "best_so_far" if shared else "gain")
    return Section(
        f"against-{axis}",
        f"Against {axis}",
        EPISODES + lines_reading(contenders, progress, shared=shared) if axis == "episodes" else SECONDS,
        lines_figure(lines, axis, styles(contenders), shared=shared) if len(lines) else None,
        progress,
        all_rows=ALL_ROWS,
    )


def progress_table(contenders: Sequence[Contender]) -> pd.DataFrame:
    """Every trial that ended, with what its study had spent and reached by then.

    Spent is what all trials of the study used that ended no later, pruned ones and those that were cut off from
    outside included. Seconds are those in which at least one trial ran: a pause between two sessions does not
    count, and trials side by side count once. The best so far is that of the completed trials within the KL
    budget: the smallest of all studies where scores are compared, else each study's own.

    Columns: study, trial, ending, episodes, seconds, score, counts (whether the trial may be the best), best_so_far,
    gain (of the best so far over the study's own default; missing where the default was not completed).
    """
    budgets = [contender.config.search.kl_budget for contender in contenders]
    allowed = math.inf if obstacles(contenders) else min(budgets)
    parts = [_progress(contender, allowed) for contender in contenders]
    return pd.concat(parts, ignore_index=True)


def _progress(contender: Contender, budget: float) -> pd.DataFrame:
    trials = ended_trials(contender.record)
    spend = spend_table(contender.record).set_index("number").loc[[trial.number for trial in trials]]
    points = [TrialFacts(trial).last for trial in trials]
    configs = contender.record.configs
    within = {n for n, config in configs.items() if _counts(config, budget)}
    counts = [trial.number in within for trial in trials]
    config = pd.Series([configs[n].first.number if n in within else None for n in spend.index], dtype=float)
    starts = np.array([t.datetime_start.timestamp() if t.datetime_start else 0.0 for t in trials])
    frame = pd.DataFrame({
        "study": contender.label,
        "trial": spend.index,
        "ending": spend["ending"].to_numpy(),
        "episodes": spend["episodes"].to_numpy().cumsum(),
        "seconds": busy_seconds(starts, starts + spend["seconds"].to_numpy()).round(1),
        "score": pd.Series([point and point.score for point in points], dtype=float),
        "counts": pd.Series(counts, dtype=bool),
    })  # fmt: skip
    frame["best_so_far"] = frame["score"].groupby(config).transform("mean").cummax().ffill()
    frame["gain"] = frame["best_so_far"] - (math.nan if contender.default is None else contender.default)
    return frame.astype({"trial": int, "episodes": int, "seconds": float})


def ended_trials(record: StudyRecord) -> list[FrozenTrial]:
    """All trials that ended, lost ones too, in the order in which they did."""
    ended = [trial for trial in (*record.trials, *record.lost) if trial.datetime_complete is not None]
    return sorted(ended, key=lambda trial: (trial.datetime_complete, trial.number))


def _counts(config: TriedConfig, budget: float) -> bool:
    """Whether a completed config may be the best: within its own study's KL budget and within this one."""
    return config.is_feasible and (config.kl is None or config.kl <= budget)


def styles(contenders: Sequence[Contender]) -> dict[str, tuple[str, str]]:
    """Colour and dash by label; studies that differ in nothing but the seed have the same as their group."""
    found: dict[str, tuple[str, str]] = {}
    for i, (label, members) in enumerate(groups(contenders).items()):
        found |= dict.fromkeys((label, *(member.label for member in members)), STYLES[i % len(STYLES)])
    return found


def lines_table(
    progress: pd.DataFrame, contenders: Sequence[Contender], axis: Axis, value: str
) -> pd.DataFrame:
    """The line of each group of studies that differ in nothing but the seed.

    Args:
        progress: See `progress_table`.
        contenders: The studies.
        axis: What is spent.
        value: The column to follow: best_so_far or gain.

    Returns:
        Columns study (the group's label), runs, the axis, mean, low and high over its runs. A line begins where
        every run has a best; a run that has ended keeps its best until the last one ends.
    """
    parts = []
    for label, members in groups(contenders).items():
        runs = [progress[progress["study"] == member.label].groupby(axis)[value].last() for member in members]
        together = pd.concat(runs, axis=1).sort_index().ffill().dropna()
        parts.append(pd.DataFrame({
            "study": label, "runs": len(members), axis: together.index, "mean": together.mean(axis=1).to_numpy(),
            "low": together.min(axis=1).to_numpy(), "high": together.max(axis=1).to_numpy(),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def lines_figure(
    lines: pd.DataFrame, axis: Axis, looks: Mapping[str, tuple[str, str]], *, shared: bool
) -> go.Figure:
    """Best so far against what was spent; a band is the range over seeds.

    Args:
        lines: See `lines_table`.
        axis: What is spent.
        looks: See `styles`.
        shared: Whether all lines share one scale; else each has a panel of its own and shows gains.
    """
    labels = list(dict.fromkeys(lines["study"]))
    titles = None if shared else labels
    figure = make_subplots(rows=1 if shared else len(labels), shared_xaxes=True, subplot_titles=titles,
                           vertical_spacing=0.0 if shared else 0.3 / len(labels))  # fmt: skip
    for i, label in enumerate(labels):
        colour, dash = looks[label]
        part = lines[lines["study"] == label].round(4)
        row = 1 if shared else i + 1
        if part["runs"].iloc[0] > 1:
            _add_band(figure, part, axis, colour, row)
        figure.add_scatter(
            x=part[axis], y=part["mean"], mode="lines+markers", name=label, row=row, col=1, showlegend=shared,
            line={"color": colour, "dash": dash, "shape": "hv", "width": 2.5},
            marker={"color": colour, "size": _sizes(part["mean"])},
            hovertemplate=f"{label}<br>%{{x:,.0f}} {axis}: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    layout(figure, None, "best so far, held-out score" if shared else "gain over default")
    figure.update_xaxes(rangemode="tozero")
    figure.update_xaxes(title_text=axis, row=1 if shared else len(labels), col=1)
    figure.update_layout(height=420 if shared else 110 + 200 * len(labels), legend_traceorder="normal")
    return figure


def _add_band(figure: go.Figure, part: pd.DataFrame, axis: Axis, colour: str, row: int) -> None:
    """The range over runs behind a line of means: two invisible steps with the space between them filled."""
    step = {"shape": "hv", "width": 0, "color": colour}
    for bound, fill in (("low", None), ("high", "tonexty")):
        figure.add_scatter(
            x=part[axis], y=part[bound], mode="lines", line=step, fill=fill, fillcolor=f"{colour}33", showlegend=False,
            hoverinfo="skip", row=row, col=1,
        )  # fmt: skip


def _sizes(values: pd.Series) -> list[int]:
    """A mark where the best rose and at the line's end; none elsewhere."""
    rose = (values.diff() != 0).tolist()
    return [7 if up or i == len(rose) - 1 else 0 for i, up in enumerate(rose)]


def lines_reading(contenders: Sequence[Contender], progress: pd.DataFrame, *, shared: bool) -> str:
    """Who stands where at equal spend, or why heights do not compare."""
    if shared:
        return standing.at_equal_spend(contenders, progress)
    missing = [c.label for c in contenders if c.default is None]
    lacks = f" {join(missing)} has no line: its default config was not completed." if missing else ""
    return f"Each panel has a scale of its own, so their heights do not compare.{lacks}"
