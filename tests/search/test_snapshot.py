"""A snapshot holds what was committed, disturbs no writer, and leaves the store as it was."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

from ppo_tune.errors import StorageError
from ppo_tune.search.snapshot import snapshot


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A database with one row, in a folder of its own; its name is as odd as a file's may be."""
    path = tmp_path / "runs" / "a study #1?%20.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE trials (value INTEGER)")
        database.execute("INSERT INTO trials VALUES (1)")
        database.commit()
    return path


@pytest.fixture
def writer(store: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(store, isolation_level=None, timeout=0, check_same_thread=False)
    yield connection
    connection.close()


def url_of(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string()


def values(store: Path, busy_seconds: float = 10.0) -> list[int]:
    """What a snapshot holds."""
    with snapshot(url_of(store), busy_seconds=busy_seconds) as url:
        return rows(Path(str(make_url(url).database)))


def rows(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as database:
        return [value for (value,) in database.execute("SELECT value FROM trials ORDER BY value")]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_snapshot_is_a_copy_that_is_gone_afterwards(store: Path) -> None:
    before = contents(store.parent)

    with snapshot(url_of(store)) as url:
        copy = Path(str(make_url(url).database))
        with closing(sqlite3.connect(copy)) as database:
            database.execute("DELETE FROM trials")
            database.commit()
        assert copy != store

    assert not copy.exists()
    assert not copy.parent.exists()
    assert contents(store.parent) == before


def test_a_store_that_may_only_be_read_is_copied(store: Path) -> None:
    store.chmod(0o444)
    store.parent.chmod(0o555)

    try:
        assert values(store) == [1]
    finally:
        store.parent.chmod(0o755)


def test_what_is_not_committed_is_not_there_and_its_writer_goes_on(
    store: Path, writer: sqlite3.Connection
) -> None:
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO trials VALUES (2)")

    assert values(store, busy_seconds=0) == [1]

    writer.execute("COMMIT")
    assert values(store) == [1, 2]


def test_a_snapshot_waits_for_a_commit(store: Path, writer: sqlite3.Connection) -> None:
    writer.execute("BEGIN EXCLUSIVE")
    writer.execute("INSERT INTO trials VALUES (2)")
    commit = threading.Timer(0.2, lambda: writer.execute("COMMIT"))
    commit.start()

    assert values(store) == [1, 2]

    commit.join()


def test_a_writer_that_never_ends_is_told_instead_of_waited_for(
    store: Path, writer: sqlite3.Connection
) -> None:
    writer.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StorageError) as caught:
        values(store, busy_seconds=0.05)

    assert str(caught.value) == f"storage {store} cannot be read: database is locked"


def test_every_snapshot_beside_a_busy_writer_is_whole(store: Path) -> None:
    """The writer keeps the sum at 0; a copy of half a commit would not."""
    stop = threading.Event()
    failures: list[Exception] = []

    def write() -> None:
        with closing(sqlite3.connect(store, timeout=10)) as database:
            n = 1
            while not stop.wait(0.005):
                n += 1
                try:
                    database.executemany("INSERT INTO trials VALUES (?)", [(n,), (-n,)] * 50)
                    database.commit()
                except sqlite3.Error as error:
                    failures.append(error)
                    return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        sums = [sum(values(store)) for _ in range(10)]
    finally:
        stop.set()
        thread.join()

    assert sums == [1] * 10
    assert failures == []
    assert len(rows(store)) > 1


@pytest.fixture
def crashed(tmp_path: Path, store: Path) -> Path:
    """What a writer leaves that was killed amid a commit: a file half new, and the journal of what was."""
    with closing(sqlite3.connect(store)) as database:
        database.execute("CREATE TABLE ballast (text TEXT)")
        database.executemany("INSERT INTO ballast VALUES (?)", [("x" * 500,)] * 1000)
        database.commit()
        database.execute("PRAGMA cache_size = 5")  # so that changes reach the file before the commit
        database.execute("UPDATE trials SET value = 2")
        database.execute("UPDATE ballast SET text = 'y' || text")
        left = tmp_path / "left"
        shutil.copytree(store.parent, left)
    return left / store.name


def test_half_a_commit_of_a_killed_writer_is_taken_back_in_the_copy_alone(crashed: Path) -> None:
    before = contents(crashed.parent)
    assert len(before) == 2

    assert values(crashed) == [1]

    assert contents(crashed.parent) == before


def test_a_store_that_was_mended_while_it_was_copied_is_copied_again(
    crashed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile

    def mended_first(source: Path, target: Path) -> None:
        rows(crashed)  # the first reader who may write takes the half commit back
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", mended_first)

    assert values(crashed) == [1]


def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_text("not a database " * 100, encoding="utf-8")

    with pytest.raises(StorageError) as caught:
        values(path)

    assert str(caught.value) == f"storage {path} cannot be read: file is not a database"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user@host/database",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///nowhere.db",
    ],
)
def test_a_store_without_a_file_stands_for_itself(url: str) -> None:
    with snapshot(url) as same:
        assert same == url
