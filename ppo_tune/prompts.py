"""Prompts, the split each belongs to, and how a user's file becomes prompts; loads no model."""

import hashlib
import json
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ppo_tune.config import DatasetTaskConfig
from ppo_tune.data import Row, Table, read_table
from ppo_tune.errors import ConfigError, DataError, Problem

Split = Literal["train", "heldout", "confirmation"]


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        text: What the model is given, before any chat template; also what rewards see.
        columns: What else belongs to it, by name; `references` is a list of good responses.
        where: `file:line` it came from, or "".
    """

    text: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


def split_of(prompt: str) -> Split:
    """The split a prompt belongs to by its hash: 80 % train, 10 % held out, 10 % confirmation.

    The same prompt is in the same split whatever else the file holds.
    """
    bucket = hashlib.sha256(prompt.encode()).digest()[0] % 10
    return "train" if bucket < 8 else "heldout" if bucket == 8 else "confirmation"


def read_prompts(config: DatasetTaskConfig) -> tuple[list[Prompt], int]:
    """The different prompts of the file, and how many rows were dropped.

    Rows that agree in everything but the reference are one prompt with several references. A column that
    only some rows have is None for the others.

    Raises:
        DataError: If the file or one of its rows cannot be used.
        ConfigError: If the template is not one, or names a column that no row has.
    """
    needed = [config.prompt, *([config.reference] if config.reference else [])]
    table = read_table(config.path, needed, drop_bad_rows=config.drop_bad_rows)
    columns = list(dict.fromkeys(name for row in table.rows for name in row.columns))
    names = _template_columns(config.template, columns)
    rows = _rows_with(names, table, config)
    prompts: dict[str, Prompt] = {}
    for row in rows:
        others = {name: row.columns.get(name) for name in columns if name != config.reference}
        key = json.dumps(others, sort_keys=True, default=str)
        known = prompts.get(key)
        if known is None:
            text = config.template.format(**{**row.columns, "prompt": row.columns[config.prompt]})
            given = [] if config.reference else others.get("references") or []
            prompts[key] = known = Prompt(text, {**others, "references": given}, row.where)
        if config.reference:
            known.columns["references"].append(row.columns[config.reference])
    return list(prompts.values()), len(table.dropped) + len(table.rows) - len(rows)


def _template_columns(template: str, columns: list[str]) -> list[str]:
    """The columns that a template names, checked against those that the file has."""
    try:
        fields = [(n, spec, how) for _, n, spec, how in string.Formatter().parse(template) if n is not None]
    except ValueError as error:
        what = f"{error}, in {template!r}; double a literal brace"
        raise ConfigError([Problem("task.template", what)]) from None
    for name, spec, how in fields:
        if name not in (*columns, "prompt"):
            what = f"there is no column {name!r} for {template!r}; the file has {', '.join(columns)}"
            raise ConfigError([Problem("task.template", what)])
        if spec or how:
            what = f"a column stands as {{{name}}}, without a format, but got {template!r}"
            raise ConfigError([Problem("task.template", what)])
    return [name for name, _, _ in fields if name != "prompt"]


def _rows_with(names: list[str], table: Table, config: DatasetTaskConfig) -> list[Row]:
    """The rows that have every column of the template."""
    kept = []
    for row in table.rows:
        missing = [name for name in names if name not in row.columns]
        if not missing:
            kept.append(row)
        elif not config.drop_bad_rows:
            raise DataError(
                f"{row.where}: there is no column {missing[0]!r}, which task.template names; mend the row, or "
                "drop such rows with drop_bad_rows: true"
            )
    return kept
