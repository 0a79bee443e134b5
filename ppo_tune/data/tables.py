"""Rows of a JSONL, CSV or Parquet file; what is wrong with a row is said with file and line.

A CSV file is read as Excel writes it in any country: UTF-8 or, by its mark, UTF-16; with the separator that a first
line `sep=;` names, else the one that the wanted columns ask for.
"""

import codecs
import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppo_tune.errors import DataError, MissingExtraError

FORMATS = (".jsonl", ".csv", ".parquet")

SEPARATORS = (",", ";", "\t")
"""Between the cells of CSV, tried in this order."""

LARGEST_CELL = 2**31 - 1
"""Characters; Python's own limit, 131,072, is shorter than some texts."""

EMPTY_WORDS = frozenset(("nan", "NaN", "NAN", "None", "null", "NULL", "<NA>", "NaT"))
"""What other programs write for an empty cell."""

_NO_OBJECT = "each line must hold a JSON object"
_NOT_UTF8 = "not UTF-8; save the file as UTF-8 (in Excel: CSV UTF-8)"


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
        path: A `.jsonl`, `.csv` or `.parquet` file.
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
    if path.suffix not in FORMATS:
        raise DataError(f"{path}: the format must be one of {', '.join(FORMATS)}, but got {path.suffix!r}")
    if not path.is_file():
        raise DataError(f"{path}: no such file (looked in {Path.cwd()})")
    rows: list[Row] = []
    dropped: list[str] = []
    notes: list[str] = []
    for row in _READERS[path.suffix](path, text_columns, notes):
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


def _utf8(path: Path) -> bytes:
    """The text of a file as UTF-8 without a mark, if it is of a code that can be known.

    Raises:
        DataError: If it is of another one.
    """
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeError:
            raise DataError(f"{path}: begins with the mark of UTF-16 and is not; save it as UTF-8") from None
    start = content[:16]
    if len(start) > 4 and not (any(start[::2]) and any(start[1::2])):
        raise DataError(f"{path}: every other byte is 0, as in UTF-16 or UTF-32; save it as UTF-8")
    return content.removeprefix(codecs.BOM_UTF8)


class _KeyTwiceError(ValueError):
    """An object of JSON names a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = _twice(key for key, _ in pairs)
    if twice is not None:
        raise _KeyTwiceError(f"the key {twice!r} stands twice in one object")
    return dict(pairs)


def _twice(names: Iterable[str]) -> str | None:
    """The first name that stands twice."""
    return next((name for name, n in Counter(names).items() if n > 1), None)


def _read_jsonl(path: Path, text_columns: Sequence[str], notes: list[str]) -> Iterator[Row | str]:
    for number, line in enumerate(_utf8(path).splitlines(), start=1):
        where = f"{path}:{number}"
        try:
            text = line.decode("utf-8")
            if not text.strip():
                continue
            columns = json.loads(text, object_pairs_hook=_object)
        except UnicodeDecodeError:
            yield f"{where}: {_NOT_UTF8}"
        except json.JSONDecodeError as error:
            yield f"{where}: not valid JSON: {error.msg}"
        except _KeyTwiceError as error:
            yield f"{where}: {error}"
        except (ValueError, RecursionError) as error:  # a number too long, lists too deep
            yield f"{where}: more than Python can hold: {error}"
        else:
            is_row = isinstance(columns, dict)
            yield Row(columns, where) if is_row else f"{where}: {_NO_OBJECT}, but got {text[:40]!r}"


def _read_csv(path: Path, text_columns: Sequence[str], notes: list[str]) -> Iterator[Row | str]:
    # Bytes that are not UTF-8 become half pairs, which no UTF-8 can hold: so they are known, cell by cell.
    text = _utf8(path).decode("utf-8", errors="surrogateescape")
    named = _SEPARATOR_LINE.match(text)
    separator = named[1] if named else _separator(text, text_columns)
    if separator != ",":
        notes.append(f"{path}: read with {separator!r} between the cells")
    records = _csv_records(path, text[named.end() :] if named else text, separator, 2 if named else 1)
    first = next(records, None)
    if isinstance(first, str):
        yield first
    if not isinstance(first, tuple):
        return
    where, header = first
    twice = _twice(name for name in header if name)
    if twice is not None:
        raise DataError(f"{where}: the header names {twice!r} twice; rename one of the columns")
    for record in records:
        if isinstance(record, str):
            yield record
            continue
        where, cells = record
        if len(cells) > len(header):
            yield f"{where}: more cells than the header has columns"
        elif _is_header(cells, header):
            yield f"{where}: holds the header again"
        else:
            yield Row(dict(itertools.zip_longest(header, cells)), where)


def _is_header(cells: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a record says the header once more, as where files were joined, each with its mark of UTF-8 or none."""
    return [cells[0].removeprefix("\ufeff"), *cells[1:]] == [*header]


def _separator(text: str, text_columns: Sequence[str]) -> str:
    """The separator by which the header has the wanted columns; else one by which it can be read at all."""
    headers = {separator: _csv_header(text, separator) for separator in SEPARATORS}
    readable = [separator for separator, header in headers.items() if header is not None]
    fitting = [separator for separator in readable if {*text_columns} <= {*(headers[separator] or ())}]
    return next(iter(fitting + readable), SEPARATORS[0])


def _csv_header(text: str, separator: str) -> list[str] | None:
    """The first record that is not blank; None if it is no CSV with this separator."""
    try:
        return next(filter(None, _csv_reader(text, separator)), [])
    except csv.Error:
        return None


def _csv_reader(text: str, separator: str) -> Any:
    csv.field_size_limit(LARGEST_CELL)
    return csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)


def _csv_records(path: Path, text: str, separator: str, line: int) -> Iterator[tuple[str, list[str]] | str]:
    """Place and cells of every record that is not blank, or what is wrong with it; the first begins on `line`."""
    reader = _csv_reader(text, separator)
    while True:
        where = f"{path}:{reader.line_num + line}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"{where}: not valid CSV: {error}"
            continue
        if any(map(HALF_PAIR.search, cells)):
            yield f"{where}: {_NOT_UTF8}"
        elif cells:
            yield where, cells


def _read_parquet(path: Path, text_columns: Sequence[str], notes: list[str]) -> Iterator[Row | str]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    try:
        twice = _twice(parquet.read_schema(path).names)
        if twice is not None:
            raise DataError(f"{path}: two columns are called {twice!r}; rename one of them")
        records = parquet.read_table(path).to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: a text is not UTF-8: {error}") from error
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from error
    for number, record in enumerate(records, start=1):
        yield Row(record, f"{path}:row {number}")


HALF_PAIR = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair: no character, and nothing that a tokenizer could encode."""

NUL = "\x00"
"""What stands in no text, but where a file was torn or is of another code."""

_SEPARATOR_LINE = re.compile(r"""sep=([^\r\n"])(?:\r\n|\r|\n)""", re.IGNORECASE)
"""What Excel reads, and some programs write, before the header."""

_READERS = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
