"""Rows beyond memory: in a temporary file, or as others look at them."""

import os
import tempfile
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

from ppo_tune.errors import StorageError

Row = TypeVar("Row")

BYTES_AT_ONCE = 2**18
"""That are written together, and read by whoever takes one row after the other."""


FOLDER = "/var/tmp"  # noqa: S108 what is written there has no name
"""Where rows are kept unless the user names another folder and if one may: on a disk, where `/tmp` may be memory."""


class _Rows(Sequence[Row]):
    """Rows that are made when they are asked for; equal to any sequence of the same."""

    def _row(self, number: int) -> Row:
        raise NotImplementedError

    def _some(self, numbers: range) -> list[Row]:
        return [self._row(number) for number in numbers]

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> list[Row]: ...
    def __getitem__(self, number: int | slice) -> Row | list[Row]:
        if isinstance(number, slice):
            return self._some(range(*number.indices(len(self))))
        return self._row(range(len(self))[number])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class RowFile(_Rows[Row]):
    """Rows in a temporary file, of which memory holds where each ends.

    The file has no name, so it is gone with its last reader, however the process ends. It is in `$TMPDIR`, else in
    `/var/tmp`, which is on a disk where `/tmp` may be memory.

    Args:
        pack: A row as bytes.
        unpack: The row again.

    Raises:
        StorageError: If there is no folder for it.
    """

    def __init__(self, pack: Callable[[Row], bytes], unpack: Callable[[bytes], Row]) -> None:
        self._pack, self._unpack = pack, unpack
        self._ends = array("q", [0])
        self._waiting = bytearray()
        self._folder = os.environ.get("TMPDIR") or _usual_folder()
        try:
            file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 open as long as this
        except OSError as error:
            raise self._refused(error) from error
        self._file = file.fileno()
        weakref.finalize(self, file.close)

    def append(self, row: Row) -> None:
        """Write one more row.

        Raises:
            StorageError: If there is no room for it.
        """
        packed = self._pack(row)
        self._waiting += packed
        self._ends.append(self._ends[-1] + len(packed))
        if len(self._waiting) >= BYTES_AT_ONCE:
            self._write()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[Row]:
        start = 0
        while start < len(self):
            end = self._ends[start] + BYTES_AT_ONCE
            stop = max(start + 1, bisect_right(self._ends, end) - 1)
            yield from self._read(start, stop)
            start = stop

    def _row(self, number: int) -> Row:
        return next(self._read(number, number + 1))

    def _some(self, numbers: range) -> list[Row]:
        if numbers.step != 1 or not numbers:
            return super()._some(numbers)
        return [*self._read(numbers.start, numbers.stop)]

    def _read(self, start: int, stop: int) -> Iterator[Row]:
        """The rows from one to before another, read at once."""
        self._write()
        begin, end = self._ends[start], self._ends[stop]
        parts: list[bytes] = []
        while begin < end:
            parts.append(os.pread(self._file, end - begin, begin))
            begin += len(parts[-1])
        content, begin = b"".join(parts), self._ends[start]
        for i in range(start, stop):
            yield self._unpack(content[self._ends[i] - begin : self._ends[i + 1] - begin])

    def _write(self) -> None:
        while self._waiting:
            try:
                n = os.write(self._file, self._waiting)
            except OSError as error:
                self._waiting.clear()
                raise self._refused(error) from error
            del self._waiting[:n]

    def _refused(self, error: OSError) -> StorageError:
        written = f" after {self._ends[-1] / 1e6:,.0f} MB" if self._ends[-1] else ""
        return StorageError(
            f"the rows cannot be kept in {self._folder}{written} ({error.strerror}); make room there, or name another "
            "folder by the variable TMPDIR"
        )


def _usual_folder() -> str:
    return FOLDER if os.access(FOLDER, os.W_OK) else tempfile.gettempdir()


class View(_Rows[Row], Generic[Row]):
    """Rows as a function makes them of others, all of these or some, each when it is asked for.

    Args:
        rows: The others.
        made: What is made of one; None leaves it as it is.
        numbers: Which of them, in which order; None takes all.
    """

    def __init__(
        self,
        rows: Sequence[Any],
        made: Callable[[Any], Row] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self._rows, self._made, self._numbers = rows, made, numbers

    def __len__(self) -> int:
        return len(self._rows if self._numbers is None else self._numbers)

    def __iter__(self) -> Iterator[Row]:
        rows = self._rows if self._numbers is None else map(self._rows.__getitem__, self._numbers)
        return iter(rows if self._made is None else map(self._made, rows))

    def _row(self, number: int) -> Row:
        row = self._rows[number if self._numbers is None else self._numbers[number]]
        return row if self._made is None else self._made(row)
