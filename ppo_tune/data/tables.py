"""Rows of a file whose columns must hold text; what is wrong with a row is said with file and line."""

import difflib
import itertools
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ppo_tune.config.source import WHOLE, Source
from ppo_tune.data.chats import read_chat
from ppo_tune.data.formats import HALF_PAIR, NAME_ENCODING, Row, records
from ppo_tune.data.shapes import CONVERSATIONS, MOST_PAIRS, LeftOutError, Pair, Shape, shape_of
from ppo_tune.errors import DataError
from ppo_tune.plurals import counted

DROP = "drop such rows with drop_bad_rows: true"
"""How messages offer to go on without bad rows."""

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


@dataclass(frozen=True)
class Remarks:
    """What is said of a file while it is read.

    Attributes:
        notes: What was read rightly and may still surprise, one sentence each; the last come when all rows are read.
        dropped: What was wrong with rows that were dropped.
    """

    notes: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def read_table(
    path: str | Path,
    text_columns: Sequence[str],
    *,
    chat: str = "",
    drop_bad_rows: bool | None = None,
    source: Source = WHOLE,
    published: Mapping[str, str] = MappingProxyType({}),
    options: Mapping[str, str] = MappingProxyType({}),
) -> Table:
    """Read a file whole; see `checked_rows`.

    Args:
        path: A file, folder or hub name.
        text_columns: Columns that every row must have, as non-empty text.
        chat: The one among them that may hold lists of messages instead.
        source: The encoding of a text file, or the part of a data set.
        published: What publishers call columns that are called otherwise here.
        options: By what the user names each of these columns, where that is how a missing one is mended.
        drop_bad_rows: Whether to drop and count rows that cannot be used.

    Raises:
        DataError: If the file or one of its rows cannot be used.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    remarks = Remarks()
    rows = checked_rows(
        path,
        text_columns,
        chat=chat,
        drop_bad_rows=drop_bad_rows,
        source=source,
        published=published,
        options=options,
        remarks=remarks,
    )
    return Table([*rows], remarks.dropped, tuple(remarks.notes))


def checked_rows(
    path: str | Path,
    text_columns: Sequence[str],
    *,
    chat: str = "",
    drop_bad_rows: bool | None = None,
    source: Source = WHOLE,
    published: Mapping[str, str] = MappingProxyType({}),
    options: Mapping[str, str] = MappingProxyType({}),
    remarks: Remarks,
) -> Iterator[Row]:
    """The rows of a file, one after the other, whose columns that must hold text are checked.

    Where the columns of preferences are asked for and not there, rows of the published `SHAPES` are read as such, and a
    note says so.

    Args:
        path: A file, folder or hub name, as `ppo_tune.data.formats.records` takes it.
        text_columns: Columns that every row must have, as non-empty text.
        chat: The one among them that may hold lists of messages instead.
        source: The encoding of a text file, or the part of a data set.
        published: What publishers call columns that are called otherwise here.
        options: By what the user names each of these columns, where that is how a missing one is mended.
        drop_bad_rows: Drop and count rows that cannot be used, instead of stopping at the first; None where the user
            has no such choice, and is offered none.
        remarks: Gets what there is to say.

    Yields:
        At least one row.

    Raises:
        DataError: If the file is missing, has another format or no usable row, or a row is bad and
            `drop_bad_rows` is not set.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    notes, dropped = remarks.notes, remarks.dropped
    n_rows, words = 0, _EmptyWords(path, text_columns)
    found = records(path, text_columns, notes, source)
    for row in _in_shape(found, path, text_columns, chat, notes, published):
        problem = row if isinstance(row, str) else _problem(row, text_columns, chat)
        if problem is None:
            assert isinstance(row, Row)
            n_rows += 1
            words.see(row)
            yield row
        elif drop_bad_rows:
            dropped.append(problem)
        else:
            named = "" if n_rows or isinstance(row, str) else _named_otherwise(row, options)
            if named and not named.endswith("?") and drop_bad_rows is not None:
                named = f"{named}, or {DROP}"
            raise DataError(f"{problem}{f'; {named}' if named else _mended(problem, drop_bad_rows)}")
    if not n_rows:
        why = "; ".join(notes) or "it is empty"
        if dropped:
            which = (
                f"all {n:,} rows were dropped, the first"
                if (n := len(dropped)) > 1
                else "its row was dropped"
            )
            why = f"{which} because {dropped[0]}"
        raise DataError(f"{path}: at least one row is needed, but {why}")
    notes += words.notes()


def _in_shape(
    found: Iterator[Row | str],
    path: Path,
    text_columns: Sequence[str],
    chat: str,
    notes: list[str],
    published: Mapping[str, str],
) -> Iterator[Row | str]:
    """The records as they are; or what they say, if they have a published shape instead of the wanted columns."""
    begun: list[Row | str] = []
    for row in found:
        begun.append(row)
        if isinstance(row, Row):
            break
    first = next((row.columns for row in begun if isinstance(row, Row)), {})
    missing = {name for name in text_columns if name != chat and isinstance(first.get(name), list)}
    missing |= {*text_columns} - {*first}
    every = itertools.chain(begun, found)
    shape, names = _shape(first, missing, published) if first and missing else (None, {})
    if shape is None:
        yield from every
        return
    here = {name: here for here, name in published.items()}
    as_published = (
        Row(_renamed(row.columns, names), row.where) if isinstance(row, Row) else row for row in every
    )
    for row in _reshaped(as_published, shape, path, notes):
        yield Row(_renamed(row.columns, here), row.where) if isinstance(row, Row) else row


def _shape(
    first: Mapping[str, Any], missing: Collection[str], published: Mapping[str, str]
) -> tuple[Shape | None, Mapping[str, str]]:
    """The published shape of rows that begin with this one, and what its publishers call some of the columns."""
    wanted = {published.get(name, name) if name in first else name for name in missing}
    names = {here: name for here, name in published.items() if here != name and here in first}
    lists = {here: CONVERSATIONS[0] for here in published if isinstance(first.get(here), list)}
    for called in (names, {**names, **lists}):
        if shape := shape_of(_renamed(first, called), wanted):
            return shape, called
    return None, names


def _renamed(columns: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Columns of which some have other names."""
    return {names.get(name, name): value for name, value in columns.items()}


def _reshaped(every: Iterable[Row | str], shape: Shape, path: Path, notes: list[str]) -> Iterator[Row | str]:
    """What records of a shape say; what says nothing is left out and counted."""
    notes.append(f"{path}: read as {shape.name}")
    left_out: Counter[str] = Counter()
    of_post: Counter[Any] = Counter()
    for row in every:
        if isinstance(row, str):
            yield row
            continue
        try:
            made = shape.read(row.columns)
            post = row.columns.get(shape.post) if shape.post else None
            of_post[post] += len(made)
            if post is not None and of_post[post] > MOST_PAIRS:
                raise LeftOutError(f"{MOST_PAIRS} others are of the same post")
        except LeftOutError as error:
            left_out[str(error)] += 1
        except Exception as error:  # whatever values of another kind raise
            yield f"{row.where}: cannot be read as {shape.name}: {type(error).__name__}: {error}"
        else:
            others = {name: value for name, value in row.columns.items() if name not in shape.columns}
            for one in made:
                response = one.chosen if isinstance(one, Pair) else one.response
                yield Row({**others, **one._asdict(), "response": response}, row.where)
    notes += [f"{path}: {counted(n, 'row', 'were')} left out: {reason}" for reason, n in left_out.items()]


class _EmptyWords:
    """How often a text is probably another program's empty cell."""

    def __init__(self, path: Path, text_columns: Sequence[str]) -> None:
        self._path = path
        self._names = dict.fromkeys(text_columns)
        self._found: Counter[tuple[str, str]] = Counter()

    def see(self, row: Row) -> None:
        """Count those of one more row."""
        for name in self._names:
            text = row.columns[name]
            if isinstance(text, str) and text.strip() in EMPTY_WORDS:
                self._found[name, text.strip()] += 1

    def notes(self) -> list[str]:
        """A note for each."""
        return [
            f"{self._path}: column {name!r} holds the text {text!r} in {counted(n, 'row')}; was the cell empty?"
            for (name, text), n in self._found.items()
        ]


def _mended(problem: str, drop_bad_rows: bool | None) -> str:
    """How a bad row is mended, as the end of what is wrong with it; what ends with its way out already needs none."""
    if drop_bad_rows is None:
        return "" if NAME_ENCODING in problem else "; mend the row"
    return f"; mend the row, or {DROP}"


def _named_otherwise(row: Row, options: Mapping[str, str]) -> str:
    """By which options the columns that a row has not are named, with those that are called nearly so."""
    known = {str(name).casefold(): str(name) for name in row.columns if name not in options}
    meant, others = [], []
    for name, option in options.items():
        if name not in row.columns:
            close = difflib.get_close_matches(name.casefold(), known, n=1)
            meant += [_given(option, known[close[0]])] if close else []
            others += [] if close else [option]
    unknown = " and ".join(filter(None, (", ".join(others[:-1]), *others[-1:])))
    if meant:
        joined = (" " if meant[0].startswith("--") else ", ").join(meant)
        return f"did you mean {joined}{f', and which column for {unknown}' if others else ''}?"
    return f"name the column{'s' if len(others) > 1 else ''} by {unknown}" if others else ""


def _given(option: str, column: str) -> str:
    """A column as an option names it, or an argument in Python."""
    return f"{option} {shlex.quote(column)}" if option.startswith("--") else f"{option}={column!r}"


def _problem(row: Row, text_columns: Sequence[str], chat: str) -> str | None:
    for name in text_columns:
        if name not in row.columns:
            found = ", ".join(map(str, row.columns))
            return f"{row.where}: there is no column {name!r}; the row has {found}"
        value = row.columns[name]
        if name == chat and isinstance(value, list):
            try:
                texts = [turn["content"] for turn in read_chat(value)[0].turns]
            except ValueError as error:
                return f"{row.where}: column {name!r} {error}"
            if any(HALF_PAIR.search(text) or NUL in text for text in texts):
                return (
                    f"{row.where}: column {name!r} must hold text, but a message holds what is no character"
                )
            continue
        if not isinstance(value, str) or not value.strip() or HALF_PAIR.search(value):
            return f"{row.where}: column {name!r} must hold text, but got {value!r}"
        if NUL in value:
            return f"{row.where}: column {name!r} must hold text without NUL bytes, but got {value!r}"
    return None
