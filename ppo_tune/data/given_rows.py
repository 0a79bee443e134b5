"""Prompts that a user has in Python as rows of a file: texts, conversations, mappings, a data frame or a data set."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppo_tune.errors import ConfigError, Problem

PLACE = "prompts"


def rows_of(prompts: Any, column: str) -> tuple[list[dict[str, Any]], bool]:
    """Prompts as rows, and whether they are conversations.

    Args:
        prompts: Texts; lists of messages; mappings of columns; a data frame of pandas; a `datasets.Dataset`.
        column: Which column of the rows is the prompt.

    Raises:
        ConfigError: If they are something else.
    """
    rows = [_row(prompt, number, column) for number, prompt in enumerate(_listed(prompts), start=1)]
    if not rows:
        raise _refused(f"must hold at least one prompt, but got an empty {type(prompts).__name__}")
    bare = next((number for number, row in enumerate(rows, start=1) if column not in row), None)
    if bare is not None:
        has = ", ".join(rows[bare - 1]) or "none"
        raise _refused(
            f"column {column!r} must be there, but prompt {bare} has {has}; name the column by prompt="
        )
    chats = {isinstance(row.get(column), list) for row in rows}
    if len(chats) > 1:
        raise _refused("must be texts or lists of messages, but some are the one and some the other")
    return rows, chats == {True}


def _listed(prompts: Any) -> Iterable[Any]:
    if isinstance(prompts, Mapping):
        splits = ", ".join(map(str, prompts))
        raise _refused(
            f"must be a list or a data set, but got a {type(prompts).__name__} of {splits}; take one of them"
        )
    if hasattr(prompts, "iloc") and hasattr(prompts, "columns"):  # a data frame of pandas
        return prompts.to_dict(orient="records")  # type: ignore[no-any-return]
    if isinstance(prompts, bytes) or not isinstance(prompts, Iterable):
        raise _refused(f"must be a list of prompts, a data set or the name of a file, but got {prompts!r}")
    return prompts


def _row(prompt: Any, number: int, column: str) -> dict[str, Any]:
    if isinstance(prompt, str) or (isinstance(prompt, list | tuple) and _are_messages(prompt)):
        prompt = {column: prompt}
    if not isinstance(prompt, Mapping):
        raise _refused(
            f"each must be a text, a list of messages or a mapping of columns, but prompt {number} is {prompt!r}"
        )
    return {str(name): _plain(value, f"prompt {number}, column {name!r}") for name, value in prompt.items()}


def _are_messages(prompt: list[Any] | tuple[Any, ...]) -> bool:
    return bool(prompt) and all(isinstance(message, Mapping) for message in prompt)


def _plain(value: Any, where: str) -> Any:
    """A value as JSON has it; numbers and arrays of other libraries become Python's.

    Raises:
        ConfigError: If JSON knows no such value.
    """
    match value:
        case str() | bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _plain(inner, where) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner, where) for inner in value]
        case Path():
            return str(value)
    if repr(value) == "<NA>":
        return None
    if callable(getattr(value, "tolist", None)):  # of numpy and torch
        return _plain(value.tolist(), where)
    if callable(getattr(value, "isoformat", None)):  # a date
        return None if value != value else value.isoformat()
    raise _refused(
        f"{where} must hold text, numbers, lists or mappings, but got {value!r}; leave the column out"
    )


def lines_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a JSONL file has them; what is no character is escaped, so that reading it names its row."""
    return "".join(_line(row) + "\n" for row in rows)


def _line(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair
        return json.dumps(row)
    return text


def _refused(what: str) -> ConfigError:
    return ConfigError([Problem(PLACE, what)])
