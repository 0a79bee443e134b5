"""Rows of a file whose columns must hold text; what is wrong with a row is said with file and line."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppo_tune.data.formats import HALF_PAIR, Row, records
from ppo_tune.errors import DataError

NUL = "\x00"
"""What stands in no text, but where a file was torn or is of another code."""

EMPTY_WORDS = frozenset(("nan", "NaN", "NAN", "None", "null", "NULL", "<NA>", "NaT"))
"""What other programs write for an empty cell."""


@dataclass(frozen=True)
class Table:
    """The usable rows of a file.

    Attributes:
        rows: At least one.
        dropped: What was wrong with the others.
        notes: What was read rightly and may still surprise; one sentence each.
    """

    rows: list[Row]
    dropped: list[str]
    notes: tuple[str, ...] = ()


def read_table(path: str | Path, text_columns: Sequence[str], *, drop_bad_rows: bool | None = None) -> Table:
    """Read a file and check the columns that must hold text.

    Args:
        path: A file of one of the `ppo_tune.data.formats.FORMATS`.
        text_columns: Columns that every row must have, as non-empty text.
        drop_bad_rows: Drop and count rows that cannot be used, instead of stopping at the first; None where the user
            has no such choice, and is offered none.

    Returns:
        At least one row.

    Raises:
        DataError: If the file is missing, has another format or no usable row, or a row is bad and
            `drop_bad_rows` is not set.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    rows: list[Row] = []
    dropped: list[str] = []
    notes: list[str] = []
    for row in records(path, text_columns, notes):
        problem = row if isinstance(row, str) else _problem(row, text_columns)
        if problem is None:
            assert isinstance(row, Row)
            rows.append(row)
        elif drop_bad_rows:
            dropped.append(problem)
        else:
            offered = "" if drop_bad_rows is None else ", or drop such rows with drop_bad_rows: true"
            raise DataError(f"{problem}; mend the row{offered}")
    if not rows:
        why = (
            f"all {len(dropped)} rows were dropped, the first because {dropped[0]}"
            if dropped
            else "it is empty"
        )
        raise DataError(f"{path}: at least one row is needed, but {why}")
    return Table(rows, dropped, (*notes, *_empty_words(path, rows, text_columns)))


def _empty_words(path: Path, rows: Iterable[Row], text_columns: Sequence[str]) -> Iterator[str]:
    """A note for every text that is probably another program's empty cell."""
    found = Counter((name, row.columns[name].strip()) for row in rows for name in dict.fromkeys(text_columns))
    for (name, text), n in found.items():
        if text in EMPTY_WORDS:
            yield f"{path}: column {name!r} holds the text {text!r} in {n} rows; was the cell empty?"


def _problem(row: Row, text_columns: Sequence[str]) -> str | None:
    for name in text_columns:
        if name not in row.columns:
            found = ", ".join(map(str, row.columns))
            return f"{row.where}: there is no column {name!r}; the row has {found}"
        value = row.columns[name]
        if not isinstance(value, str) or not value.strip() or HALF_PAIR.search(value):
            return f"{row.where}: column {name!r} must hold text, but got {value!r}"
        if NUL in value:
            return f"{row.where}: column {name!r} must hold text without NUL bytes, but got {value!r}"
    return None
