"""What each of several studies found: the hyperparameters that mattered, and the values of its best trial."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.analysis import importance
from ppo_tune.reporting.comparison.beside import best_of
from ppo_tune.reporting.comparison.best_so_far import styles
from ppo_tune.reporting.comparison.comparability import Contender, groups
from ppo_tune.reporting.drawing import layout
from ppo_tune.reporting.record import to_records
from ppo_tune.reporting.section import Section
from ppo_tune.reporting.wording import cell, join
from ppo_tune.search.facts import TrialFacts

PALE = 0.3
"""Opacity of an importance that cannot be told from noise."""


def importances(contenders: Sequence[Contender]) -> Section | None:
    """What mattered in each study; None where no study has enough trials."""
    table = importances_table(contenders)
    if table.empty:
        return None
    reading, largest = importances_reading(contenders, table), table.groupby("name")["importance"].max()
    table = table.sort_values("name", key=lambda names: -names.map(largest), kind="stable", ignore_index=True)
    return Section(
        "importances", "", reading, importances_figure(table, contenders), importances_words(table)
    )


def importances_table(contenders: Sequence[Contender]) -> pd.DataFrame:
    """One row per study and hyperparameter: study, name, importance (its share), clear (whether beyond noise).

    A study without enough trials has none.
    """
    rows = [
        {"study": contender.label, "name": row["name"], "importance": row["share"], "clear": row["clear"]}
        for contender in contenders
        for row in to_records(importance.importance_table(contender.record))
    ]
    return pd.DataFrame(rows, columns=["study", "name", "importance", "clear"])


def importances_words(table: pd.DataFrame) -> pd.DataFrame:
    """Importances with a column per study; in brackets what cannot be told from noise."""
    said = [
        f"{row['importance']:.2f}" if row["clear"] else f"({row['importance']:.2f})"
        for row in to_records(table)
    ]
    names, studies = table["name"].unique(), table["study"].unique()
    wide = (
        table.assign(said=said)
        .pivot(index="name", columns="study", values="said")
        .reindex(index=names, columns=studies)
    )
    return wide.fillna("–").reset_index().rename_axis(columns=None)


def importances_figure(table: pd.DataFrame, contenders: Sequence[Contender]) -> go.Figure:
    """Bars by hyperparameter, one per study; pale where the share cannot be told from noise."""
    figure, looks = go.Figure(), styles(contenders)
    for group, members in groups(contenders).items():
        for i, label in enumerate(member.label for member in members):
            part = table[table["study"] == label]
            opacities = part["clear"].map({True: 1, False: PALE}).tolist()
            figure.add_bar(
                y=part["name"], x=part["importance"].round(4), orientation="h", name=group, legendgroup=group,
                showlegend=i == 0, marker={"color": looks[label][0], "opacity": opacities},
                hovertemplate=f"{label}<br>%{{y}}: %{{x:.2f}}<extra></extra>",
            )  # fmt: skip
    names = list(table["name"].unique())
    layout(figure, "share of the variance of the score within the KL budget", None)
    figure.update_yaxes(categoryorder="array", categoryarray=names, autorange="reversed")
    height = 120 + (26 + 12 * table["study"].nunique()) * len(names)
    figure.update_layout(
        barmode="group", bargap=0.3, bargroupgap=0.12, height=height, legend_traceorder="normal"
    )
    return figure


def importances_reading(contenders: Sequence[Contender], table: pd.DataFrame) -> str:
    """What is clear in which study, and how far importances may be compared."""
    clear, known = table[table["clear"]].groupby("name")["study"].agg(list), set(table["study"])
    named = [f"{name} in {join(clear[name])}" for name in table["name"].unique() if name in clear]
    said = (
        f"Told from noise for the score within the KL budget: {'; '.join(named)}."
        if named
        else "In no study can a hyperparameter be told from noise for the score within the KL budget."
    )
    few = [contender.label for contender in contenders if contender.label not in known]
    too_few = f" {join(few)} has too few trials to say." if few else ""
    spaces = {contender.config.space.model_dump_json() for contender in contenders}
    ranges = (
        " Their ranges differ, and a wider range makes a hyperparameter matter more: compare the order, not the length."
        if len(spaces) > 1
        else ""
    )
    return f"{said} Pale bars could be chance.{too_few}{ranges}"


def best_values(contenders: Sequence[Contender], progress: pd.DataFrame) -> Section | None:
    """The values of each study's best trial; None if no study has one."""
    best = {contender.label: best_of(contender, progress) for contender in contenders}
    if all(trial is None for trial in best.values()):
        return None
    configs = {label: {} if t is None else TrialFacts(t).config for label, t in best.items()}
    table = values_table(contenders, configs)
    reading = "One best trial of each is one draw: a value that does not matter can end up anywhere."
    return Section("best-values", "", reading, table=table)


def values_table(contenders: Sequence[Contender], configs: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per hyperparameter that any study searched: name, default, then a column per study.

    The default is that of the studies' trials 0 where all used the same. A value that a study did not search is
    followed by "(fixed)".
    """
    names = dict.fromkeys(name for contender in contenders for name in contender.config.space)
    rows = []
    for name in names:
        defaults = {repr(value) for c in contenders if (value := c.config.baseline.get(name, ...)) is not ...}
        shared = next((c.config.baseline[name] for c in contenders if name in c.config.baseline), None)
        row = {"name": name, "default": cell(shared) if len(defaults) == 1 else "differs"}
        for contender in contenders:
            known = name in configs[contender.label]
            fixed = "" if name in contender.config.space else " (fixed)"
            row[contender.label] = _value(configs[contender.label][name]) + fixed if known else "–"
        rows.append(row)
    return pd.DataFrame(rows)


def _value(value: Any) -> str:
    return "null" if value is None else cell(value)
