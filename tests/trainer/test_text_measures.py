"""What texts are like beside their scores: hand-worked numbers, in any script, and corpus against sentence."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.rewards.words import words
from ppo_tune.trainer.text_measures import distinct, repetition, text_measures

TEXTS = st.lists(st.text("ab 包裹\n", max_size=12), min_size=1, max_size=5)


def test_distinct_words_are_counted_over_all_texts() -> None:
    split = [["the", "cat"], ["the", "dog", "the"]]

    assert distinct(split, 1) == 3 / 5
    assert distinct(split, 2) == 3 / 3
    assert distinct([["one"]], 2) == 0.0


def test_repetition_is_the_share_of_runs_of_four_words_that_came_before() -> None:
    assert repetition([*"abcdabcd"]) == pytest.approx(1 - 4 / 5)
    assert repetition([*"abc"]) == 0.0
    assert repetition(words("包裹迟到包裹迟到")) == pytest.approx(1 - 4 / 5)


def test_responses_that_are_all_the_same_are_told_by_every_measure_of_variety() -> None:
    same = text_measures(["the cat sat on the mat"] * 4)
    varied = text_measures(["the cat sat down", "a dog ran home", "my bird flew south", "no fish swam north"])

    assert (same["unique"], varied["unique"]) == (0.0, 1.0)
    assert same["self_bleu"] == pytest.approx(100)
    assert varied["self_bleu"] == 0.0
    assert same["distinct_1"] == 5 / 24
    assert varied["distinct_1"] == 1.0


def test_a_corpus_is_no_mean_of_sentences() -> None:
    """Short hypotheses without a 4-gram in common: 0 as a corpus, much by sentences (the reference's pair)."""
    found = text_measures(["the cat", "a dog"], [["the cat"], ["a dog"]])

    assert found["corpus_bleu"] == 0.0
    assert found["corpus_chrf"] == pytest.approx(100)
    assert found["mean_rougeL"] == pytest.approx(100)
    assert "mean_bleu" not in found
    assert "corpus_meteor" not in found


def test_references_in_a_script_without_spaces_are_read_by_letters() -> None:
    found = text_measures(["包裹今天迟到了"], [["包裹今天迟到了"]])

    assert found["corpus_bleu"] == pytest.approx(100)
    assert found["words"] == 7


def test_every_reference_of_a_prompt_counts() -> None:
    found = text_measures(["the cat sat down", "b"], [["a dog", "the cat sat down"], ["b"]])

    assert found["corpus_chrf"] == pytest.approx(100)
    assert found["mean_rouge1"] == pytest.approx(100)


@pytest.mark.parametrize("references", [None, [], [["a"], None], [["a"], []]])
def test_where_a_prompt_has_no_reference_nothing_is_said_of_likeness(references: Any) -> None:
    assert "corpus_bleu" not in text_measures(["a", "b"], references)


def test_without_the_extra_the_others_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sacrebleu.metrics.bleu", "sacrebleu.metrics.chrf", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, module, None)

    assert {*text_measures(["a b", "b"], [["a"], ["b"]])} == {
        "words", "unique", "distinct_1", "distinct_2", "repetition",
    }  # fmt: skip


@given(TEXTS)
def test_shares_are_shares_whatever_the_texts_hold(texts: list[str]) -> None:
    found = text_measures(texts)

    for name in ("unique", "distinct_1", "distinct_2", "repetition"):
        assert 0 <= found[name] <= 1
    assert found["words"] >= 0
