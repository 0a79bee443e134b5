# mypy: ignore-errors
"""YAML without surprises."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_tune.config.strict_yaml import read_yaml
from ppo_tune.errors import ConfigError, Problem

law = settings(deadline=None, max_examples=100)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126))
)
keys = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=5)
documents = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8)
SNIPPETS = [
    "a", ": ", "- ", "? ", "\n", "  ", "{", "}", "[", "]", ", ", "'", '"', "|", ">", "#", "\t", "---\n",
    "&x ", "*x", "<<", "!x ", "!!int ", "!!float ", "!!bool ", "!!null ", "!!str ", "!!set ", "! ",
    "%YAML 1.1\n", "1", "-", "_", "1e5", "0x", "0o9", ".nan", "~", "true", "2020-01-01", "\ufeff",
    "\x01", "é",
]  # fmt: skip
snippets = st.lists(st.sampled_from(SNIPPETS), max_size=8).map(lambda drawn: "a: " + "".join(drawn))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, so that messages name short paths."""
    monkeypatch.chdir(tmp_path)


def read(text: str | bytes) -> object:
    """What a file says, if nothing is wrong with it."""
    document = write_and_read(text)
    assert document.problems == []
    return document.data


def write_and_read(text: str | bytes):
    """The document of a file."""
    Path("a.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return read_yaml(Path("a.yaml"))


def refusal(text: str | bytes) -> str:
    """The message with which a file is refused."""
    with pytest.raises(ConfigError) as caught:
        write_and_read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    "spelling",
    ["1e-5", "1E-5", "1e-05", "1.e-5", "1.0e-5", "1.0E-05", "+1e-5", "10e-6", "0.00001", ".00001", "1_0e-6"],
)
def test_a_float_is_a_number_however_it_is_spelt(spelling):
    assert read(f"x: {spelling}") == {"x": 1e-5}


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        pytest.param("1e5", 100_000.0, id="exponent without a dot"),
        pytest.param("-3", -3, id="negative"),
        pytest.param("6_400", 6400, id="underscore"),
        pytest.param("010", 10, id="a leading zero is not octal"),
        pytest.param("0o10", 8, id="octal of YAML 1.2"),
        pytest.param("0x10", 16, id="hexadecimal"),
        pytest.param("1:30", "1:30", id="not sexagesimal"),
        pytest.param("'1e-5'", "1e-5", id="quoted number"),
        pytest.param("no", "no", id="no is a word"),
        pytest.param("on", "on", id="on is a word"),
        pytest.param("true", True, id="true"),
        pytest.param("~", None, id="tilde"),
        pytest.param("", None, id="nothing"),
        pytest.param("2020-01-02", "2020-01-02", id="a date is text"),
        pytest.param("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", id="text"),
        pytest.param("1.2.3", "1.2.3", id="a version is text"),
    ],
)
def test_a_scalar_is_what_a_reader_thinks_it_is(scalar, expected):
    value = read(f"x: {scalar}")["x"]

    assert (value, type(value)) == (expected, type(expected))


@law
@given(documents)
def test_a_json_file_says_in_yaml_what_it_says_in_json(data):
    assert read(json.dumps(data)) == data


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_a_file_that_says_nothing_is_an_empty_mapping(text):
    assert read(text) == {}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"a: 1\r\nb: 2\r\n", id="Windows line ends"),
        pytest.param(b"\xef\xbb\xbfa: 1\nb: 2\n", id="byte order mark"),
        pytest.param(b"---\na: 1\nb: 2\n...\n", id="document marks"),
    ],
)
def test_other_editors_files_read_the_same(raw):
    assert read(raw) == {"a": 1, "b": 2}


def test_every_key_and_item_has_its_line():
    document = write_and_read("a: 1\n# a comment\nb:\n  c: 2\n  d:\n    - x\n    - {e: 3}\n")

    places = [("a",), ("b",), ("b", "c"), ("b", "d"), ("b", "d", 0), ("b", "d", 1, "e")]
    assert [document.line(place) for place in places] == [1, 3, 4, 5, 6, 7]


def test_what_is_not_there_has_the_line_of_the_closest_thing_around_it():
    document = write_and_read("a: 1\nb:\n  c: 2\n")

    assert document.line(("b", "missing", "deeper")) == 2
    assert document.line(("missing",)) is None


def test_a_key_that_stands_twice_names_both_lines_and_the_first_one_counts():
    document = write_and_read("a: 1\nb: 2\na: 3\n")

    assert document.data == {"a": 1, "b": 2}
    assert document.problems == [Problem("a", "this key stands here and on line 1; keep one", 3)]


def test_the_same_key_in_two_mappings_is_no_mistake():
    assert read("a: {x: 1}\nb: {x: 2}\n") == {"a": {"x": 1}, "b": {"x": 2}}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param("a: &x 1\nb: *x\n", "b", id="scalar"),
        pytest.param("a: &x {c: 1}\nb: {d: *x}\n", "b.d", id="mapping"),
        pytest.param("a: &x [1]\nb: [0, *x]\n", "b.1", id="item"),
        pytest.param("a: &x {c: 1}\nb: {<<: *x}\n", "b.<<", id="merge"),
        pytest.param("a: &x\n  b: *x\n", "a.b", id="itself"),
    ],
)
def test_an_alias_is_refused_where_it_stands(text, place):
    expected = Problem(place, "aliases (*name) are not allowed; write the value out", 2)

    assert write_and_read(text).problems == [expected]


def test_a_tag_is_refused_where_it_stands():
    document = write_and_read("a: 1\nb: !secret x\n")

    expected = Problem("b", "tags are not allowed, but got !secret; write a plain value", 2)
    assert document.problems == [expected]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("!!binary aGk=", id="binary"),
        pytest.param("!!int '8'", id="quoted int"),
        pytest.param("!!str 8", id="unquoted text"),
        pytest.param("!mine {a: 1}", id="mapping"),
        pytest.param("!!python/object:os.system {a: 1}", id="Python object"),
        pytest.param("!mine [1, 2]", id="list"),
        pytest.param("!!set {a, b}", id="set"),
        pytest.param("!!omap [a: 1]", id="ordered mapping"),
    ],
)
def test_every_tag_is_a_problem_and_none_is_obeyed(value):
    (problem,) = write_and_read(f"a: 1\nb: {value}\n").problems

    assert (problem.where, problem.line) == ("b", 2)
    assert problem.what.startswith("tags are not allowed")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("!!int many", id="int"),
        pytest.param("!!float many", id="float"),
        pytest.param("!!bool maybe", id="bool"),
        pytest.param("1" * 5000, id="an int of 5000 digits"),
        pytest.param("-_", id="a sign and no digit"),
        pytest.param("*x", id="an alias of nothing"),
    ],
)
def test_what_python_cannot_make_is_refused_where_it_stands(value):
    assert refused_line(f"a: 1\nb: {value}\n") == 2


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("? [x, y]\n", id="list"),
        pytest.param("? {x: 1}\n", id="mapping"),
        pytest.param("!!str b", id="tag"),
        pytest.param("*x ", id="alias"),
    ],
)
def test_a_key_is_plain_text(key):
    assert refused_line(f"a: &x 1\n{key}: 2\n") == 2


def test_an_anchor_is_no_mistake_even_twice():
    assert read("a: &x 1\nb: &x 2\n") == {"a": 1, "b": 2}


def refused_line(text: str) -> int | None:
    """The line of the only problem of a file, whether it could be read or not."""
    try:
        (problem,) = write_and_read(text).problems
    except ConfigError as error:
        (problem,) = error.problems
    return problem.line


def test_a_file_cannot_switch_to_the_rules_of_another_yaml():
    assert refusal("%YAML 1.1\n---\nwhiten_rewards: yes\n").startswith("a.yaml:")


def test_a_file_may_say_that_it_follows_the_rules_of_yaml_1_2():
    assert read("%YAML 1.2\n---\nwhiten_rewards: yes\n") == {"whiten_rewards": "yes"}


def test_nesting_beyond_50_is_a_problem():
    document = write_and_read("a: " + "[" * 60 + "]" * 60)

    (problem,) = document.problems
    assert (problem.what, problem.line) == ("`depth <= 50` must hold", 1)


def test_nesting_of_50_is_none():
    read("[" * 50 + "]" * 50)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "a: 1\nb: {c: 1\n", "a.yaml:3: not valid YAML: expected ',' or '}', but got", id="brace"
        ),
        pytest.param(
            "a: 1\nb: c: 1\n", "a.yaml:2: not valid YAML: mapping values are not allowed", id="colon"
        ),
        pytest.param("a:\n\tb: 1\n", "a.yaml:2: not valid YAML: found character '\\t'", id="tab"),
        pytest.param("a: 'x\n", "a.yaml:2: not valid YAML: found unexpected end of stream", id="quote"),
        pytest.param(
            "a: 1\nb: \x01\n", "a.yaml: not valid YAML: unacceptable character #x0001", id="control"
        ),
        pytest.param("%YAML 3.0\n---\n", "a.yaml:1: not valid YAML: found incompatible YAML", id="version"),
        pytest.param("a: 1\n---\nb: 2\n", "a.yaml:2: not valid YAML: ", id="two documents"),
        pytest.param("[" * 500, "a.yaml: ", id="too deep to parse"),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(text, expected):
    assert refusal(text).startswith(expected)


def test_a_file_that_is_not_utf_8_is_refused_with_the_place():
    message = refusal(b"a: caf\xe9\n")

    assert message == "a.yaml: the file must be UTF-8, but byte 6 is not; save it as UTF-8"


def test_a_huge_file_is_refused_unparsed():
    assert refusal("#" * 1_000_001) == "a.yaml: `size <= 1000000 bytes` must hold, but got 1000001"


def test_the_size_of_a_file_is_counted_in_bytes():
    assert refusal("#" + "é" * 600_000) == "a.yaml: `size <= 1000000 bytes` must hold, but got 1200001"


def test_a_missing_file_is_refused_with_the_folder_that_was_searched(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_yaml(Path("none.yaml"))

    assert str(caught.value) == f"none.yaml: no such file (looked in {tmp_path})"


def test_a_folder_is_no_file():
    Path("a.yaml").mkdir()

    with pytest.raises(ConfigError) as caught:
        read_yaml(Path("a.yaml"))

    assert str(caught.value) == "a.yaml: cannot be read: Is a directory"


def message_about(text: str) -> str | None:
    """The message with which a file is refused, if it is."""
    try:
        write_and_read(text)
    except ConfigError as error:
        return str(error)
    return None


@law
@given(snippets)
def test_whatever_a_file_holds_it_is_read_or_refused_by_name(text):
    assert (message_about(text) or "a.yaml").startswith("a.yaml")
