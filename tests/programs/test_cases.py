"""Unit tests as rows have them: what is read of each form, what is refused, and when an output is the right one."""

from typing import Any

import pytest

from ppo_tune.programs.cases import (
    Calls,
    Expressions,
    Scripts,
    Statements,
    read_expression_tests,
    read_python_tests,
)

FORMS = "must hold a list of assert statements, a text of code with such, or pairs with `input` and `output`"
WHOLE = 'must hold a list of {"input": {"a": 3}, "output": 8}, of whole numbers'


def test_a_list_counts_its_asserts_and_runs_what_prepares_them() -> None:
    tests = read_python_tests(["import math", "assert f(1)", "x = f(2)\nassert x"], None)

    assert tests == Statements(
        [("import math", False), ("assert f(1)", True), ("x = f(2)\nassert x", True)], None
    )
    assert tests.count == 2


def test_of_check_each_statement_with_an_assert_is_a_test() -> None:
    text = "def check(f):\n    x = 1\n    assert f(x)\n    for y in (1, 2):\n        assert f(y)\n"

    tests = read_python_tests(text, "g")

    assert isinstance(tests, Statements)
    assert tests.function == "g"
    assert [(source.partition("\n")[0], counts) for source, counts in tests.tests] == [
        ("def check(f):", False),
        ("f = candidate", False),
        ("x = 1", False),
        ("assert f(x)", True),
        ("for y in (1, 2):", True),
    ]


@pytest.mark.parametrize(
    "value",
    [
        [{"input": [1], "output": 2}, {"input": [3], "output": 4}],
        {"inputs": [[1], [3]], "outputs": [2, 4]},
        {"input": [[1], [3]], "output": [2, 4]},
        '[{"input": [1], "output": 2}, {"input": [3], "output": 4}]',
        "[{'input': (1,), 'output': 2}, {'input': [3], 'output': 4}]",
        [{"input": 1, "output": 2, "comment": "one argument"}, {"input": 3, "output": 4}],
    ],
)
def test_pairs_come_one_by_one_or_as_two_lists(value: Any) -> None:
    assert read_python_tests(value, "f") == Calls([[1], [3]], [2, 4], "f")


def test_pairs_without_a_function_are_read_and_printed() -> None:
    assert read_python_tests({"inputs": ["1\n", ["2", "3"]], "outputs": ["1", ["2"]]}, None) == Scripts(
        ["1\n", "2\n3"], ["1", "2"]
    )


def test_pairs_of_an_expression_have_variables() -> None:
    value = '[{"input": {"a": 3, "b": -5, "c": null}, "output": -2}]'

    assert read_expression_tests(value) == Expressions([{"a": 3, "b": -5}], [-2])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (3, f"{FORMS}, but got 3"),
        ({"a": 1}, f"{FORMS}, but got {{'a': 1}}"),
        ([1, 2], f"{FORMS}, but got [1, 2]"),
        (["assert f(1)", 2], f"{FORMS}, but got ['assert f(1)', 2]"),
        ([{"input": [1]}], "must hold pairs with `input` and `output`, but got {'input': [1]}"),
        ([{"inputs": [1], "outputs": [2]}, 3], "must hold pairs with `inputs` and `outputs`, but got 3"),
        ({"inputs": [1, 2], "outputs": [1]}, "must hold as many outputs as inputs, but got 2 inputs and 1 outputs"),
        ({"inputs": [], "outputs": []}, f"{FORMS}, but got {{'inputs': [], 'outputs': []}}"),
        (["print(f(1))"], f"{FORMS}, but there is no assert statement in [\"print(f(1))\"]".replace('"', "'")),
        ("f(1) == 2", f"{FORMS}, but there is no assert statement in 'f(1) == 2'"),
        (["assert f(1"], f"{FORMS}, but 'assert f(1' is no Python: '(' was never closed (line 1)"),
        (["assert 1\0"], f"{FORMS}, but 'assert 1\\x00' is no Python: source code string cannot contain null bytes"),
        ("assert f(1) ==", f"{FORMS}, but 'assert f(1) ==' is no Python: invalid syntax (line 1)"),
        (
            "def check(candidate):\n    assert candidate(1)",
            f"{FORMS}, but what calls check(…) is missing in 'def check(candidate):\\n    assert candidate(1)'; name "
            "the column of the function that it is given by entry_point",
        ),
        (
            [{"input": 1, "output": 2}],
            "must hold pairs of texts, which a program reads and prints, unless entry_point names the column of the "
            "function to call, but got {'input': 1, 'output': 2}",
        ),
    ],
)  # fmt: skip
def test_what_is_no_test_of_python_is_refused(value: Any, why: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        read_python_tests(value, None)

    assert str(error.value) == why


def test_pairs_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold pairs of what JSON can hold, but: Object of type set"):
        read_python_tests([{"input": [{1}], "output": 2}], "f")


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (["assert f(1)"], "['assert f(1)']"),
        ("a + b", "'a + b'"),
        ([{"input": {"a": 1.5}, "output": 1}], "{'input': {'a': 1.5}, 'output': 1}"),
        ([{"input": {"a": 1}, "output": "1"}], "{'input': {'a': 1}, 'output': '1'}"),
        ([{"input": [1], "output": 1}], "{'input': [1], 'output': 1}"),
        ([{"input": {"if": 1}, "output": 1}], "{'input': {'if': 1}, 'output': 1}"),
        ([{"input": {"a b": 1}, "output": 1}], "{'input': {'a b': 1}, 'output': 1}"),
    ],
)
def test_what_is_no_test_of_an_expression_is_refused(value: Any, got: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        read_expression_tests(value)

    assert str(error.value) == f"{WHOLE}, but got {got}"


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ("3", 3, True),
        ("3.0", 3, True),
        ("0.30000000000000004", 0.3, True),
        ("0.300001", 0.3, False),
        ("[1, 2]", [1, 2], True),
        ("[1, 2.0000000000000004]", [1, 2], True),
        ("[1]", [1, 2], False),
        ('{"a": 0.30000000000000004}', {"a": 0.3}, True),
        ('{"a": 1}', {"b": 1}, False),
        ("NaN", 1.0, False),
        ('"3"', 3, False),
        ("null", None, True),
        (None, None, False),
        ("no JSON", 3, False),
        ("1" + "0" * 400, 0.5, False),
        ("1.5", 10**400, False),
        ('{"a": [1' + "0" * 400 + "]}", {"a": [1.5]}, False),
        ("1" + "0" * 400, 10**400, True),
    ],
)
def test_what_a_call_returns_is_compared_with_decimals_to_nine_digits(
    found: str | None, wanted: Any, same: bool
) -> None:
    assert Calls([[]], [wanted], "f").is_same(found, wanted) is same


@pytest.mark.parametrize(
    ("found", "same"),
    [("1 2\n3\n", True), ("1 2  \n3\n\n\n", True), ("1 2\n\n3", False), ("1  2\n3", False), (None, False)],
)
def test_what_is_printed_is_compared_by_its_lines(found: str | None, same: bool) -> None:
    assert Scripts(["x"], ["1 2\n3"]).is_same(found, "1 2\n3") is same
