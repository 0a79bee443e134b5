"""Addresses of stores: URLs that mean what they say, and are shown without their secrets."""

import re
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ppo_tune.calling import argument
from ppo_tune.errors import StorageError

HIDDEN = "***"

_SECRET = re.compile(r"pass(word|wd|phrase)?$|pwd|secret|token", re.IGNORECASE)
"""Keys of a query whose values are secret."""

_SQLITE_QUERY = frozenset((
    "uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements",
))  # fmt: skip
"""What the driver understands; other keys only in a URI of SQLite's own."""


def parse(url: str) -> URL:
    """A store's address, read.

    Raises:
        StorageError: If it is none, or names a file that SQLite would not open; its password is not shown.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # such as a port that is no number
        raise StorageError(
            "the storage must be a URL such as sqlite:///study.db or postgresql+psycopg://user@host/database"
        ) from None
    options = parsed.query
    if (
        is_sqlite(parsed)
        and "?" in url
        and not (options and ("uri" in options or _SQLITE_QUERY.issuperset(options)))
    ):
        raise StorageError(
            f"storage {public(url)}: in a URL a question mark begins the options, and SQLite has none such; in the "
            "name of a file or folder write %3F for it"
        )
    return parsed


def is_sqlite(url: URL) -> bool:
    """Whether this is the address of an SQLite store."""
    return url.get_backend_name() == "sqlite"


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite store; None for any other store.

    Raises:
        StorageError: As `parse` does.
    """
    parsed = parse(url)
    is_file = (
        is_sqlite(parsed) and parsed.database not in (None, "", ":memory:") and "uri" not in parsed.query
    )
    return Path(str(parsed.database)) if is_file else None


def sqlite_url(path: Path) -> str:
    """The address of an SQLite file, whatever its path holds.

    Raises:
        StorageError: If no URL can say it.
    """
    url = URL.create("sqlite", database=str(path)).render_as_string()
    if make_url(url).database != str(path):  # before SQLAlchemy 2.1 nothing is escaped
        raise StorageError(
            f"{path} cannot be written as a URL; choose a folder without ?, % and # with {argument('out')}"
        )
    return url


def public(url: str) -> str:
    """An address without its password, wherever in it that stands."""
    parsed = make_url(url)
    query = {key: HIDDEN if _SECRET.search(key) else value for key, value in parsed.query.items()}
    return parsed.set(query=query).render_as_string().replace("%2A%2A%2A", HIDDEN)


def without_secrets(text: str, url: str) -> str:
    """What somebody says of an address, without the password that it may repeat."""
    parsed, text = make_url(url), text.replace(url, public(url))
    secrets = [parsed.password, *(value for key, value in parsed.query.items() if _SECRET.search(key))]
    for secret in secrets:
        for part in (secret,) if isinstance(secret, str) else secret or ():
            text = text.replace(part, HIDDEN) if part else text
    return text
