"""Rows that a model is fitted to: a bad one is refused with a way out that `sft` and `reward` have."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ppo_tune.config.fitting import PairColumns
from ppo_tune.data.examples import read_pairs, read_preferences
from ppo_tune.errors import DataError


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (partial(read_pairs, columns=PairColumns(prompt="nope")), "there is no column 'nope'"),
        (read_preferences, "there is no column 'chosen'"),
    ],
)
def test_a_bad_row_is_to_be_mended_for_these_commands_drop_none(
    read: Callable[[Path], object], problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "p", "response": "r"}\n', encoding="utf-8")

    with pytest.raises(DataError) as caught:
        read(file)

    assert str(caught.value) == f"{file}:1: {problem}; the row has prompt, response; mend the row"
