"""Which columns of a file may hold prompts and good responses, where nobody said so."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo_tune.config.source import WHOLE, Source
from ppo_tune.data.chats import read_chat
from ppo_tune.data.formats import Row, records
from ppo_tune.data.shapes import shape_of
from ppo_tune.data.tables import Remarks, checked_rows
from ppo_tune.errors import DataError

PROMPTS = (
    "prompt", "messages", "conversations", "instruction", "question", "query", "input", "text", "post", "document",
    "article", "dialogue", "source",
)  # fmt: skip
REFERENCES = (
    "reference", "references", "response", "answer", "completion", "output", "target", "summary", "chosen", "ref",
)  # fmt: skip
"""What columns of prompts and of good responses are often called, the likeliest first."""

MOST_ROWS = 2_000
"""Rows that are looked at, the first ones."""


def text_columns(path: Path, source: Source = WHOLE) -> list[str]:
    """The columns of a file that may hold prompts: in every row looked at a text or a list of messages.

    Raises:
        DataError: If the file cannot be read, or has no such column.
    """
    rows = first_rows(path, source)
    names = [name for name in rows[0] if all(_is_prompt(row.get(name)) for row in rows)]
    if not names:
        raise DataError(f"{path}: no column holds text in every row; the first row has {', '.join(rows[0])}")
    return names


def likely(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The column of some that is called as such columns often are; None if none is."""
    return next((name for name in known if name in names), None)


def first_rows(path: Path, source: Source = WHOLE) -> list[Mapping[str, Any]]:
    """The first rows of a file, as what their published shape says if they have one.

    Raises:
        DataError: If there is none.
    """
    found = [*itertools.islice(records(path, PROMPTS[:1], [], source), MOST_ROWS)]
    rows: list[Mapping[str, Any]] = [row.columns for row in found if isinstance(row, Row)]
    if not rows:
        why = next(
            (f"the first cannot be read: {row}" for row in found if isinstance(row, str)), "it has none"
        )
        raise DataError(f"{path}: at least one row is needed, but {why}")
    shape = shape_of(rows[0], {"prompt"})
    if shape is None or "prompt" in rows[0]:
        return rows
    made = checked_rows(path, ["prompt"], chat="prompt", drop_bad_rows=True, source=source, remarks=Remarks())
    return [row.columns for row in itertools.islice(made, MOST_ROWS)]


def _is_prompt(value: Any) -> bool:
    if isinstance(value, list):
        try:
            read_chat(value)
        except ValueError:
            return False
        return True
    return isinstance(value, str) and bool(value.strip())
