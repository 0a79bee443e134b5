"""Records of files as other tools write them: JSON, JSON lines, CSV and Parquet; text also compressed by gzip.

A text file is UTF-8 or, by its mark, UTF-16, or of the encoding that its user names. CSV is read as Excel writes it in
any country: with the separator that a first line `sep=;` names, else the one that the wanted columns ask for. A folder
and a hub's data set are read by the library `datasets`.
"""

import codecs
import csv
import gzip
import io
import itertools
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ppo_tune.config.source import WHOLE, Source
from ppo_tune.data.hub import is_dataset, read_dataset
from ppo_tune.errors import DataError, MissingExtraError
from ppo_tune.files import did_you_mean
from ppo_tune.plurals import counted

SEPARATORS = (",", ";", "\t", "|")
"""Between the cells of CSV, tried in this order."""

LARGEST_CELL = 2**31 - 1
"""Characters; Python's own limit, 131,072, is shorter than some texts."""

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

    def utf8(self) -> bytes:
        """Its text as UTF-8 without a mark, if its encoding is named or can be seen.

        Raises:
            DataError: If it is of another one, or it ends with `.gz` and is not compressed by gzip.
        """
        content = self.path.read_bytes()
        if self.path.suffix.lower() == ".gz":
            try:
                content = gzip.decompress(content)
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"{self.path}: not a file that gzip made: {error}") from None
        if self.encoding is not None:
            return self._decoded(content, self.encoding).removeprefix(codecs.BOM_UTF8)
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            try:
                content = content.decode("utf-16").encode()
            except UnicodeError:
                what = "begins with the mark of UTF-16 and is not"
                raise DataError(f"{self.path}: {what}; name its encoding, or save it as UTF-8") from None
        start = content[:16]
        if len(start) > 4 and not (any(start[::2]) and any(start[1::2])):
            what = "every other byte is 0, as in UTF-16 or UTF-32"
            raise DataError(
                f"{self.path}: {what}; name its encoding (utf-16-le and utf-16-be are such), or save it as UTF-8"
            )
        return content.removeprefix(codecs.BOM_UTF8)

    def _decoded(self, content: bytes, encoding: str) -> bytes:
        try:
            return content.decode(encoding).encode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            what = f"byte {error.start} is no text of encoding {encoding} ({error.reason})"
        except UnicodeError as error:
            line, what = 1, f"no text of encoding {encoding} ({error})"
        raise DataError(f"{self.path}:{line}: {what}; name the one by which the file was written")


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
        raise DataError(f"{path}: the format must be one of {', '.join(FORMATS)}, but got {ending!r}")
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
    twice = _twice(key for key, _ in pairs)
    if twice is not None:
        raise _KeyTwiceError(f"the key {twice!r} stands twice in one object")
    return dict(pairs)


def _twice(names: Iterable[str]) -> str | None:
    """The first name that stands twice."""
    return next((name for name, n in Counter(names).items() if n > 1), None)


def _read_jsonl(file: File) -> Iterator[Row | str]:
    text = file.utf8()
    try:
        is_list = text.lstrip().startswith(b"[") and _are(dict, json.loads(text))
    except (ValueError, RecursionError):
        is_list = False
    if not is_list:
        yield from _read_lines(file)
        return
    file.notes.append(f"{file.path}: read as JSON, for it holds one list")
    yield from _read_json(file)


def _read_lines(file: File) -> Iterator[Row | str]:
    for number, line in enumerate(file.utf8().splitlines(), start=1):
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
    """A list of objects; or an object that holds one, or columns, or is a record; or lines as in JSONL."""
    text = file.utf8()
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
    # Bytes that are not UTF-8 become half pairs, which no UTF-8 can hold: so they are known, cell by cell.
    text = file.utf8().decode("utf-8", errors="surrogateescape")
    named = _SEPARATOR_LINE.match(text)
    separator = named[1] if named else _separator(text, file.wanted, usual)
    if separator != usual:
        file.notes.append(f"{file.path}: read with {separator!r} between the cells")
    records = _csv_records(file.path, text[named.end() :] if named else text, separator, 2 if named else 1)
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


def _separator(text: str, wanted: Sequence[str], usual: str) -> str:
    """The separator by which the header has the wanted columns; else the one by which it has the most."""
    headers = {separator: _csv_header(text, separator) for separator in dict.fromkeys((usual, *SEPARATORS))}
    readable = [separator for separator, header in headers.items() if header is not None]
    fitting = [separator for separator in readable if {*wanted} <= {*(headers[separator] or ())}]
    most = sorted(readable, key=lambda separator: -len(headers[separator] or ()))
    return next(iter(fitting + most), usual)


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
        rows = parquet.read_table(file.path).to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"{file.path}: a text is not UTF-8: {error}") from error
    except (ArrowException, OSError) as error:
        raise DataError(f"{file.path}: not a Parquet file: {error}") from error
    for number, columns in enumerate(rows, start=1):
        yield Row(columns, f"{file.path}:row {number}")


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
