"""Which hyperparameters matter for the score, which for failing, and which cannot be told from noise."""

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.analysis.evidence import COLUMNS
from ppo_tune.reporting.analysis.importance import (
    MIN_FAILURES,
    MIN_TRIALS,
    NOISE,
    failing_sample,
    failing_table,
    importance_table,
    score_sample,
    trials_of,
)
from ppo_tune.reporting.chapters.importance import interaction
from ppo_tune.reporting.drawing import BLUE, GREY, RED, layout
from ppo_tune.reporting.record import StudyRecord, role_of, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import DECIMALS, conditions_reading, join
from ppo_tune.search.forecasts import final_scores

TOTAL_EFFECT = (
    "A bar is the share of the variance over the space in which a hyperparameter has a hand, alone or together with "
    "others, so that shares overlap; with its 90 % interval. It stands out where the results are likelier with it than "
    "without by more than noise makes them in at most one study of 20; evidence tells how much, as a power of ten."
)

ALLOWED = (
    "Only configs that the constraints allow count: what they tie to others decides less, for little is open once the "
    "others are known."
)

LEGEND = (
    "A bar is the share of variance that a hyperparameter explains alone (PED-ANOVA), with its 90 % bootstrap "
    "interval. The tick is what noise reaches: if failures were shuffled, a bar would be beyond it in one study of 30."
)

COMPANY = (
    " The sampler moved all values together, so one may stand out only because it went along with another."
)

OWN_DECIMALS = {**dict.fromkeys(COLUMNS, 2), "evidence": 1}
"""Of the columns that no other table has."""


def chapter(record: StudyRecord) -> Chapter:
    """What makes a trial good, what makes it fail, and whether the two that matter most depend on each other."""
    return Chapter("importance", "What mattered", _sections(record), in_summary="reading", is_pictured=True)


def _sections(record: StudyRecord) -> tuple[Section, ...]:
    if not record.trials or len(record.config.space.root) == 1:  # of one, there is no share to compare
        return ()
    scores, failures = importance_table(record), failing_table(record)
    sections = []
    for anchor, title, reading, table, explained in (
        ("importance-score", "For the score within the KL budget", score_reading(record, scores), scores,
         "the score within the KL budget"),
        ("importance-failing", "For failing", failing_reading(record, failures), failures, "failing"),
    ):  # fmt: skip
        figure = importance_figure(table, explained) if len(table) else None
        own = set(table.columns) - DECIMALS.keys()
        decimals = {name: digits for name, digits in OWN_DECIMALS.items() if name in own}
        sections.append(
            Section(anchor, title, reading, figure, table if len(table) else None, decimals=decimals)
        )
    if len(scores) > 1 and scores["clear"].any():
        sample, trials = score_sample(record)
        points = pd.DataFrame(
            {"number": [t.number for t in trials], "role": [role_of(record, t) for t in trials]}
        )
        pair, seed = (scores["name"][0], scores["name"][1]), record.config.search.seed
        sections += interaction.sections(sample, pair, points, seed)
    return tuple(sections)


def score_reading(record: StudyRecord, table: pd.DataFrame) -> str:
    """Of how many scores the model is, and which hyperparameters are more than noise."""
    n = len(final_scores(trials_of(record), len(record.config.milestone_episodes())))
    if table.empty and n >= MIN_TRIALS:
        return "Not enough evidence: no model can be fitted to the results."
    if table.empty:
        return (
            f"Not enough evidence: {n} of {len(record.trials)} trials have a score and passed no limit, and "
            f"{MIN_TRIALS} are needed."
            + (" A grid is read from its cells." if record.config.search.sampler.exhaustive else "")
        )
    learns = record.config.search.sampler.learns_after is not None
    by_company = COMPANY if learns and table["clear"].sum() > 1 else ""
    return (
        f"{clear_reading(table)}{by_company} That is by the model of all results, with {n} scores at full length, "
        "expected ones where a trial did not get there, and with every KL; a config beyond the KL budget counts as the "
        f"lowest score. {TOTAL_EFFECT}{conditions_reading(record.config.space)}"
        + (f" {ALLOWED}" if record.config.constraints else "")
    )


def failing_reading(record: StudyRecord, table: pd.DataFrame) -> str:
    """How many trials failed, and which hyperparameters have to do with it."""
    sample = failing_sample(record)
    n, n_failed = len(sample.target), int(sample.target.sum())
    if n == 0:
        return "No trial has ended yet in a way that could say why trials fail."
    said = f"{n_failed or 'None'} of {n} ended trials diverged or went beyond the KL limit"
    if table.empty:
        needed = f"; not enough evidence to say why: {MIN_FAILURES} that do and {MIN_FAILURES} that do not are needed"
        return said + (needed if n_failed else "") + "."
    return f"{said}. {clear_reading(table)} {LEGEND}{conditions_reading(record.config.space)}"


def clear_reading(table: pd.DataFrame) -> str:
    """Which hyperparameters stand out from noise, with their directions, and which do not."""
    rows = to_records(table)
    clear = [f"{row['name']} ({row['direction'] or 'no direction'})" for row in rows if row["clear"]]
    others = [row["name"] for row in rows if not row["clear"]]
    if not clear:
        return "No hyperparameter is distinguishable from noise."
    words = f"{join(clear)} {'stands' if len(clear) == 1 else 'stand'} out."
    return words + (f" {join(others)} {'is' if len(others) == 1 else 'are'} {NOISE}." if others else "")


def importance_figure(table: pd.DataFrame, explained: str) -> go.Figure:
    """A bar with its interval for each hyperparameter, blue where it stands out, and a tick at what noise reaches.

    A table of evidence has no such tick.

    Args:
        table: Of importances.
        explained: What they explain.
    """
    rows = table.iloc[::-1]
    figure = go.Figure()
    for is_clear, colour, label in ((True, BLUE, "stands out"), (False, GREY, NOISE)):
        part = rows[rows["clear"] == is_clear]
        value, low, high = part["share"], part["low"], part["high"]
        figure.add_bar(
            x=value.round(4), y=part["name"], orientation="h", name=label, showlegend=len(part) > 0, width=0.6,
            marker={"color": colour, "line": {"width": 0}},
            error_x={"array": (high - value).round(4), "arrayminus": (value - low).round(4), "thickness": 2},
            customdata=np.stack([low, high], axis=1).round(3),
            hovertemplate="%{y}: %{x:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})<extra></extra>",
        )  # fmt: skip
    if "noise" in rows:
        figure.add_scatter(
            x=rows["noise"].round(4), y=rows["name"], mode="markers", name="what noise reaches",
            marker={"symbol": "line-ns-open", "color": RED, "size": 22, "line": {"width": 3}},
            hovertemplate="noise reaches %{x:.2f}<extra></extra>",
        )  # fmt: skip
    layout(figure, f"share of the variance of {explained}", None)
    most = float(rows[rows.columns.intersection(["high", "noise"])].to_numpy().max())
    figure.update_xaxes(range=[0, 1.04 * most])
    figure.update_yaxes(categoryorder="array", categoryarray=list(rows["name"]), showgrid=False)
    return figure.update_layout(height=130 + 34 * len(rows), hovermode="closest", barmode="overlay")
