"""Rows of a JSONL, CSV or Parquet file; what is wrong with a row is said with file and line."""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppo_tune.errors import DataError, MissingExtraError

FORMATS = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class Row:
    """One record.

    Attributes:
        columns: Values by column name.
        where: `file:line`, for messages; in a Parquet file the number of the row.
    """

    columns: dict[str, Any]
    where: str


@dataclass(frozen=True)
class Table:
    """The usable rows of a file, and what was wrong with the others."""

    rows: list[Row]
    dropped: list[str]


def read_table(path: str | Path, text_columns: Sequence[str], *, drop_bad_rows: bool = False) -> Table:
    """Read a file and check the columns that must hold text.

    Args:
        path: A `.jsonl`, `.csv` or `.parquet` file.
        text_columns: Columns that every row must have, as non-empty text.
        drop_bad_rows: Drop and count rows that cannot be used, instead of stopping at the first.

    Returns:
        At least one row.

    Raises:
        DataError: If the file is missing, has another format or no usable row, or a row is bad and
            `drop_bad_rows` is not set.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise DataError(f"{path}: the format must be one of {', '.join(FORMATS)}, but got {path.suffix!r}")
    if not path.is_file():
        raise DataError(f"{path}: no such file (looked in {Path.cwd()})")
    rows: list[Row] = []
    dropped: list[str] = []
    for row in _READERS[path.suffix](path):
        problem = row if isinstance(row, str) else _problem(row, text_columns)
        if problem is None:
            assert isinstance(row, Row)
            rows.append(row)
        elif drop_bad_rows:
            dropped.append(problem)
        else:
            raise DataError(f"{problem}; mend the row, or drop such rows with drop_bad_rows: true")
    if not rows:
        why = (
            f"all {len(dropped)} rows were dropped, the first because {dropped[0]}"
            if dropped
            else "it is empty"
        )
        raise DataError(f"{path}: at least one row is needed, but {why}")
    return Table(rows, dropped)


def _problem(row: Row, text_columns: Sequence[str]) -> str | None:
    for name in text_columns:
        if name not in row.columns:
            found = ", ".join(map(str, row.columns))
            return f"{row.where}: there is no column {name!r}; the row has {found}"
        value = row.columns[name]
        if not isinstance(value, str) or not value.strip() or _HALF_PAIR.search(value):
            return f"{row.where}: column {name!r} must hold text, but got {value!r}"
    return None


def _read_jsonl(path: Path) -> Iterator[Row | str]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        where = f"{path}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if not text.strip():
                continue
            columns = json.loads(text)
        except UnicodeDecodeError:
            yield f"{where}: not UTF-8"
            continue
        except json.JSONDecodeError as error:
            yield f"{where}: not valid JSON: {error.msg}"
            continue
        except (ValueError, RecursionError) as error:  # a number too long, lists too deep
            yield f"{where}: more than Python can hold: {error}"
            continue
        if isinstance(columns, dict):
            yield Row(columns, where)
        else:
            yield f"{where}: each line must hold a JSON object, but got {line[:40]!r}"


def _read_csv(path: Path) -> Iterator[Row | str]:
    records = _csv_records(path)
    first = next(records, None)
    if isinstance(first, str):
        yield first
    if not isinstance(first, tuple):
        return
    _, header = first
    for record in records:
        if isinstance(record, str):
            yield record
            continue
        where, cells = record
        if len(cells) > len(header):
            yield f"{where}: more cells than the header has columns"
        else:
            yield Row(dict(itertools.zip_longest(header, cells)), where)


def _csv_records(path: Path) -> Iterator[tuple[str, list[str]] | str]:
    """Place and cells of every record that is not blank, or what is wrong with it."""
    # Bytes that are not UTF-8 become half pairs, which no UTF-8 can hold: so they are known, cell by cell.
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"{where}: not valid CSV: {error}"
            continue
        if any(map(_HALF_PAIR.search, cells)):
            yield f"{where}: not UTF-8"
        elif cells:
            yield where, cells


def _read_parquet(path: Path) -> Iterator[Row | str]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    try:
        records = parquet.read_table(path).to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: a text is not UTF-8: {error}") from error
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from error
    for number, record in enumerate(records, start=1):
        yield Row(record, f"{path}:row {number}")


_HALF_PAIR = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair: no character, and nothing that a tokenizer could encode."""

_READERS = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
