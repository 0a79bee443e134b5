"""A look at a store that disturbs nobody: an SQLite file is copied in one moment and read from the copy.

Who reads a running search's file page by page makes its workers wait, and who opens it to write may wait for them.
A database server keeps its readers apart by itself and needs no copy.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ppo_tune.errors import StorageError
from ppo_tune.search.address import sqlite_file, sqlite_url

BUSY_SECONDS = 10.0
"""How long to wait for a writer that is just writing."""


@contextmanager
def snapshot(url: str, *, busy_seconds: float = BUSY_SECONDS) -> Iterator[str]:
    """A store as it is now, for this block; neither the store nor its folder is written to.

    Yields:
        The URL of a consistent copy, deleted after the block; `url` itself where there is no SQLite file.

    Raises:
        StorageError: If the file cannot be read.
    """
    source = sqlite_file(url)
    if source is None or not source.is_file():
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="ppo-tune-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "copy.db"
        try:
            _copy(source, copy, busy_seconds)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"storage {source} cannot be read: {error}") from None
        yield sqlite_url(copy)


def _copy(source: Path, copy: Path, busy_seconds: float) -> None:
    try:
        _back_up(source, copy, busy_seconds)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_READONLY_ROLLBACK":
            raise
        _copy_after_crash(source, copy, busy_seconds)


def _back_up(source: Path, copy: Path, busy_seconds: float) -> None:
    """Copy by SQLite's own means, under the lock of a reader, which writers may prepare and only commits wait for."""
    url = f"{source.resolve().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(url, uri=True, timeout=busy_seconds)) as reader,
        closing(sqlite3.connect(copy)) as written,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master")  # takes the lock, or gives up after the time
        reader.backup(written)


def _copy_after_crash(source: Path, copy: Path, busy_seconds: float) -> None:
    """Copy what a killed writer left, and take its half-written changes back in the copy.

    A journal beside the file holds what they replaced. Copied before the file it fits, unless somebody has opened
    the store meanwhile and taken the changes back there, and then the file is whole again.
    """
    journal = source.with_name(f"{source.name}-journal")
    try:
        shutil.copyfile(journal, copy.with_name(f"{copy.name}-journal"))
        shutil.copyfile(source, copy)
    except FileNotFoundError:
        pass
    if not journal.is_file():
        copy.unlink(missing_ok=True)
        copy.with_name(f"{copy.name}-journal").unlink(missing_ok=True)
        _back_up(source, copy, busy_seconds)
