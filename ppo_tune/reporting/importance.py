"""Which hyperparameters mattered, and which cannot be told from noise."""

import numpy as np
import optuna
import pandas as pd
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial
from plotly import graph_objects as go

from ppo_tune.reporting.drawing import BLUE, GREY, RED, layout
from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.search.pruners import first_look

MIN_TRIALS_FOR_IMPORTANCE = 12
"""Below this many comparable trials an importance would be noise."""

SHUFFLES = 40
"""Shuffled studies that show what importance pure noise gets."""

TOP_SHARE = 0.25
"""Importance is that for being among this share of the trials; 0.1 would be 3 trials of 32."""


def chapter(record: StudyRecord) -> Chapter:
    """What decides whether a trial is good."""
    table = importance_table(record)
    section = Section(
        "importance-score",
        "",
        importance_reading(table, len(record.trials)),
        importance_figure(table) if len(table) else None,
        table,
    )
    return Chapter("importance", "What mattered", (section,) if record.trials else ())


def importance_table(record: StudyRecord) -> pd.DataFrame:
    """How much each hyperparameter decides whether a trial is among the best quarter at the first look.

    PED-ANOVA over all trials that reached the pruner's first milestone, pruned ones included, at equal
    episodes. `noise` is the 95th percentile of what the same parameter gets when scores are shuffled among the
    trials: below it, the importance cannot be told from chance.

    Columns: name, importance, noise, clear; sorted, empty when too few trials can be compared.
    """
    look = first_look(len(record.config.milestone_episodes()))
    known = [t for t in record.trials if len(t.user_attrs.get("curve", [])) >= look and t.params]
    columns = ["name", "importance", "noise", "clear"]
    if len(known) < MIN_TRIALS_FOR_IMPORTANCE:
        return pd.DataFrame(columns=columns)
    scores = np.array([t.user_attrs["curve"][look - 1]["score"] for t in known])
    found = _importances(known, scores)
    rng = np.random.default_rng(record.config.search.seed)
    shuffled = [_importances(known, rng.permutation(scores)) for _ in range(SHUFFLES)]
    rows = []
    for name, value in found.items():
        noise = float(np.quantile([chance.get(name, 0.0) for chance in shuffled], 0.95))
        rows.append({"name": name, "importance": value, "noise": noise, "clear": value > noise})
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("importance", ascending=False, ignore_index=True)


def _importances(trials: list[FrozenTrial], scores: np.ndarray) -> dict[str, float]:
    """PED-ANOVA as if every trial had ended with its score."""
    shadow = optuna.create_study(direction="maximize")
    shadow.add_trials(
        [
            optuna.trial.create_trial(params=t.params, distributions=t.distributions, value=float(score))
            for t, score in zip(trials, scores, strict=True)
        ]
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=TOP_SHARE)
    return get_param_importances(shadow, evaluator=evaluator)


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
    layout(figure, "share of the effect", "")
    figure.update_layout(height=110 + 42 * len(rows), hovermode="closest")
    return figure


def importance_reading(table: pd.DataFrame, n_trials: int) -> str:
    """Which parameters matter more than chance."""
    if table.empty:
        return (f"Not enough evidence: {MIN_TRIALS_FOR_IMPORTANCE} trials must reach the first look of the pruner, and "
                f"{n_trials} trials began.")  # fmt: skip
    clear = [f"{row['name']} ({row['importance']:.2f})" for row in to_records(table) if row["clear"]]
    others = int((~table["clear"]).sum())
    if not clear:
        return (
            "No hyperparameter can be told from noise: the bars are no longer than what shuffled scores give."
        )
    rest = f"; the other {others} cannot be told from noise (grey)" if others else ""
    return f"What decides whether a trial is among the best quarter: {', '.join(clear)}{rest}."
