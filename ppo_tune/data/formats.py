"""Records of files as other tools write them: JSON, JSON lines, CSV and Parquet; text also compressed by gzip.

A text file is UTF-8 or, by its mark, UTF-16, or of the encoding that its user names. CSV is read as Excel writes it in
any country: with the separator that a first line `sep=;` names, else the one that the wanted columns ask for. A folder
and a hub's data set are read by the library `datasets`.
"""

import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from ppo_tune.config.source import WHOLE, Source
from ppo_tune.data.hub import is_dataset, read_dataset
from ppo_tune.data.text_streams import BYTES_AT_ONCE, utf8_stream
from ppo_tune.errors import DataError, MissingExtraError
from ppo_tune.files import did_you_mean
from ppo_tune.plurals import counted

SEPARATORS = (",", ";", "\t", "|")
"""Between the cells of CSV, tried in this order."""

LARGEST_CELL = 2**31 - 1
"""Characters; Python's own limit, 131,072, is shorter than some texts."""

PARQUET_ROWS = 64
"""Rows of Parquet that are decoded together."""

_NO_OBJECT = "must hold a JSON object"
_SHOWN = 20
"""Bytes shown before and after the first that is not UTF-8."""


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
class File:
    """A file that is read, and what is looked for in it.

    Attributes:
        path: As its user named it.
        encoding: Of its text, by a name that Python knows; None where it is to be seen.
        wanted: Columns by which the separator of a CSV file is known.
        notes: Gets what was read rightly and may still surprise; one sentence each.
    """

    path: Path
    encoding: str | None
    wanted: Sequence[str]
    notes: list[str]

    def stream(self) -> BinaryIO:
        """Its text as UTF-8 without a mark; reading raises `DataError` where it is of another encoding."""
        return utf8_stream(self.path, self.encoding)

    def text(self) -> TextIO:
        """The same with its line ends as they are.

        Bytes that are not UTF-8 become half pairs, which no UTF-8 can hold: so they are known, cell by cell.
        """
        return io.TextIOWrapper(self.stream(), encoding="utf-8", errors="surrogateescape", newline="")


def records(
    path: Path, wanted: Sequence[str], notes: list[str], source: Source = WHOLE
) -> Iterator[Row | str]:
    """The records of a file, of a folder of a data set or of a hub's data set, or what is wrong with one.

    Args:
        path: Of one of `FORMATS`, a folder, or `org/name` or `org/name@revision` on a hub.
        wanted: Columns by which the separator of a CSV file is known.
        notes: Gets what was read rightly and may still surprise; one sentence each.
        source: The encoding of a text file, or the part of a data set.

    Raises:
        DataError: If the file has another format, is missing, or cannot be read any further.
        MissingExtraError: If it is Parquet and pyarrow is not installed, or a data set and `datasets` is not.
    """
    ending = "".join(path.suffixes[-2 if path.suffix.lower() == ".gz" else -1 :]).lower()
    if is_dataset(str(path)) and (path.is_dir() or ending not in FORMATS):
        _refuse(source, ("encoding",), f"{path}: a text file has an encoding, a data set has none")
        return (
            Row(columns, f"{path}:row {number}")
            for number, columns in enumerate(read_dataset(str(path), source, notes), start=1)
        )
    if ending not in FORMATS:
        way_out = "; save it as CSV UTF-8 in Excel" if ending in (".xls", ".xlsx") else ""
        raise DataError(
            f"{path}: the format must be one of {', '.join(FORMATS)}, but got {ending!r}{way_out}"
        )
    if not path.is_file():
        near = did_you_mean(path, Path.is_file)
        raise DataError(f"{path}: no such file (looked in {Path.cwd()}){near}")
    _refuse(source, ("subset", "split"), f"{path}: a data set has these parts, a file has none")
    if ending == ".parquet":
        _refuse(source, ("encoding",), f"{path}: a text file has an encoding, Parquet has none")
    return FORMATS[ending](File(path, source.encoding, wanted, notes))


def _refuse(source: Source, names: Sequence[str], why: str) -> None:
    """Refuse what says nothing of this kind of source.

    Raises:
        DataError: If one of these fields is set.
    """
    given = [f"{name} ({getattr(source, name)!r})" for name in names if getattr(source, name) is not None]
    if given:
        raise DataError(f"{why}; leave out {' and '.join(given)}")


NAME_ENCODING = "name the encoding (encoding: cp1252, or --encoding cp1252)"
"""The way out where bytes are of another encoding."""


def _not_utf8(content: bytes) -> str:
    """What is wrong with bytes that are not UTF-8, and what they would say in the commonest other encoding."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        shown = content[max(0, error.start - _SHOWN) : error.start + _SHOWN]
        text = shown.decode("cp1252", errors="replace").strip()
        return (
            f"not UTF-8; in encoding cp1252 it would read {text!r}; {NAME_ENCODING}, or save the file as UTF-8 (in "
            "Excel: CSV UTF-8)"
        )
    raise AssertionError("these bytes are UTF-8")


class _KeyTwiceError(ValueError):
    """An object of JSON names a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = _twice(key for key, _ in pairs)
        raise _KeyTwiceError(f"the key {twice!r} stands twice in one object")
    return found


def _twice(names: Iterable[str]) -> str | None:
    """The first name that stands twice."""
    return next((name for name, n in Counter(names).items() if n > 1), None)


def _read_jsonl(file: File) -> Iterator[Row | str]:
    try:
        is_list = _begins(file).startswith(b"[") and _are(dict, json.loads(file.stream().read()))
    except (ValueError, RecursionError):
        is_list = False
    if not is_list:
        yield from _read_lines(file)
        return
    file.notes.append(f"{file.path}: read as JSON, for it holds one list")
    yield from _read_json(file)


def _begins(file: File) -> bytes:
    """The first line that is not blank, from its first character on."""
    return next(filter(None, map(bytes.lstrip, file.stream())), b"")


def _read_lines(file: File) -> Iterator[Row | str]:
    lines = (line for part in file.stream() for line in part.splitlines())  # a lone \r ends a line, too
    for number, line in enumerate(lines, start=1):
        where = f"{file.path}:{number}"
        try:
            text = line.decode("utf-8")
            if not text.strip():
                continue
            columns = json.loads(text, object_pairs_hook=_object)
        except UnicodeDecodeError:
            yield f"{where}: {_not_utf8(line)}"
        except json.JSONDecodeError as error:
            yield f"{where}: not valid JSON: {error.msg}"
        except _KeyTwiceError as error:
            yield f"{where}: {error}"
        except (ValueError, RecursionError) as error:  # a number too long, lists too deep
            yield f"{where}: more than Python can hold: {error}"
        else:
            is_row = isinstance(columns, dict)
            yield Row(columns, where) if is_row else f"{where}: each line {_NO_OBJECT}, but got {text[:40]!r}"


def _read_json(file: File) -> Iterator[Row | str]:
    """A list of objects; or an object that holds one, or columns, or is a record; or lines as in JSONL.

    All but lines are one value, which is read as a whole.
    """
    if _holds_lines(file):
        yield from _read_lines(file)
        return
    text = file.stream().read()
    if not text.strip():
        return
    try:
        whole = json.loads(text.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file.path}:{line}: {_not_utf8(text)}") from None
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise DataError(f"{file.path}:{error.lineno}: not valid JSON: {error.msg}") from None
        yield from _read_lines(file)
        return
    except _KeyTwiceError as error:
        raise DataError(f"{file.path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.path}: more than Python can hold: {error}") from None
    items = _items(whole, file) if isinstance(whole, dict) else whole
    if not isinstance(items, list):
        raise DataError(f"{file.path}: must hold a list of JSON objects, but got {str(items)[:40]!r}")
    for number, item in enumerate(items, start=1):
        where = f"{file.path}:item {number}"
        is_row = isinstance(item, dict)
        yield Row(item, where) if is_row else f"{where}: each item {_NO_OBJECT}, but got {str(item)[:40]!r}"


def _holds_lines(file: File) -> bool:
    """Whether the first of several lines is an object of its own."""
    lines = filter(bytes.strip, file.stream())
    first, second = next(lines, b""), next(lines, b"")
    try:
        return bool(second) and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _items(whole: Mapping[str, Any], file: File) -> list[Any]:
    """The records of a file that is one object: a list in it, its columns as pandas writes them, or itself."""
    lists = [name for name, value in whole.items() if _are(dict, value)]
    if len(lists) == 1 and not {*file.wanted} <= {*whole}:
        file.notes.append(f"{file.path}: read the list {lists[0]!r} of the object that it holds")
        return [*whole[lists[0]]]
    columns = [[*column.values()] if _is_indexed(column) else column for column in whole.values()]
    if not _are(list, columns) or len({*map(len, columns)}) != 1:
        return [whole]
    file.notes.append(f"{file.path}: read as columns with {counted(len(columns[0]), 'row')}")
    return [dict(zip(whole, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _are(kind: type, values: Any) -> bool:
    """Whether it is a list of nothing else, and of something."""
    return isinstance(values, list) and bool(values) and all(isinstance(value, kind) for value in values)


def _is_indexed(column: Any) -> bool:
    """Whether a column is as `pandas.DataFrame.to_json()` writes it, by the numbers of the rows."""
    return isinstance(column, dict) and all(number.isdecimal() for number in column)


def _read_csv(file: File, usual: str = ",") -> Iterator[Row | str]:
    named = _SEPARATOR_LINE.fullmatch(file.text().readline())
    separator = named[1] if named else _separator(file, usual)
    if separator != usual:
        file.notes.append(f"{file.path}: read with {separator!r} between the cells")
    records = _csv_records(file, separator, n_before=1 if named else 0)
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


def _separator(file: File, usual: str) -> str:
    """The separator by which the header has the wanted columns; else the one by which it has the most."""
    headers = {separator: _csv_header(file, separator) for separator in dict.fromkeys((usual, *SEPARATORS))}
    readable = [separator for separator, header in headers.items() if header is not None]
    fitting = [separator for separator in readable if {*file.wanted} <= {*(headers[separator] or ())}]
    most = sorted(readable, key=lambda separator: -len(headers[separator] or ()))
    return next(iter(fitting + most), usual)


def _csv_header(file: File, separator: str) -> list[str] | None:
    """The first record that is not blank; None if it is no CSV with this separator."""
    try:
        return next(filter(None, _csv_reader(file.text(), separator)), [])
    except csv.Error:
        return None


def _csv_reader(lines: Iterable[str], separator: str) -> Any:
    csv.field_size_limit(LARGEST_CELL)
    return csv.reader(lines, strict=True, delimiter=separator)


def _csv_records(file: File, separator: str, *, n_before: int) -> Iterator[tuple[str, list[str]] | str]:
    """Place and cells of every record after some lines that is not blank, or what is wrong with it."""
    reader = _csv_reader(itertools.islice(file.text(), n_before, None), separator)
    while True:
        where = f"{file.path}:{reader.line_num + n_before + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"{where}: not valid CSV: {error}"
            continue
        broken = next(filter(HALF_PAIR.search, cells), None)
        if broken is not None:
            yield f"{where}: {_not_utf8(broken.encode(errors='surrogateescape'))}"
        elif cells:
            yield where, cells


def _read_parquet(file: File) -> Iterator[Row | str]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    try:
        twice = _twice(parquet.read_schema(file.path).names)
        if twice is not None:
            raise DataError(f"{file.path}: two columns are called {twice!r}; rename one of them")
        opened = parquet.ParquetFile(file.path, buffer_size=BYTES_AT_ONCE, pre_buffer=False)
        parts = (part.to_pylist() for part in opened.iter_batches(PARQUET_ROWS, use_threads=False))
        for number, columns in enumerate(itertools.chain.from_iterable(parts), start=1):
            yield Row(columns, f"{file.path}:row {number}")
    except UnicodeDecodeError as error:
        raise DataError(f"{file.path}: a text is not UTF-8: {error}") from error
    except (ArrowException, OSError) as error:
        raise DataError(f"{file.path}: not a Parquet file: {error}") from error


HALF_PAIR = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair: no character, and nothing that a tokenizer could encode."""

_SEPARATOR_LINE = re.compile(r"""sep=([^\r\n"])(?:\r\n|\r|\n)""", re.IGNORECASE)
"""What Excel reads, and some programs write, before the header."""

_TEXTS: Mapping[str, Callable[[File], Iterator[Row | str]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, usual="\t"),
}

FORMATS = {
    **_TEXTS,
    **{f"{ending}.gz": reader for ending, reader in _TEXTS.items()},
    ".parquet": _read_parquet,
}
"""How a file is read, by the ending of its name."""
