"""Rows that a model is fitted to: a bad one is refused with a way out that `sft` and `reward` have."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ppo_tune.config.fitting import PairColumns
from ppo_tune.data.examples import read_pairs, read_preferences
from ppo_tune.errors import DataError

GOOD = {"prompt": "p", "response": "r", "chosen": "c", "rejected": "d"}


@pytest.mark.parametrize(
    ("read", "row", "problem"),
    [
        (read_pairs, {"prompt": "p"}, "there is no column 'response'; the row has prompt"),
        (read_preferences, {**GOOD, "chosen": 3}, "column 'chosen' must hold text, but got 3"),
    ],
)
def test_a_bad_row_is_to_be_mended_for_these_commands_drop_none(
    read: Callable[[Path], object], row: dict[str, object], problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, (GOOD, row))), encoding="utf-8")

    with pytest.raises(DataError) as caught:
        read(file)

    assert str(caught.value) == f"{file}:2: {problem}; mend the row"


@pytest.mark.parametrize(
    ("read", "row", "told"),
    [
        (
            partial(read_pairs, columns=PairColumns(prompt="promt")),
            {"prompt": "p", "response": "r"},
            "there is no column 'promt'; the row has prompt, response; did you mean --prompt prompt?",
        ),
        (
            read_pairs,
            {"Prompt": "p", "Response": "r"},
            "there is no column 'prompt'; the row has Prompt, Response; did you mean --prompt Prompt --reference "
            "Response?",
        ),
        (
            read_pairs,
            {"prompt": "p", "Antwort": "r"},
            "there is no column 'response'; the row has prompt, Antwort; name the column by --reference",
        ),
        (
            read_preferences,
            {"prompt": "p", "response": "r"},
            "there is no column 'chosen'; the row has prompt, response; name the columns by --chosen and --rejected",
        ),
        (
            read_preferences,
            {"Frage": "p"},
            "there is no column 'prompt'; the row has Frage; name the columns by --prompt, --chosen and --rejected",
        ),
        (
            read_preferences,
            {"prompt": "p", "the chosen": "c", "bad": "r"},
            "there is no column 'chosen'; the row has prompt, the chosen, bad; did you mean --chosen 'the chosen', and "
            "which column for --rejected?",
        ),
    ],
)
def test_a_column_that_the_first_row_has_not_is_to_be_named_by_its_option(
    read: Callable[[Path], object], row: dict[str, str], told: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps(row), encoding="utf-8")

    with pytest.raises(DataError) as caught:
        read(file)

    assert str(caught.value) == f"{file}:1: {told}"
