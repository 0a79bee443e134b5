"""Rows that a model is fitted to: prompts with good responses, and preferences; loads no model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from ppo_tune.config.fitting import PairColumns, PreferenceColumns
from ppo_tune.config.source import Source
from ppo_tune.data.chats import Chat
from ppo_tune.data.formats import Row
from ppo_tune.data.prompts import problem_of_column, template_columns
from ppo_tune.data.shapes import CONVERSATIONS
from ppo_tune.data.tables import read_table
from ppo_tune.errors import ConfigError, DataError, Problem
from ppo_tune.plurals import counted

Texts = TypeVar("Texts", bound=tuple[str, ...])


@dataclass(frozen=True)
class Examples(Generic[Texts]):
    """What a file holds to fit a model to.

    Attributes:
        rows: Texts of one example each.
        notes: What may surprise whoever wrote the file; one sentence each.
        places: File and line of each row.
    """

    rows: list[Texts]
    notes: tuple[str, ...]
    places: list[str] = field(default_factory=list)


def read_pairs(path: str | Path, columns: PairColumns | None = None) -> Examples[tuple[str, str]]:
    """Texts given to the model with good responses, for `fit_sft`; of preferences as published the chosen ones.

    Args:
        path: A file of one of the `ppo_tune.data.formats.FORMATS`.
        columns: What its columns are called.

    Raises:
        DataError: If the file or one of its rows cannot be used.
        ConfigError: If the template is not one, or names a column that no row has.
    """
    columns = columns or PairColumns()
    if columns.prompt in CONVERSATIONS:  # which hold the response, too
        columns = columns.model_copy(update={"prompt": "prompt"})
    published = {columns.prompt: "prompt", columns.reference: "response"}
    options = {columns.prompt: "--prompt", columns.reference: "--reference"}
    table = read_table(path, [*published], source=Source.of(columns), published=published, options=options)
    known = list(dict.fromkeys(name for row in table.rows for name in row.columns))
    names = template_columns(columns.template, known, "--template")
    for row in table.rows:
        for name in names:
            if problem := problem_of_column(row, name, "--template"):
                raise DataError(f"{problem}; mend the row")
    prompts = (_prompt_of(row, columns) for row in table.rows)
    rows = [(prompt, row.columns[columns.reference]) for prompt, row in zip(prompts, table.rows, strict=True)]
    return Examples(rows, table.notes, [row.where for row in table.rows])


def _prompt_of(row: Row, columns: PairColumns) -> str:
    """What the model is given of a row.

    Raises:
        ConfigError: If it is a conversation, and there is a template.
    """
    prompt: str = row.columns[columns.prompt]
    if not isinstance(prompt, Chat):
        return columns.template.format(**{**row.columns, "prompt": prompt})
    if columns.template != "{prompt}":
        what = f"{row.where} holds messages, which the model's chat template writes; leave it out"
        raise ConfigError([Problem("--template", what)])
    return prompt


def read_preferences(
    path: str | Path, columns: PreferenceColumns | None = None
) -> Examples[tuple[str, str, str]]:
    """Prompts with a chosen and a rejected response each, for `fit_reward`.

    Args:
        path: A file of one of the `ppo_tune.data.formats.FORMATS`, with these columns or in one of the
            `ppo_tune.data.shapes.SHAPES` as published.
        columns: What its columns are called.

    Raises:
        DataError: If the file or one of its rows cannot be used.
    """
    names = columns or PreferenceColumns()
    published = {names.prompt: "prompt", names.chosen: "chosen", names.rejected: "rejected"}
    options = {names.prompt: "--prompt", names.chosen: "--chosen", names.rejected: "--rejected"}
    table = read_table(path, [*published], source=Source.of(names), published=published, options=options)
    kept = [row for row in table.rows if row.columns[names.chosen] != row.columns[names.rejected]]
    found = (row.columns for row in kept)
    rows = [(row[names.prompt], row[names.chosen], row[names.rejected]) for row in found]
    if not rows:
        raise DataError(
            f"{path}: at least one preference is needed, but in every row both responses are the same"
        )
    same = len(table.rows) - len(rows)
    left_out = (
        (f"{path}: {counted(same, 'row', 'were')} left out: both responses are the same",) if same else ()
    )
    return Examples(rows, (*table.notes, *left_out), [row.where for row in kept])
