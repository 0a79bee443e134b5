# mypy: ignore-errors
"""Rows of files in every format that is read, and what is wrong with them."""

import csv
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ppo_tune.config.source import Source
from ppo_tune.data.formats import FORMATS
from ppo_tune.data.tables import Table, read_table
from ppo_tune.errors import DataError, MissingExtraError

law = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
formats = pytest.mark.parametrize("ending", FORMATS)

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


def not_utf8(shown: str) -> str:
    """What is said of bytes that would read so in the commonest other encoding."""
    return (
        f"not UTF-8; in encoding cp1252 it would read {shown!r}; name the encoding (encoding: cp1252, or --encoding "
        "cp1252), or save the file as UTF-8 (in Excel: CSV UTF-8)"
    )


MEND = "; mend the row, or drop such rows with drop_bad_rows: true"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, so that messages name short paths."""
    monkeypatch.chdir(tmp_path)


def read(name: str, content: str | bytes, *, drop: bool = False) -> Table:
    """A file of this content, whose column `prompt` must hold text."""
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(name, ["prompt"], drop_bad_rows=drop)


def refusal(name: str, content: str | bytes, *, drop: bool = False) -> str:
    """The message with which a file is refused."""
    with pytest.raises(DataError) as caught:
        read(name, content, drop=drop)
    return str(caught.value)


def texts(table: Table) -> list[str]:
    """The prompts of a table."""
    return [row.columns["prompt"] for row in table.rows]


def write_rows(name: str, rows: Sequence[dict[str, str]]) -> None:
    """Rows of text as a file of the format of its name."""
    if name.endswith(".gz"):
        plain = name.removesuffix(".gz")
        write_rows(plain, rows)
        Path(name).write_bytes(gzip.compress(Path(plain).read_bytes()))
        return
    match Path(name).suffix:
        case ".jsonl":
            Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            Path(name).write_text(json.dumps(list(rows), indent=2), encoding="utf-8")
        case ".csv" | ".tsv":
            with Path(name).open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(
                    file, rows[0].keys(), delimiter="\t" if name.endswith(".tsv") else ","
                )
                writer.writeheader()
                writer.writerows(rows)
        case ".parquet":
            parquet.write_table(pyarrow.Table.from_pylist(list(rows)), name)


@formats
@law
@given(st.lists(st.fixed_dictionaries({"prompt": TEXT, "x": st.text()}), min_size=1, max_size=4))
def test_every_format_reads_back_the_same_rows(ending, rows):
    readable = [row for row in rows if row["prompt"].strip()] or [{"prompt": "a", "x": ""}]
    write_rows(f"rows{ending}", readable)

    table = read_table(f"rows{ending}", ["prompt"])

    assert [row.columns for row in table.rows] == readable
    assert table.dropped == []


@pytest.mark.parametrize(
    ("ending", "places"),
    [
        pytest.param(".jsonl", ["rows.jsonl:1", "rows.jsonl:2"], id="jsonl"),
        pytest.param(".jsonl.gz", ["rows.jsonl.gz:1", "rows.jsonl.gz:2"], id="gzip"),
        pytest.param(".json", ["rows.json:item 1", "rows.json:item 2"], id="json"),
        pytest.param(".csv", ["rows.csv:2", "rows.csv:3"], id="csv"),
        pytest.param(".tsv", ["rows.tsv:2", "rows.tsv:3"], id="tsv"),
        pytest.param(".parquet", ["rows.parquet:row 1", "rows.parquet:row 2"], id="parquet"),
    ],
)
def test_every_row_knows_its_place(ending, places):
    write_rows(f"rows{ending}", [{"prompt": "a"}, {"prompt": "b"}])

    table = read_table(f"rows{ending}", ["prompt"])

    assert [row.where for row in table.rows] == places


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.jsonl", b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": "b"}\r\n', id="jsonl"),
        pytest.param("a.csv", b"\xef\xbb\xbfprompt\r\na\r\nb\r\n", id="csv"),
    ],
)
def test_files_of_windows_read_the_same(name, content):
    assert texts(read(name, content)) == ["a", "b"]


@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("a.jsonl", '{"prompt": "größe 😀"}\n{"prompt": "b"}\n', id="jsonl"),
        pytest.param("a.csv", "id\tprompt\r\n1\tgröße 😀\r\n2\tb\r\n", id="Excel's Unicode text"),
    ],
)
def test_utf_16_is_read_by_its_mark(name, text, code):
    assert texts(read(name, ("\ufeff" + text).encode(code))) == ["größe 😀", "b"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            "prompt,x\na,1\n".encode("utf-16-le"),
            "a.csv: every other byte is 0, as in UTF-16 or UTF-32; name its encoding (utf-16-le and utf-16-be are "
            "such), or save it as UTF-8",
            id="UTF-16 without a mark",
        ),
        pytest.param(
            "\ufeffprompt,x\na,1\n".encode("utf-32-le"),
            "a.csv: every other byte is 0, as in UTF-16 or UTF-32; name its encoding (utf-16-le and utf-16-be are "
            "such), or save it as UTF-8",
            id="UTF-32",
        ),
        pytest.param(
            "\ufeffprompt".encode("utf-16-le") + b"\x00",
            "a.csv: begins with the mark of UTF-16 and is not; name its encoding, or save it as UTF-8",
            id="half a letter",
        ),
    ],
)
def test_a_code_that_is_not_known_for_sure_is_refused_and_not_guessed(content, expected):
    assert refusal("a.csv", content) == expected
    assert refusal("a.csv", content, drop=True) == expected


@pytest.mark.parametrize(
    ("content", "separator", "expected"),
    [
        pytest.param('\ufeff"prompt";answer\r\na;1\r\n"b;c";2\r\n', ";", ["a", "b;c"], id="German Excel"),
        pytest.param("id;prompt\n1,5;a\n2,5;b\n", ";", ["a", "b"], id="decimal commas"),
        pytest.param("sep=;\r\nprompt;answer\r\na;1\r\n", ";", ["a"], id="sep"),
        pytest.param("SEP=|\nprompt|answer\na,;|1\n", "|", ["a,;"], id="another sep"),
        pytest.param("prompt\tanswer\na, b\t1\n", "\t", ["a, b"], id="tabs"),
        pytest.param("id|prompt\n1|a, b\n", "|", ["a, b"], id="bars"),
    ],
)
def test_the_separator_is_the_one_that_the_file_names_or_the_wanted_columns_ask_for(
    content, separator, expected
):
    table = read("a.csv", content)

    assert texts(table) == expected
    assert table.notes == (f"a.csv: read with {separator!r} between the cells",)


def test_a_file_with_the_wanted_columns_between_commas_is_read_by_commas():
    table = read("a.csv", "prompt,x;y\na;b,1\n")

    assert (texts(table), table.notes) == (["a;b"], ())


def test_lines_are_counted_after_a_line_that_names_the_separator():
    assert refusal("a.csv", "sep=;\nprompt;x\n;1\n").startswith("a.csv:3: column 'prompt' must hold text")


def test_a_header_without_the_wanted_column_is_told_by_the_cells_it_has():
    assert refusal("a.csv", '"Frage";Antwort\na;b\n') == (
        f"a.csv:2: there is no column 'prompt'; the row has Frage, Antwort{MEND}"
    )


@pytest.mark.parametrize("length", [131_073, 1_000_000])
def test_a_cell_may_be_as_long_as_it_likes(length):
    table = read("a.csv", f"prompt,x\n{'a' * length},1\n")

    assert [len(text) for text in texts(table)] == [length]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            "prompt,response,prompt\na,b,c\n", "a.csv:1: the header names 'prompt' twice", id="wanted"
        ),
        pytest.param("\nx,prompt,x\na,b,c\n", "a.csv:2: the header names 'x' twice", id="another"),
        pytest.param("sep=;\nprompt;prompt\na;b\n", "a.csv:2: the header names 'prompt' twice", id="sep"),
    ],
)
def test_a_header_that_names_a_column_twice_is_refused_whatever_may_be_dropped(content, expected):
    assert refusal("a.csv", content, drop=True) == f"{expected}; rename one of the columns"


def test_columns_without_a_name_are_no_columns_twice():
    assert texts(read("a.csv", ",prompt,,\n0,a,,\n")) == ["a"]


def test_a_parquet_file_with_a_column_twice_is_refused():
    parquet.write_table(pyarrow.table([pyarrow.array(["a"])] * 2, names=["prompt", "prompt"]), "a.parquet")

    with pytest.raises(DataError) as caught:
        read_table("a.parquet", ["prompt"])

    assert str(caught.value) == "a.parquet: two columns are called 'prompt'; rename one of them"


@pytest.mark.parametrize("word", ["nan", "None", "NULL"])
def test_a_word_for_an_empty_cell_is_kept_and_noted(word):
    table = read("a.csv", f"prompt,x\n{word},1\n{word},2\na nan,3\n")

    assert texts(table) == [word, word, "a nan"]
    assert table.notes == (f"a.csv: column 'prompt' holds the text {word!r} in 2 rows; was the cell empty?",)


def test_blank_lines_of_jsonl_are_counted_and_skipped():
    table = read("a.jsonl", '\n{"prompt": "a"}\n   \n{"prompt": "b"}')

    assert [row.where for row in table.rows] == ["a.jsonl:2", "a.jsonl:4"]


def test_blank_lines_of_csv_are_counted_and_skipped():
    table = read("a.csv", "prompt,x\n\na,1\n\n\nb,2\n")

    assert [row.where for row in table.rows] == ["a.csv:3", "a.csv:6"]


def test_a_row_of_csv_that_takes_several_lines_stands_where_it_begins():
    table = read("a.csv", 'prompt\n"a\nb"\nc\n')

    assert [(row.columns["prompt"], row.where) for row in table.rows] == [
        ("a\nb", "a.csv:2"),
        ("c", "a.csv:4"),
    ]


def test_values_of_other_columns_keep_their_types():
    table = read("a.jsonl", '{"prompt": "a", "n": 3, "tags": ["x"], "none": null}\n')

    assert table.rows[0].columns == {"prompt": "a", "n": 3, "tags": ["x"], "none": None}


bad_rows = pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}\n{"prompt": "first", "prompt": "second"}\n{"prompt": "b"}\n',
            "a.jsonl:2: the key 'prompt' stands twice in one object",
            id="jsonl key twice",
        ),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}\n{"prompt": "x", "n": {"y": 1, "y": 1}}\n{"prompt": "b"}\n',
            "a.jsonl:2: the key 'y' stands twice in one object",
            id="jsonl inner key twice",
        ),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}\n{"prompt": "\xff"}\n{"prompt": "b"}\n',
            "a.jsonl:2: " + not_utf8('{"prompt": "ÿ"}'),
            id="jsonl bytes",
        ),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}\n{prompt: 1}\n{"prompt": "b"}\n',
            "a.jsonl:2: not valid JSON: Expecting property name enclosed in double quotes",
            id="jsonl syntax",
        ),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}\n[1]\n{"prompt": "b"}\n',
            "a.jsonl:2: each line must hold a JSON object, but got '[1]'",
            id="jsonl list",
        ),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}\nnull\n{"prompt": "b"}\n',
            "a.jsonl:2: each line must hold a JSON object, but got 'null'",
            id="jsonl null",
        ),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}\n{"text": "x", "n": 1}\n{"prompt": "b"}\n',
            "a.jsonl:2: there is no column 'prompt'; the row has text, n",
            id="jsonl missing column",
        ),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}\n{"prompt": 5}\n{"prompt": "b"}\n',
            "a.jsonl:2: column 'prompt' must hold text, but got 5",
            id="jsonl number",
        ),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}\n{"prompt": " "}\n{"prompt": "b"}\n',
            "a.jsonl:2: column 'prompt' must hold text, but got ' '",
            id="jsonl blank",
        ),
        pytest.param(
            "a.csv",
            b"prompt,x\na,1\n\xff,2\nb,3\n",
            "a.csv:3: " + not_utf8("ÿ"),
            id="csv bytes",
        ),
        pytest.param(
            "a.csv",
            b"prompt,x\na,1\nc,2,3\nb,3\n",
            "a.csv:3: more cells than the header has columns",
            id="csv cells",
        ),
        pytest.param(
            "a.csv",
            b"prompt,x\na,1\n,2\nb,3\n",
            "a.csv:3: column 'prompt' must hold text, but got ''",
            id="csv empty",
        ),
        pytest.param(
            "a.csv",
            b"x,prompt\n1,a\n2\n3,b\n",
            "a.csv:3: column 'prompt' must hold text, but got None",
            id="csv short",
        ),
        pytest.param(
            "a.csv",
            b'prompt,x\na,1\n"c"d,2\nb,3\n',
            "a.csv:3: not valid CSV: ',' expected after '\"'",
            id="csv quote",
        ),
        pytest.param(
            "a.csv",
            b"prompt,x\na,1\nprompt,x\nb,3\n",
            "a.csv:3: holds the header again",
            id="csv header again",
        ),
        pytest.param(
            "a.csv",
            b'\xef\xbb\xbfprompt;x\r\na;1\r\n\xef\xbb\xbfprompt;x\r\nb;3\r\n',
            "a.csv:3: holds the header again",
            id="csv header again, with the mark of UTF-8",
        ),
        pytest.param(
            "a.csv",
            b"prompt,x\na,1\nc\0d,2\nb,3\n",
            "a.csv:3: column 'prompt' must hold text without NUL bytes, but got 'c\\x00d'",
            id="csv NUL",
        ),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}\n{"prompt": "c\\u0000"}\n{"prompt": "b"}\n',
            "a.jsonl:2: column 'prompt' must hold text without NUL bytes, but got 'c\\x00'",
            id="jsonl NUL",
        ),
    ],
)  # fmt: skip


@bad_rows
def test_a_bad_row_is_refused_with_file_line_reason_and_way_out(name, content, problem):
    assert refusal(name, content) == problem + MEND


@bad_rows
def test_a_bad_row_is_dropped_and_counted_when_asked_and_no_other_is(name, content, problem):
    table = read(name, content, drop=True)

    assert table.dropped == [problem]
    assert texts(table) == ["a", "b"]


def test_a_row_of_which_only_some_cells_are_their_columns_names_is_no_header():
    table = read("a.csv", "prompt,x\nprompt,1\nx,prompt\nprompt\n")

    assert texts(table) == ["prompt", "x", "prompt"]


def test_a_nul_byte_in_a_column_that_nobody_reads_is_let_be():
    assert texts(read("a.csv", "prompt,x\na,\0\n")) == ["a"]


def test_a_bad_row_of_parquet_is_refused_or_dropped_by_its_number():
    parquet.write_table(pyarrow.table({"prompt": ["a", None, "b", ""]}), "a.parquet")

    with pytest.raises(DataError) as caught:
        read_table("a.parquet", ["prompt"], drop_bad_rows=False)
    table = read_table("a.parquet", ["prompt"], drop_bad_rows=True)

    assert str(caught.value) == f"a.parquet:row 2: column 'prompt' must hold text, but got None{MEND}"
    assert texts(table) == ["a", "b"]
    assert table.dropped == [
        "a.parquet:row 2: column 'prompt' must hold text, but got None",
        "a.parquet:row 4: column 'prompt' must hold text, but got ''",
    ]


def test_every_column_that_is_asked_for_is_checked():
    Path("a.csv").write_text("prompt,answer\na,\n")

    with pytest.raises(DataError, match=r"a\.csv:2: column 'answer' must hold text, but got ''"):
        read_table("a.csv", ["prompt", "answer"])


def test_a_header_that_is_no_csv_stands_on_line_1():
    assert refusal("a.csv", '"prompt"x,y\na,1\n').startswith("a.csv:1: not valid CSV")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"prompt": "a", "n": ' + "1" * 5000 + "}", id="a number of 5000 digits"),
        pytest.param('{"prompt": "a", "n": ' + "[" * 100_000 + "]" * 100_000 + "}", id="a deep list"),
    ],
)
def test_json_that_python_cannot_hold_is_a_bad_row(content):
    assert refusal("a.jsonl", content).startswith("a.jsonl:1: ")


def test_half_a_surrogate_pair_is_no_text():
    assert refusal("a.jsonl", '{"prompt": "\\ud800"}\n').startswith(
        "a.jsonl:1: column 'prompt' must hold text"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.jsonl", "", id="jsonl"),
        pytest.param("a.jsonl", "\n\n", id="blank jsonl"),
        pytest.param("a.csv", "", id="csv"),
        pytest.param("a.csv", "prompt,x\n", id="only a header"),
    ],
)
def test_a_file_without_a_row_is_refused(name, content):
    assert refusal(name, content) == f"{name}: at least one row is needed, but it is empty"


def test_a_parquet_file_without_a_row_is_refused():
    parquet.write_table(pyarrow.table({"prompt": pyarrow.array([], pyarrow.string())}), "a.parquet")

    with pytest.raises(DataError, match=r"a\.parquet: at least one row is needed, but it is empty"):
        read_table("a.parquet", ["prompt"])


def test_a_file_of_which_all_rows_are_dropped_tells_why_the_first_was():
    assert refusal("a.jsonl", '{"prompt": ""}\n{"prompt": 3}\n', drop=True) == (
        "a.jsonl: at least one row is needed, but all 2 rows were dropped, the first because "
        "a.jsonl:1: column 'prompt' must hold text, but got ''"
    )


@formats
def test_a_missing_file_is_told_with_the_folder_that_was_searched(ending, tmp_path):
    with pytest.raises(DataError) as caught:
        read_table(f"none{ending}", ["prompt"])

    assert str(caught.value) == f"none{ending}: no such file (looked in {tmp_path})"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            '["a"]', "a.jsonl:1: each line must hold a JSON object, but got '[\"a\"]'",
            id="an array of texts",
        ),
        pytest.param(
            '{\n  "prompt": "a"\n}\n',
            "a.jsonl:1: not valid JSON: Expecting property name enclosed in double quotes",
            id="pretty",
        ),
        pytest.param('{"prompt": "a"},\n', "a.jsonl:1: not valid JSON: Extra data", id="commas"),
        pytest.param(
            '{"messages": []}\n', "a.jsonl:1: there is no column 'prompt'; the row has messages", id="chats"
        ),
    ],
)  # fmt: skip
def test_other_shapes_of_json_are_refused_in_one_sentence(content, expected):
    assert refusal("a.jsonl", content) == expected + MEND


@pytest.mark.parametrize(
    ("name", "ending"),
    [("a.txt", ".txt"), ("a.v2.xlsx", ".xlsx"), ("a", ""), ("a.gz", ".gz"), ("a.parquet.gz", ".parquet.gz")],
)
def test_another_format_is_refused_with_the_choices(name, ending):
    with pytest.raises(DataError) as caught:
        read_table(name, ["prompt"])

    assert str(caught.value) == (
        f"{name}: the format must be one of .jsonl, .json, .csv, .tsv, .jsonl.gz, .json.gz, .csv.gz, .tsv.gz, "
        f".parquet, but got {ending!r}{'; save it as CSV UTF-8 in Excel' if ending == '.xlsx' else ''}"
    )


def test_endings_may_be_in_capitals():
    assert texts(read("A.CSV", "prompt,x\na,1\n")) == ["a"]
    assert texts(read("A.V2.JSONL.GZ", gzip.compress(b'{"prompt": "a"}\n'))) == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"prompt": "a"}\n', id="not compressed"),
        pytest.param(gzip.compress(b'{"prompt": "a"}\n')[:-9], id="cut off"),
        pytest.param(gzip.compress(b"a" * 99)[:14] + b"\xff" * 20, id="damaged"),
    ],
)
def test_what_gzip_did_not_make_is_refused(content):
    assert refusal("a.jsonl.gz", content, drop=True).startswith("a.jsonl.gz: not a file that gzip made: ")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_one_bad_line_costs_no_other_whatever_the_file_is_called(name):
    table = read(name, b'{"prompt": "a"}\n{"prompt": "\xff"}\n{"x": 1, "x": 2}\n{"prompt": "b"}\n', drop=True)

    assert texts(table) == ["a", "b"]
    assert table.dropped == [
        f"{name}:2: " + not_utf8('{"prompt": "ÿ"}'),
        f"{name}:3: the key 'x' stands twice in one object",
    ]


@pytest.mark.parametrize(
    ("content", "expected", "note"),
    [
        pytest.param('[{"prompt": "a"},\n {"prompt": "b"}]', ["a", "b"], "", id="a list"),
        pytest.param('{"prompt": "a"}\n\n{"prompt": "b"}\n', ["a", "b"], "", id="lines"),
        pytest.param('{\n  "prompt": "a", "turns": [{"x": 1}]\n}', ["a"], "", id="one record"),
        pytest.param('{"prompt": "a", "meta": {"x": 1}}', ["a"], "", id="one record with an object"),
        pytest.param(
            '{"version": 1, "data": [{"prompt": "a"}, {"prompt": "b"}]}',
            ["a", "b"], "read the list 'data' of the object that it holds", id="a list by name",
        ),
        pytest.param(
            '{"prompt": ["a", "b"], "n": [1, 2]}', ["a", "b"], "read as columns with 2 rows", id="columns"
        ),
        pytest.param(
            pandas.DataFrame({"prompt": ["a", "b"], "n": [1, 2]}).to_json(),
            ["a", "b"], "read as columns with 2 rows", id="pandas",
        ),
    ],
)  # fmt: skip
def test_json_is_read_in_the_shapes_that_tools_write(content, expected, note):
    table = read("a.json", content)

    assert texts(table) == expected
    assert table.notes == ((f"a.json: {note}",) if note else ())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("", "a.json: at least one row is needed, but it is empty", id="empty"),
        pytest.param("[]", "a.json: at least one row is needed, but it is empty", id="an empty list"),
        pytest.param("3", "a.json: must hold a list of JSON objects, but got '3'", id="a number"),
        pytest.param(
            '[{"prompt": "a"},\n {"prompt": }]', "a.json:2: not valid JSON: Expecting value", id="no value"
        ),
        pytest.param('[{"prompt": "a"}', "a.json:1: not valid JSON: Expecting ',' delimiter", id="cut off"),
        pytest.param(
            '[{"prompt": "a", "prompt": "b"}]',
            "a.json: the key 'prompt' stands twice in one object", id="a key twice",
        ),
        pytest.param(
            b'[\n{"prompt": "\xff"}]',
            "a.json:2: " + not_utf8('[\n{"prompt": "ÿ"}]'), id="another code",
        ),
        pytest.param(
            "[" * 100_000, "a.json: more than Python can hold: maximum recursion depth exceeded", id="deep"
        ),
        pytest.param('["a"]', f"a.json:item 1: each item must hold a JSON object, but got 'a'{MEND}", id="text"),
        pytest.param(
            '[{"prompt": "a"}, {"prompt": ""}]',
            f"a.json:item 2: column 'prompt' must hold text, but got ''{MEND}", id="a bad row",
        ),
    ],
)  # fmt: skip
def test_json_that_cannot_be_used_is_refused_with_its_place(content, expected):
    assert refusal("a.json", content).startswith(expected)


UMLAUTS = "Grüße aus Köln €"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.csv", f"prompt;x\r\n{UMLAUTS};1\r\n", id="csv"),
        pytest.param("a.csv.gz", f"prompt;x\r\n{UMLAUTS};1\r\n", id="csv by gzip"),
        pytest.param("a.jsonl", f'{{"prompt": "{UMLAUTS}"}}\n', id="lines"),
        pytest.param("a.json", f'[{{"prompt": "{UMLAUTS}"}}]', id="json"),
    ],
)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-32", "iso8859-15", "utf-8-sig"])
def test_a_text_is_read_by_the_encoding_that_is_named(name, content, encoding):
    written = content.encode(encoding)
    Path(name).write_bytes(gzip.compress(written) if name.endswith("gz") else written)

    assert texts(read_table(name, ["prompt"], source=Source(encoding=encoding))) == [UMLAUTS]


def test_a_text_of_another_encoding_than_the_named_is_refused_with_its_place():
    Path("a.csv").write_bytes(b"prompt\nfine\nnot \x81\n")

    with pytest.raises(DataError) as caught:
        read_table("a.csv", ["prompt"], source=Source(encoding="cp1252"))

    assert str(caught.value) == (
        "a.csv:3: byte 16 is no text of encoding cp1252 (character maps to <undefined>); name the one by which the "
        "file was written"
    )


def test_a_table_without_encoding_subset_or_split_refuses_each():
    pandas.DataFrame({"prompt": ["a"]}).to_parquet("a.parquet")
    Path("a.csv").write_text("prompt\na\n", encoding="utf-8")

    with pytest.raises(DataError, match=r"a text file has an encoding, Parquet has none; leave out encoding"):
        read_table("a.parquet", ["prompt"], source=Source(encoding="cp1252"))
    with pytest.raises(
        DataError,
        match=r"a data set has these parts, a file has none; leave out subset \('x'\) and split \('y'\)",
    ):
        read_table("a.csv", ["prompt"], source=Source(subset="x", split="y"))


def test_lines_that_are_one_list_are_read_as_such():
    table = read("a.jsonl", '[\n{"prompt": "a"},\n{"prompt": "b"}\n]\n')

    assert texts(table) == ["a", "b"]
    assert table.notes == ("a.jsonl: read as JSON, for it holds one list",)


def test_parquet_without_its_library_names_the_extra(monkeypatch):
    Path("a.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(MissingExtraError) as caught:
        read_table("a.parquet", ["prompt"])

    assert str(caught.value) == "pyarrow is not installed; run: pip install 'ppo-tune[parquet]'"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"prompt\na\n", id="text"),
        pytest.param(b"PAR1PAR1", id="no footer"),
        pytest.param(b"PAR1" + b"x" * 20 + (12).to_bytes(4, "little") + b"PAR1", id="broken footer"),
    ],
)
def test_what_is_no_parquet_file_is_refused(content):
    assert refusal("a.parquet", content).startswith("a.parquet: not a Parquet file: ")


def test_parquet_text_that_is_not_utf_8_is_refused():
    damaged = pyarrow.array([b"a", b"\xff"], pyarrow.binary()).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"prompt": damaged}), "a.parquet")

    with pytest.raises(DataError, match=r"a\.parquet"):
        read_table("a.parquet", ["prompt"])


def test_a_parquet_file_with_a_damaged_page_is_refused():
    parquet.write_table(pyarrow.table({"prompt": ["a", "b"]}), "a.parquet")
    content = bytearray(Path("a.parquet").read_bytes())
    content[4:24] = b"\xff" * 20

    assert refusal("a.parquet", bytes(content)).startswith("a.parquet: not a Parquet file: ")


jsonish = st.lists(
    st.sampled_from([b'{"prompt": "a"}', b"\n", b"{", b"}", b'"', b",", b"[", b"]", b":", b"1e999", b"NaN"])
    | st.binary(max_size=3)
).map(b"".join)
csvish = st.lists(
    st.sampled_from([b"prompt", b"a", b"\n", b"\r", b",", b'"', b'""', b"\0", b"\xef\xbb\xbf"])
    | st.binary(max_size=3)
).map(b"".join)
parquetish = st.binary(max_size=40).map(
    lambda middle: b"PAR1" + middle + len(middle).to_bytes(4, "little") + b"PAR1"
)


def outcome(name: str, content: bytes, *, drop: bool) -> tuple[str, list[str]]:
    """The message with which a file is refused and no prompts, or its name and its prompts."""
    try:
        return name, texts(read(name, content, drop=drop))
    except DataError as error:
        return str(error), []


@pytest.mark.parametrize("drop", [False, True])
@law
@given(
    st.one_of(
        st.tuples(st.just("a.jsonl"), jsonish | st.binary()),
        st.tuples(st.just("a.json"), jsonish | st.binary()),
        st.tuples(st.just("a.csv"), csvish | st.binary()),
        st.tuples(st.just("a.tsv"), csvish | st.binary()),
        st.tuples(st.just("a.json.gz"), (jsonish | st.binary()).map(gzip.compress) | st.binary()),
        st.tuples(st.just("a.parquet"), parquetish | st.binary()),
    )
)
def test_whatever_a_file_holds_it_is_read_or_refused_with_its_name(drop, file):
    message, prompts = outcome(*file, drop=drop)

    assert message.startswith(file[0])
    assert all(prompt.strip() for prompt in prompts)


def test_a_wrong_name_in_a_file_of_semicolons_is_told_by_its_columns():
    content = 'Frage;Antwort;Preis\r\n"Was,\nsagst du?";"Nichts, heute";3\r\n'

    assert refusal("a.csv", content) == (
        "a.csv:2: there is no column 'prompt'; the row has Frage, Antwort, Preis" + MEND
    )
