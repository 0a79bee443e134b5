"""Addresses of stores: the file that was meant whatever its name, and no password shown."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from ppo_tune.errors import MissingExtraError, StorageError
from ppo_tune.search.address import parse, public, sqlite_file, sqlite_url, without_secrets
from ppo_tune.search.snapshot import snapshot
from ppo_tune.search.storage import create_study, load_study_from, storage_url
from tests.worlds import StudyMaker

STRANGE = ("50% done", "a?b", "a?timeout=3", "%3F", "a#b", "a b", "größe 😀", "{x}", "a&b=c", "a+b", "~:@[;]")

paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(lambda t: Path("/", t))


@pytest.mark.parametrize("name", STRANGE)
def test_a_study_is_in_the_very_folder_that_was_named(
    name: str, make_study: StudyMaker, tmp_path: Path
) -> None:
    config, url = make_study(), storage_url(tmp_path / name, "small")
    file = tmp_path / name / "runs" / "small" / "study.db"
    file.parent.mkdir(parents=True)

    create_study(config, url, {})

    assert [path for path in tmp_path.rglob("*.db")] == [file]
    assert sqlite_file(url) == file
    assert len(load_study_from(url, "small").get_trials()) == 1
    with snapshot(url) as copy:
        assert len(load_study_from(copy, "small").get_trials()) == 1
    with closing(sqlite3.connect(file)) as opened:
        assert opened.execute("SELECT study_name FROM studies").fetchall() == [("small",)]


@given(paths)
def test_whatever_a_path_holds_its_address_means_it(path: Path) -> None:
    assert sqlite_file(sqlite_url(path)) == path
    assert "{" not in sqlite_url(path)  # which Optuna would fill in


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://u:secret@host:5432/db", "postgresql+psycopg://u:***@host:5432/db"),
        ("postgresql+psycopg://host/db?user=u&password=secret", "postgresql+psycopg://host/db?password=***&user=u"),
        ("mysql+pymysql://host/db?passwd=secret", "mysql+pymysql://host/db?passwd=***"),
        ("mysql+pymysql://u:secret@host/db?PWD=secret&ssl=1", "mysql+pymysql://u:***@host/db?PWD=***&ssl=1"),
        ("postgresql://host/db?sslpassword=secret&sslmode=require",
         "postgresql://host/db?sslmode=require&sslpassword=***"),
        ("sqlite:////runs/study.db", "sqlite:////runs/study.db"),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert public(url) == shown
    assert without_secrets(f"cannot reach {url} with secret", url) == f"cannot reach {shown} with " + (
        "***" if "secret" in url else "secret"
    )


@pytest.mark.parametrize(
    "url",
    [
        "what?",
        "://",
        "nonsense",
        "postgresql://u:secret@host:port/db",
        "postgresql+psycopg://u:secret@/db?password=secret&host=127.0.0.1&port=1&connect_timeout=1",
        "sqlite://u:secret@host/study.db?password=secret",
        "sqlite:///nowhere/study.db?timeout=1&password=secret",
        "oracle+nothing://u:secret@host/db",
        "sqlite:///{password}",
    ],
)
def test_no_refusal_of_an_address_shows_its_password(url: str, make_study: StudyMaker) -> None:
    with pytest.raises((StorageError, MissingExtraError)) as caught:  # a driver need not be installed
        create_study(make_study(), url, {})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["sqlite:////out?/study.db", "sqlite:////out?x=1/study.db", "sqlite:///a.db?mode=ro"]
)
def test_a_question_mark_that_cuts_a_path_is_refused_and_not_obeyed(url: str) -> None:
    cut = create_engine(make_url(url).set(query={})).url.database

    with pytest.raises(StorageError, match=r"a question mark begins the options, .* write %3F for it"):
        parse(url)
    assert cut in ("/out", "a.db")  # where the store would be otherwise


@pytest.mark.parametrize("url", ["sqlite:///a.db?timeout=5", "sqlite:///file:a.db?mode=ro&uri=true"])
def test_the_options_that_sqlite_has_are_obeyed(url: str) -> None:
    assert parse(url).query == make_url(url).query


def test_only_a_file_of_sqlite_has_a_path() -> None:
    assert sqlite_file("sqlite:///runs/study.db") == Path("runs/study.db")
    assert sqlite_file("sqlite+pysqlite:////runs/study.db") == Path("/runs/study.db")
    assert sqlite_file("sqlite:////a%3Fb/study.db") == Path("/a?b/study.db")
    assert sqlite_file("sqlite:///file:a.db?uri=true") is None
    assert sqlite_file("mysql+pymysql://host/database") is None
    assert sqlite_file("sqlite://") is None
