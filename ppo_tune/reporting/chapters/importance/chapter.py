"""Which hyperparameters matter for the score, which for failing, and which cannot be told from noise."""

import numpy as np
import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.reporting.analysis.compared import compared, foresight, when_scored
from ppo_tune.reporting.analysis.evidence import (
    COLUMNS,
)
from ppo_tune.reporting.analysis.importance import (
    MIN_FAILURES,
    MIN_TRIALS,
    NOISE,
    early_sample,
    failing_sample,
    failing_table,
    importance_table,
)
from ppo_tune.reporting.chapters.importance import interaction
from ppo_tune.reporting.drawing import BLUE, GREY, layout
from ppo_tune.reporting.record import StudyRecord, role_of, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import join
from ppo_tune.search.endings import ending_of
from ppo_tune.search.results import is_feasible

LEGEND = (
    "A dot is the share of variance that a hyperparameter explains alone, with its 90 % bootstrap interval. Shaded is "
    "what noise reaches: if scores were shuffled, a dot would be beyond it in one study of 30."
)

COMPANY = (
    " The sampler moved all values together, so one may stand out only because it went along with another."
)

NOISE_COLOUR = "rgba(213, 94, 0, 0.22)"


DECIMALS = dict.fromkeys(COLUMNS, 2)

METHODS = {"ped": "PED-ANOVA", "fanova": "fANOVA"}


def chapter(record: StudyRecord) -> Chapter:
    """What makes a trial good, what makes it fail, and whether the two that matter most depend on each other."""
    return Chapter("importance", "What mattered", _sections(record), in_summary="reading", is_pictured=True)


def _sections(record: StudyRecord) -> tuple[Section, ...]:
    if not record.trials or len(record.config.space.root) == 1:  # of one, there is no share to compare
        return ()
    scores, failures = importance_table(record), failing_table(record)
    sections, when = [], when_scored(record)
    for anchor, title, reading, table, explained in (
        ("importance-score", "For the score", score_reading(record, scores), scores,
         (f"being in<br>the best quarter<br>{when}", f"the score<br>{when}")),
        ("importance-failing", "For failing", failing_reading(record, failures), failures,
         ("failing", "failing,<br>0 or 1")),
    ):  # fmt: skip
        figure = importance_figure(table, *explained) if len(table) else None
        sections.append(
            Section(anchor, title, reading, figure, table if len(table) else None, decimals=DECIMALS)
        )
    if len(scores) > 1 and scores["clear"].any():
        trials = compared(record)[1]
        points = pd.DataFrame(
            {"number": [t.number for t in trials], "role": [role_of(record, t) for t in trials]}
        )
        pair, seed = (scores["name"][0], scores["name"][1]), record.config.search.seed
        sections += interaction.sections(early_sample(record), pair, points, seed)
    return tuple(sections)


def score_reading(record: StudyRecord, table: pd.DataFrame) -> str:
    """How many trials were compared where, and which hyperparameters are more than noise."""
    trials = compared(record)[1]
    if table.empty:
        return (
            f"Not enough evidence: {len(trials)} of {len(record.trials)} trials have a score "
            f"{when_scored(record)}, and {MIN_TRIALS} are needed."
            + (" A grid is read from its cells." if record.config.search.sampler.name == "grid" else "")
        )
    learns = record.config.search.sampler.learns_after is not None
    by_company = COMPANY if learns and table["clear"].sum() > 1 else ""
    pruned = ", pruned ones too" if any(ending_of(trial) == "pruned" for trial in trials) else ""
    failed = sum(not is_feasible(trial) for trial in trials)
    worst = f" {failed} that left the KL budget or diverged count as the worst." if failed else ""
    seen = foresight(record)
    no_direction = "" if seen.tells else " So no direction is read from them."
    caveat = f" {seen.words}{no_direction}" if seen.words else ""
    return (
        f"{len(trials)} trials compared by their scores {when_scored(record)}{pruned}.{worst} {clear_reading(table)}"
        f"{caveat}{by_company} {LEGEND}"
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
    return f"{said}. {clear_reading(table)}"


def clear_reading(table: pd.DataFrame) -> str:
    """Which hyperparameters stand out from noise, with their directions, and which do not."""
    rows = to_records(table)
    clear = [f"{row['name']} ({row['direction'] or 'no direction'})" for row in rows if row["clear"]]
    others = [row["name"] for row in rows if not row["clear"]]
    if not clear:
        return "No hyperparameter is distinguishable from noise."
    words = f"{join(clear)} {'stands' if len(clear) == 1 else 'stand'} out."
    return words + (f" {join(others)} {'is' if len(others) == 1 else 'are'} {NOISE}." if others else "")


def importance_figure(table: pd.DataFrame, marked: str, number: str) -> go.Figure:
    """Both methods side by side: a dot with its interval for each hyperparameter, and what noise reaches.

    Args:
        table: Of importances.
        marked: What PED-ANOVA explains.
        number: What fANOVA explains.
    """
    rows = table.iloc[::-1]
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, (method, title) in enumerate(METHODS.items(), start=1):
        share = next(name for name in COLUMNS if name.startswith(method))
        figure.add_bar(
            x=rows[f"{method}_noise"].round(4), y=rows["name"], orientation="h", width=0.9, showlegend=column == 1,
            name="what noise reaches", marker={"color": NOISE_COLOUR, "line": {"width": 0}},
            hovertemplate="noise reaches %{x:.2f}<extra></extra>", row=1, col=column,
        )  # fmt: skip
        for is_clear, colour, label in ((True, BLUE, "stands out"), (False, GREY, NOISE)):
            part = rows[rows["clear"] == is_clear]
            value, low, high = part[share], part[f"{method}_low"], part[f"{method}_high"]
            figure.add_scatter(
                x=value.round(4), y=part["name"], mode="markers", name=label, legendgroup=label,
                showlegend=column == 1 and len(part) > 0, marker={"color": colour, "size": 10},
                error_x={"array": (high - value).round(4), "arrayminus": (value - low).round(4), "color": colour,
                         "thickness": 2, "width": 4},
                customdata=np.stack([low, high], axis=1).round(3),
                hovertemplate=f"%{{y}}, {title}: %{{x:.2f}} (%{{customdata[0]:.2f}} to %{{customdata[1]:.2f}})"
                              "<extra></extra>",
                row=1, col=column,
            )  # fmt: skip
    layout(figure, None, None)
    for column, (title, what) in enumerate(zip(METHODS.values(), (marked, number), strict=True), start=1):
        figure.update_xaxes(title_text=f"<b>{title}</b><br>variance of<br>{what}", col=column)
    ends = rows[[name for name in COLUMNS if name.endswith(("high", "noise"))]]
    most = float(ends.to_numpy().max())
    figure.update_xaxes(
        range=[0, 1.04 * most], dtick=0.5 if most > 0.6 else 0.25 if most > 0.3 else 0.1, tickangle=0
    )
    figure.update_yaxes(categoryorder="array", categoryarray=list(rows["name"]), showgrid=False)
    return figure.update_layout(
        height=175 + 34 * len(rows), hovermode="closest", barmode="overlay", margin_b=100
    )
