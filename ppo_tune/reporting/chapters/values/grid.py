"""A grid search: its cells, and what each value came to on average over them."""

import pandas as pd

from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Section
from ppo_tune.reporting.wording import cell
from ppo_tune.search.results import repeated_cells, repeats_reading


def sections(record: StudyRecord) -> list[Section]:
    """The cells and the means by value; nothing for another sampler or before a cell has a score."""
    if not record.config.search.sampler.exhaustive or not record.trials:
        return []
    cells = cells_table(record)
    if cells.empty:
        return []
    return [
        Section(
            "cells",
            "Cells of the grid",
            cells_reading(record, cells),
            table=cells,
            decimals=record.judge_decimals(cells),
        ),
        Section(
            "marginals",
            "Each value over the others",
            "Means over the cells that have a value; a value that is tried in fewer cells is less sure.",
            table=marginals_table(record, cells),
        ),
    ]


def cells_table(record: StudyRecord) -> pd.DataFrame:
    """One row per cell with a completed trial, best within the KL budget first.

    Columns: the hyperparameters, then trials, score, the judges, kl, feasible; means over the trials of a cell, which
    is feasible if all its trials are.
    """
    names = list(record.config.space)
    completed = record.table[record.table["ending"] == "completed"]
    completed = completed.assign(**{name: completed[name].map(cell) for name in names})
    groups = completed.groupby(names, sort=False)
    cells = groups.agg(
        trials=("number", "size"),
        score=("score", "mean"),
        **{name: (name, "mean") for name in record.judge_columns},
        kl=("kl", "mean"),
        feasible=("feasible", "all"),
    ).reset_index()
    return cells.sort_values(["feasible", "score"], ascending=False, ignore_index=True)


def marginals_table(record: StudyRecord, cells: pd.DataFrame) -> pd.DataFrame:
    """One row per value of each hyperparameter: name, value, cells, score and kl (means over cells), feasible."""
    rows = [
        (name, value, len(part), part["score"].mean(), part["kl"].mean(), int(part["feasible"].sum()))
        for name in record.config.space
        for value, part in cells.groupby(name, sort=True)
    ]
    return pd.DataFrame(rows, columns=["name", "value", "cells", "score", "kl", "feasible_cells"])


def cells_reading(record: StudyRecord, cells: pd.DataFrame) -> str:
    """How many cells were tried, and whether trials repeat them."""
    n_cells = sum(1 for _ in record.config.space.grid_cells())
    within = int(cells["feasible"].sum())
    words = f"{len(cells)} of {n_cells} cells have a completed trial, {within} of them within the KL budget."
    repeats = repeated_cells(record.config, record.trials)
    more = f" {repeats_reading(repeats)}." if repeats else ""
    return f"{words}{more} The default config is counted with the cell whose values it has."
