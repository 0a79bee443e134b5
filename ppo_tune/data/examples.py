"""Rows that a model is fitted to: prompts with good responses, and preferences; loads no model."""

from pathlib import Path

from ppo_tune.config.fitting import PairColumns
from ppo_tune.data.prompts import problem_of_column, template_columns
from ppo_tune.data.tables import read_table
from ppo_tune.errors import DataError

PREFERENCE = ("prompt", "chosen", "rejected")
"""Columns of a file of preferences."""


def read_pairs(path: str | Path, columns: PairColumns | None = None) -> list[tuple[str, str]]:
    """Texts given to the model with good responses, for `fit_sft`.

    Args:
        path: A file of one of the `ppo_tune.data.formats.FORMATS`.
        columns: What its columns are called.

    Raises:
        DataError: If the file or one of its rows cannot be used.
        ConfigError: If the template is not one, or names a column that no row has.
    """
    columns = columns or PairColumns()
    rows = read_table(path, [columns.prompt, columns.response]).rows
    known = list(dict.fromkeys(name for row in rows for name in row.columns))
    names = template_columns(columns.template, known, "--template")
    for row in rows:
        for name in names:
            if problem := problem_of_column(row, name, "--template"):
                raise DataError(f"{problem}; mend the row")
    return [
        (
            columns.template.format(**{**row.columns, "prompt": row.columns[columns.prompt]}),
            row.columns[columns.response],
        )
        for row in rows
    ]


def read_preferences(path: str | Path) -> list[tuple[str, str, str]]:
    """Prompts with a chosen and a rejected response each, for `fit_reward`.

    Args:
        path: A file of one of the `ppo_tune.data.formats.FORMATS` with the columns prompt, chosen and rejected.

    Raises:
        DataError: If the file or one of its rows cannot be used.
    """
    rows = read_table(path, PREFERENCE).rows
    return [(row.columns["prompt"], row.columns["chosen"], row.columns["rejected"]) for row in rows]
