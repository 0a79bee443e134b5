"""Similarity by n-grams of letters, worked by hand and beside sacrebleu's."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF

from ppo_tune.tasks.worlds.chrf import chrf, score
from ppo_tune.tasks.worlds.translate import WORLD

texts = st.text("abäß ", max_size=20)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        pytest.param("ab", 1.0, id="the same"),
        pytest.param("a b", 1.0, id="spaces do not count"),
        pytest.param("", 0.0, id="nothing"),
        pytest.param("cd", 0.0, id="another text"),
        # of letters 1 of 1 is right and 1 of 2 is found; there are no pairs. 10 · 1 · 0.5 / (9 · 1 + 0.5)
        pytest.param("a", 10 / 19, id="half of it"),
        # of letters 2 of 4 are right, of pairs 1 of 3, and all are found: 10 · 5/12 / (9 · 5/12 + 1)
        pytest.param("abcd", 50 / 57, id="twice as long"),
        # of letters 2 of 4, of pairs 1 of 3: `ab` stands once in the reference
        pytest.param("abab", 50 / 57, id="said twice"),
    ],
)
def test_recall_counts_nine_times_as_much_as_precision(response: str, expected: float) -> None:
    assert chrf(response, "ab") == pytest.approx(expected)


def test_of_several_references_the_most_similar_counts() -> None:
    assert score(["", ""], ["ab", "x"], [["cd", "ab", "ac"], ["cd"]]) == [1.0, 0.0]


def test_there_is_one_score_per_response_whatever_other_columns_there_are() -> None:
    assert score(["p"], ["für"], [["für"]], source=["web"]) == [1.0]


def test_it_is_sacrebleus_with_that_weight_of_recall() -> None:
    theirs, rng = CHRF(beta=3), random.Random(0)
    for sentence in WORLD.prompts(0)[:100]:
        response, [reference] = WORLD.respond(sentence, rng), sentence.columns["references"]
        expected = theirs.sentence_score(response, [reference]).score
        assert 100 * chrf(response, reference) == pytest.approx(expected)


@given(texts, texts)
def test_it_lies_between_0_and_1(response: str, reference: str) -> None:
    assert 0 <= chrf(response, reference) <= 1 + 1e-9


@given(texts.filter(str.strip))
def test_a_text_is_most_similar_to_itself(text: str) -> None:
    assert chrf(text, text) == pytest.approx(1)
