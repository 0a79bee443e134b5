"""A text file as a stream of UTF-8, whatever its encoding is and whether gzip made it; memory holds a part of it."""

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from ppo_tune.errors import DataError

BYTES_AT_ONCE = 2**18
"""That are read and decoded together."""

_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
"""What says the order of bytes where the name of the encoding does not."""


def utf8_stream(path: Path, encoding: str | None) -> BinaryIO:
    """The text of a file as UTF-8 without a mark, if its encoding is named or can be seen.

    Reading raises `DataError` where it is of another one, or ends with `.gz` and is not compressed by gzip.

    Args:
        path: As its user named it.
        encoding: Of its text, by a name that Python knows; None where it is to be seen.
    """
    return io.BufferedReader(_Chunks(_utf8(path, encoding)), BYTES_AT_ONCE)


class _Chunks(io.RawIOBase):
    """Parts of a text as what `io.BufferedReader` reads from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left = self._left or next(filter(None, self._chunks), b"")
        n = min(len(buffer), len(self._left))
        buffer[:n], self._left = self._left[:n], self._left[n:]
        return n


def _utf8(path: Path, encoding: str | None) -> Iterator[bytes]:
    begin, chunks = _begun(_content(path))
    if encoding is not None:
        begin, chunks = _begun(_decoded(chunks, path, encoding, _byte_order(encoding, begin)))
    elif begin.startswith(_MARKS["utf-16"]):
        begin, chunks = _begun(_decoded(chunks, path, None, "utf-16"))
    start = begin[:16]
    if encoding is None and len(start) > 4 and not (any(start[::2]) and any(start[1::2])):
        what = "every other byte is 0, as in UTF-16 or UTF-32"
        raise DataError(
            f"{path}: {what}; name its encoding (utf-16-le and utf-16-be are such), or save it as UTF-8"
        )
    yield next(chunks, b"").removeprefix(codecs.BOM_UTF8)
    yield from chunks


def _begun(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first part that holds anything, and all parts from it on."""
    begin = next(filter(None, chunks), b"")
    return begin, chain([begin], chunks)


def _content(path: Path) -> Iterator[bytes]:
    """The bytes of a file, those that gzip compressed.

    Raises:
        DataError: If it ends with `.gz` and is not compressed by gzip.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            while chunk := file.read(BYTES_AT_ONCE):
                yield chunk
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a file that gzip made: {error}") from None


def _byte_order(encoding: str, begin: bytes) -> str:
    """An encoding with the machine's order of bytes, where neither its name nor a mark says one."""
    if encoding not in _MARKS or begin.startswith(_MARKS[encoding]):
        return encoding
    return f"{encoding}-{'le' if sys.byteorder == 'little' else 'be'}"


def _decoded(chunks: Iterator[bytes], path: Path, named: str | None, encoding: str) -> Iterator[bytes]:
    """A text of another encoding as UTF-8.

    Raises:
        DataError: If it is not of the encoding; where none was named, its mark was that of UTF-16.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    n_read = 0
    for chunk in chain(chunks, [b""]):
        n_read += len(chunk)
        try:
            yield decoder.decode(chunk, final=not chunk).encode()
        except UnicodeError as error:
            if named is None:
                what = "begins with the mark of UTF-16 and is not"
                raise DataError(f"{path}: {what}; name its encoding, or save it as UTF-8") from None
            line, what = 1, f"no text of encoding {named} ({error})"
            if isinstance(error, UnicodeDecodeError):
                place = n_read - len(error.object) + error.start
                line = 1 + _newlines(path, place)
                what = f"byte {place} is no text of encoding {named} ({error.reason})"
            raise DataError(f"{path}:{line}: {what}; name the one by which the file was written") from None


def _newlines(path: Path, place: int) -> int:
    """How many line ends stand before a byte."""
    n = 0
    for chunk in _content(path):
        n += chunk.count(b"\n", 0, max(0, place))
        place -= len(chunk)
    return n
