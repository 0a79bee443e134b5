"""Rows that a model is fitted to: a bad one is refused with a way out that `sft` and `reward` have."""

import json
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas
import pytest

from ppo_tune.config.fitting import PairColumns
from ppo_tune.data.chats import Chat
from ppo_tune.data.examples import read_pairs, text_file
from ppo_tune.data.labelled import read_labels
from ppo_tune.errors import ConfigError, DataError

GOOD = {"prompt": "p", "response": "r", "chosen": "c", "rejected": "d"}


@pytest.mark.parametrize(
    ("read", "row", "problem"),
    [
        (read_pairs, {"prompt": "p"}, "there is no column 'response'; the row has prompt"),
        (read_labels, {**GOOD, "chosen": 3}, "column 'chosen' must hold text, but got 3"),
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
            "there is no column 'promt'; the row has prompt, response; did you mean prompt='prompt'?",
        ),
        (
            read_pairs,
            {"Prompt": "p", "Response": "r"},
            "there is no column 'prompt'; the row has Prompt, Response; did you mean prompt='Prompt', "
            "reference='Response'?",
        ),
        (
            read_pairs,
            {"prompt": "p", "Antwort": "r"},
            "there is no column 'response'; the row has prompt, Antwort; name the column by reference",
        ),
        (
            read_labels,
            {"prompt": "p", "chosen": "r"},
            "there is no column 'rejected'; the row has prompt, chosen; name the column by rejected",
        ),
        (
            read_labels,
            {"Frage": "p"},
            "there is no column 'prompt'; the row has Frage; name the columns by prompt, chosen and rejected",
        ),
        (
            read_labels,
            {"prompt": "p", "the chosen": "c", "bad": "r"},
            "there is no column 'chosen'; the row has prompt, the chosen, bad; did you mean chosen='the chosen', and "
            "which column for rejected?",
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


N_ROWS, N_LETTERS = 2_000, 6_000
"""Of a file whose prompts alone are 12 million letters."""

MOST_BYTES = 4_000_000
"""That reading it may take: parts of the file, and where each row ends."""


@pytest.fixture(scope="module", params=["jsonl", "json", "json.gz", "csv", "parquet"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("large") / f"rows.{request.param}"
    texts = [f"{i} {'word ' * (N_LETTERS // 5)}" for i in range(N_ROWS)]
    rows = pandas.DataFrame({"prompt": texts, "response": "a", "chosen": "a", "rejected": "b"})
    match request.param:
        case "csv":
            rows.to_csv(file, index=False)
        case "parquet":
            rows.to_parquet(file)
        case _:
            rows.to_json(file, orient="records", lines=True)
    return file


@pytest.mark.parametrize("read", [read_pairs, read_labels])
def test_memory_does_not_grow_with_the_file(read: Callable[[Path], Any], large: Path) -> None:
    tracemalloc.start()
    try:
        rows = read(large).rows
        longest = max(len(row[0]) for row in rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (len(rows), longest > N_LETTERS) == (N_ROWS, True)
    assert peak < MOST_BYTES < N_ROWS * N_LETTERS / 2


def test_texts_and_conversations_come_back_from_their_file_as_they_were() -> None:
    turns = [{"role": "system", "content": "ß\ud800"}, {"role": "user", "content": "😀\n"}]
    kept = text_file()
    kept.append(("a\u2028b\n", "", "\x00"))
    kept.append((Chat(turns), "c"))

    assert [*kept] == [("a\u2028b\n", "", "\x00"), (Chat(turns), "c")]
    assert kept[1][0].turns == tuple(turns)


def test_a_broken_template_is_said_before_the_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_pairs(tmp_path / "none.jsonl", PairColumns(template="{prompt"))

    assert str(caught.value) == (
        "template: expected '}' before end of string, in '{prompt'; double a literal brace"
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{k} {no}", "template: there is no column 'no' for '{k} {no}'; the file has prompt, response, k, late"),
        ("{k} {prompt}", "a.jsonl:2: column 'k', which template names, must hold text, but got None; mend the row"),
        ("{late}", "a.jsonl:1: there is no column 'late', which template names; mend the row"),
        ("{k} {late}", "a.jsonl:1: there is no column 'late', which template names; mend the row"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_template_is_said_by_all_columns_of_the_file(
    template: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows: list[dict[str, Any]] = [{"k": "a"}, {"k": None}, {"k": "c", "late": "d"}]
    lines = (json.dumps({"prompt": "p", "response": "r", **row}) + "\n" for row in rows)
    Path("a.jsonl").write_text("".join(lines), encoding="utf-8")

    with pytest.raises((ConfigError, DataError)) as caught:
        read_pairs("a.jsonl", PairColumns(template=template))

    assert str(caught.value) == expected
