"""The language of expressions: what Python says of one is what ours says, and each ends by a limit at the latest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.programs.expression import LARGEST, ProgramError, evaluate, parse

VARIABLES = {"a": 3, "b": 5, "n": 4}

_leaves = st.sampled_from(("a", "b", "n", "0", "1", "2", "7", "True"))


def _longer(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.sampled_from(("+", "-", "*", "//", "%", "<", "<=", ">", ">=", "==", "!=", "and", "or"))
    return st.one_of(
        st.builds("( {} {} {} )".format, parts, binary, parts),
        st.builds("{} < {} <= {}".format, _leaves, _leaves, _leaves),
        st.builds("( {} if {} else {} )".format, parts, parts, parts),
        st.builds("( - {} )".format, parts),
        st.builds("( not {} )".format, parts),
        st.builds("max ( {} , {} , {} )".format, parts, parts, parts),
        st.builds("min ( {} , {} )".format, parts, parts),
        st.builds("abs ( {} )".format, parts),
        st.builds("sum ( {} + i for i in range ( {} % 5 ) )".format, parts, parts),
    )


@given(st.recursive(_leaves, _longer, max_leaves=12))
def test_an_expression_means_what_it_means_in_python(program: str) -> None:
    try:
        expected = eval(program, dict(VARIABLES))
    except ZeroDivisionError:
        with pytest.raises(ProgramError, match="divides by zero"):
            evaluate(program, VARIABLES)
        return

    assert evaluate(program, VARIABLES) == expected


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("a + b * 2", 13),
        ("a-b", -2),
        (" max ( a , b ) - min ( a , b )", 2),
        ("b if a > b else a", 3),
        ("sum ( i * i for i in range ( n ) )", 14),
        ("sum ( sum ( j for j in range ( i ) ) for i in range ( n ) )", 4),
        ("a < b < 4", 0),
        ("b // a", 1),
        ("- b // a", -2),
        ("not a", 0),
    ],
)
def test_these_values_are_worked_by_hand(program: str, value: int) -> None:
    assert evaluate(program, VARIABLES) == value


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("", "no expression: invalid syntax"),
        ("a +", "no expression: invalid syntax"),
        ("a b", "no expression: invalid syntax"),
        ("x", "there is no variable 'x'"),
        ("a / b", "`a / b` is not of the language"),
        ("a ** b", "`a ** b` is not of the language"),
        ("+ a", "`+a` is not of the language"),
        ("1.5", "`1.5` is not of the language"),
        ("'a'", "`'a'` is not of the language"),
        ("[a]", "`[a]` is not of the language"),
        ("a is b", "`a is b` is not of the language"),
        ("a.real", "`a.real` is not of the language"),
        ("pow(a, b)", "`pow(a, b)` is not of the language"),
        ("max(a)", "`max(a)` is not of the language"),
        ("max(*a)", "`max(*a)` is not of the language"),
        ("sum(a for a in b)", "`(a for a in b)` is not of the language"),
        ("sum(i for i in range(a) if i)", "`(i for i in range(a) if i)` is not of the language"),
        ("__import__('os').remove('x')", "`__import__('os').remove('x')` is not of the language"),
        ("a // 0", "`a // 0` divides by zero"),
        ("sum ( 1 for i in range ( 10000000 ) )", "it takes more than 10,000 steps"),
        (
            "sum ( sum ( i for i in range ( 999 ) ) for j in range ( 999 ) )",
            "it takes more than 10,000 steps",
        ),
        ("1000000000000000 + 1", "a number passes 1,000,000,000,000,000"),
        ("a" * 2001, "a program has at most 2,000 characters, but this one has 2,001"),
        ("(" * 900 + "a" + ")" * 900, "no expression: too many nested parentheses"),
        ("-" * 100 + "a", "more than 100 parts are nested"),
        ("~" + "-" * 600 + "a", "`UnaryOp …` is not of the language"),
        ("a" + ".b" * 900, "`Attribute …` is not of the language"),
        ("1 // (0 and " + "-" * 600 + "a)", "`BinOp …` divides by zero"),
    ],
)
def test_what_has_no_value_says_why(program: str, why: str) -> None:
    with pytest.raises(ProgramError) as error:
        evaluate(program, VARIABLES)

    assert str(error.value).startswith(why)


def test_a_number_may_be_as_large_as_the_limit() -> None:
    assert evaluate(str(LARGEST), {}) == LARGEST


def test_the_variable_of_a_sum_is_gone_after_it() -> None:
    with pytest.raises(ProgramError, match="there is no variable 'i'"):
        evaluate("sum ( i for i in range ( a ) ) + i", VARIABLES)


def test_a_program_that_is_parsed_once_is_evaluated_for_any_variables() -> None:
    program = parse("a * n")

    assert [program({"a": a, "n": 2}) for a in (1, 5)] == [2, 10]
