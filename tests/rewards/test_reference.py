# mypy: ignore-errors
"""Similarity to reference texts."""

import sys
from typing import get_args

import pytest
import torch

from ppo_tune.config.rewards import Metric, ReferenceRewardConfig
from ppo_tune.errors import MissingExtraError, RewardError
from ppo_tune.rewards import Reward, make_reward
from tests.rewards import contract

metrics = pytest.mark.parametrize("metric", get_args(Metric))


def reference(metric: str) -> Reward:
    """The reward of this measure."""
    return make_reward(ReferenceRewardConfig(name="reference", metric=metric), torch.device("cpu"))


def similarity(metric: str, response: str, *references: str) -> float:
    """What the measure says of one response."""
    return reference(metric)(["p"], [response], {"references": [references]}).item()


@metrics
@pytest.mark.parametrize("law", contract.LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_contract(law, metric):
    law(reference(metric))


@metrics
def test_a_reference_itself_scores_100(metric):
    # one chunk of six words costs METEOR 0.5 (1/6)³ of it
    most = 100 * (1 - 0.5 / 6**3) if metric == "meteor" else 100
    assert similarity(metric, "the cat sat on the mat", "the cat sat on the mat") == pytest.approx(most)


@metrics
def test_nothing_in_common_scores_0(metric):
    assert similarity(metric, "xyz", "the cat sat") == 0.0


@metrics
def test_the_best_reference_counts_wherever_it_stands(metric):
    response = "the cat sat on the mat"

    scores = [
        similarity(metric, response, response, "a dog"),
        similarity(metric, response, "a dog", response),
        similarity(metric, response, "a dog"),
    ]

    assert scores[0] == scores[1] == pytest.approx(100, abs=0.3)
    assert scores[2] < 50


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        # response: the cat; reference: the cat sat down; precision 1, recall 1/2, so F = 2/3
        pytest.param("rouge1", 200 / 3, id="words"),
        # pairs: 1 of 1 and 1 of 3, so F = 1/2
        pytest.param("rouge2", 50.0, id="pairs of words"),
        # longest common run of words in order: 2 of 2 and 2 of 4, so F = 2/3
        pytest.param("rougeL", 200 / 3, id="longest common subsequence"),
    ],
)
def test_rouge_is_the_f_measure_in_percent(metric, expected):
    assert similarity(metric, "the cat", "the cat sat down") == pytest.approx(expected)


def test_rouge_1_ignores_the_order_and_rouge_l_does_not():
    response, text = "down sat cat the", "the cat sat down"

    assert similarity("rouge1", response, text) == pytest.approx(100)
    assert similarity("rougeL", response, text) == pytest.approx(25)


@pytest.mark.parametrize(
    ("response", "reference", "expected"),
    [
        # five words of six, in two chunks: the cat … on the mat
        pytest.param("the cat is on the mat", "the cat sat on the mat", 80.6667, id="published"),
        # P = R = 1; three chunks of one word: 1 - 0.5
        pytest.param("c b a", "a b c", 50.0, id="turned round"),
        # P = 1, R = 1/2: F = 0.5 / 0.95, one chunk of two: 1 - 0.5 / 8
        pytest.param("the cat", "the cat sat down", 100 * 0.5 / 0.95 * (1 - 0.5 / 8), id="half"),
        pytest.param(
            "包裹迟到了",
            "包裹没到",
            100 * 0.6 * 0.75 / (0.9 * 0.6 + 0.1 * 0.75) * (1 - 0.5 * (2 / 3) ** 3),
            id="Chinese",
        ),
    ],
)
def test_meteor_is_as_published_by_equal_words(response, reference, expected):
    assert similarity("meteor", response, reference) == pytest.approx(expected, abs=1e-4)


def test_bleu_is_that_of_a_sentence_and_knows_scripts_without_spaces():
    # the cat is on the mat / the cat sat on the mat: 5/6, 3/5, 1/4 and 0/3, smoothed to 1/2 of 1/3
    published = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25
    assert similarity("bleu", "the cat is on the mat", "the cat sat on the mat") == pytest.approx(published)
    assert similarity("bleu", "a cat", "a cat") == pytest.approx(100)  # which has no 3-gram
    assert similarity("bleu", "包裹迟到了", "包裹迟到了") == pytest.approx(100)
    assert similarity("bleu", "包裹迟到了", "包裹没有到") > 10  # 0 where all is one word


def test_chrf_is_the_mean_over_character_n_grams_with_recall_counting_twice():
    # "ab" against "abc", spaces ignored: 1-grams precision 1, recall 2/3; 2-grams precision 1, recall 1/2.
    # The mean precision is 1 and the mean recall 7/12; F with beta 2 is 5PR / (4P + R).
    assert similarity("chrf", "ab", "abc") == pytest.approx(100 * (5 * 7 / 12) / (4 + 7 / 12), abs=0.01)


@metrics
@pytest.mark.parametrize(
    "columns",
    [pytest.param({}, id="no column"), pytest.param({"references": [[]]}, id="none for this prompt")],
)
def test_a_prompt_without_references_is_told_with_the_way_out(metric, columns):
    with pytest.raises(RewardError) as caught:
        reference(metric)(["a prompt"], ["a response"], columns)

    assert str(caught.value) == (
        f"reward {metric} needs reference texts, but there are none for prompt 'a prompt', response "
        "'a response'; name their column with task.reference"
    )


@pytest.mark.parametrize(
    ("metric", "module", "package"),
    [
        pytest.param("chrf", "sacrebleu.metrics.chrf", "sacrebleu", id="sacrebleu"),
        pytest.param("bleu", "sacrebleu.metrics.bleu", "sacrebleu", id="BLEU"),
        pytest.param("rougeL", "rouge_score.rouge_scorer", "rouge-score", id="rouge-score"),
    ],
)
def test_a_measure_without_its_library_names_the_extra(metric, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtraError) as caught:
        reference(metric)

    assert str(caught.value) == f"{package} is not installed; run: pip install 'ppo-tune[metrics]'"
