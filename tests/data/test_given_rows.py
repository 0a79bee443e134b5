"""Prompts of a Python session as rows: every kind that people have, and a sentence for every other."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ppo_tune.data.formats import Row, records
from ppo_tune.data.given_rows import lines_of, rows_of
from ppo_tune.errors import ConfigError

CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]


class DataSet:
    """As much of a `datasets.Dataset` as is used: rows as mappings, one after the other."""

    column_names = ("prompt", "n")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> dict[str, Any]:
        if i >= len(self):
            raise IndexError(i)
        return {"prompt": f"p{i}", "n": i}

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))


KINDS = {
    "texts": (["a", "b"], [{"prompt": "a"}, {"prompt": "b"}]),
    "a tuple of texts": (("a",), [{"prompt": "a"}]),
    "a generator": ((text for text in ("a", "b")), [{"prompt": "a"}, {"prompt": "b"}]),
    "chats": ([CHAT], [{"prompt": CHAT}]),
    "rows": ([{"prompt": "a", "ref": "b"}], [{"prompt": "a", "ref": "b"}]),
    "a column of chats": ([{"prompt": CHAT, "n": 1}], [{"prompt": CHAT, "n": 1}]),
    "a data set": (DataSet(), [{"prompt": "p0", "n": 0}, {"prompt": "p1", "n": 1}]),
    "a data frame": (
        pd.DataFrame({"prompt": ["a", "b"], "n": [1, 2], "x": [0.5, None]}),
        [{"prompt": "a", "n": 1, "x": 0.5}, {"prompt": "b", "n": 2, "x": None}],
    ),
    "a column of pandas": (pd.Series(["a"]), [{"prompt": "a"}]),
    "an array": (np.array(["a"]), [{"prompt": "a"}]),
}  # fmt: skip


@pytest.mark.parametrize(("prompts", "rows"), KINDS.values(), ids=KINDS)
def test_prompts_of_every_kind_are_rows(prompts: Any, rows: list[dict[str, Any]]) -> None:
    found, are_chats = rows_of(prompts, "prompt")

    assert found == rows
    assert are_chats == isinstance(rows[0]["prompt"], list)


def test_texts_stand_in_the_column_that_is_asked_for() -> None:
    assert rows_of(["a"], "question")[0] == [{"question": "a"}]


def test_values_of_other_libraries_become_those_of_json() -> None:
    row = {
        "prompt": "x",
        "i": np.int64(3), "f": np.float32(0.5), "b": np.bool_(True), "a": np.array([1, 2]), "t": torch.tensor([1.5]),
        "d": date(2026, 1, 2), "none": pd.NaT, "na": pd.NA, "inf": float("inf"), "p": Path("x"), 1: {2: (3,)},
    }  # fmt: skip

    (found,), _ = rows_of([row], "prompt")

    assert json.loads(json.dumps(found)) == found
    assert found == {
        "prompt": "x",
        "i": 3, "f": 0.5, "b": True, "a": [1, 2], "t": [1.5], "d": "2026-01-02", "none": None, "na": None, "inf": None,
        "p": "x", "1": {"2": [3]},
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a\nb\r\nc", "a\u2028b\x85c", "\ud800 half", "ü 对 😀", '"quoted"', "\x00"])
def test_a_file_of_rows_says_what_they_say(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(lines_of([{"prompt": text}, {"prompt": "b"}]), encoding="utf-8")

    assert [row.columns for row in records(path, ["prompt"], []) if isinstance(row, Row)] == [
        {"prompt": text},
        {"prompt": "b"},
    ]


WRONG = {
    "another column": (
        [{"question": "a", "n": 1}],
        "column 'prompt' must be there, but prompt 1 has question, n; name the column by prompt=",
    ),
    "no columns": ([{}], "column 'prompt' must be there, but prompt 1 has none; name the column by prompt="),
    "nothing": ([], "must hold at least one prompt, but got an empty list"),
    "splits": (
        {"train": DataSet(), "test": DataSet()},
        "must be a list or a data set, but got a dict of train, test; take one of them",
    ),
    "a number": (3, "must be a list of prompts, a data set or the name of a file, but got 3"),
    "bytes": (b"a", "must be a list of prompts, a data set or the name of a file, but got b'a'"),
    "numbers": (
        ["a", 3],
        "each must be a text, a list of messages or a mapping of columns, but prompt 2 is 3",
    ),
    "an empty list": (
        ["a", []],
        "each must be a text, a list of messages or a mapping of columns, but prompt 2 is []",
    ),
    "texts and chats": (
        ["a", CHAT],
        "must be texts or lists of messages, but some are the one and some the other",
    ),
    "an object": (
        [{"prompt": "a", "x": 1j}],
        "prompt 1, column 'x' must hold text, numbers, lists or mappings, but got 1j; leave the column out",
    ),
}


@pytest.mark.parametrize(("prompts", "message"), WRONG.values(), ids=WRONG)
def test_what_are_no_prompts_is_said(prompts: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rows_of(prompts, "prompt")

    assert str(caught.value) == f"prompts: {message}"
