# mypy: ignore-errors
"""Numbers with the digits that matter, and texts in which everything can be seen."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.reporting.tables import is_numeric, view
from ppo_tune.reporting.wording import cell, cut, duration, label
from ppo_tune.safe_text import symbols, writable


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        pytest.param(None, "", "–", id="none"),
        pytest.param(float("nan"), "score", "–", id="nan"),
        pytest.param(True, "", "yes", id="bool"),
        pytest.param(np.False_, "", "no", id="numpy-bool"),
        pytest.param(-3e-7, "kl", "0.00", id="no-minus-zero"),
        pytest.param(1.23456, "score", "1.235", id="score"),
        pytest.param(-1234567.8, "score", "-1.235e+06", id="beyond-measure"),
        pytest.param(0.000123456, "", "0.0001235", id="four-digits"),
        pytest.param(10_000.0, "", "10,000", id="whole"),
        pytest.param(2560, "episodes", "2,560", id="int"),
        pytest.param(2560, "number", "2560", id="the-name-of-a-trial"),
        pytest.param(12_345, "", "12,345", id="large-int"),
    ],
)
def test_cells_are_written_for_people(value: object, column: str, text: str) -> None:
    assert cell(value, column) == text


@pytest.mark.parametrize(
    ("column", "heading"),
    [("number", "trial"), ("score_error", "±"), ("eos_rate", "EOS rate"), ("best_so_far", "best so far"),
     ("learning_rate", "learning_rate")],
)  # fmt: skip
def test_headings_are_words_and_hyperparameters_keep_their_names(column: str, heading: str) -> None:
    assert label(column) == heading


def test_control_characters_become_symbols() -> None:
    assert symbols("a\x00b\x7f\nc") == "a␀b␡\nc"
    assert symbols("\x9b2J") == "‹U+009B›2J"


def test_marks_that_turn_the_direction_are_named() -> None:
    assert symbols("invoice \u202egpj.exe") == "invoice ‹U+202E›gpj.exe"


def test_letters_of_all_scripts_and_joined_emoji_stay_as_they_are() -> None:
    text = "مرحبا שלום 你好 👩‍👩‍👧‍👦 é"

    assert symbols(text) == text


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_what_is_shown_can_be_written_and_turns_nothing(text: str) -> None:
    shown = symbols(text)

    shown.encode("utf-8")
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert all(ord(c) >= 32 or c == "\n" for c in shown)


def test_half_a_pair_becomes_a_question_mark_in_a_file() -> None:
    assert writable("half \ud83d") == "half ?"


def test_long_texts_are_cut_with_a_sign() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcd", 4) == "abcd"
    assert len(view(pd.DataFrame({"a": ["x" * 100_000]}), 1, {}).rows[0][0]) == 300


def test_a_table_shows_its_first_rows_and_knows_its_numbers() -> None:
    frame = pd.DataFrame(
        {
            "number": [1, 2, 3],
            "score": [0.5, np.nan, 1.0],
            "ending": ["a", "b", "c"],
            "feasible": [True, False, True],
        }
    )

    shown = view(frame, max_rows=2, decimals={})

    assert shown.headings == ["trial", "score", "ending", "feasible"]
    assert shown.numeric == [True, True, False, False]
    assert shown.rows == [("1", "0.500", "a", "yes"), ("2", "–", "b", "no")]
    assert shown.n_rows == 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, None, 2.5], True), ([None, None], False), ([1, "off"], False), ([True, False], False)],
)
def test_a_column_of_mixed_kinds_is_numeric_only_if_all_it_knows_is(values: list, expected: bool) -> None:
    assert is_numeric(pd.Series(values, dtype=object)) is expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.3, "0.3 seconds"), (49, "49 seconds"), (125, "2.1 minutes"), (7_199, "120 minutes"), (9_000, "2.5 hours"),
     (216_000, "2.5 days")],
)  # fmt: skip
def test_times_have_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
