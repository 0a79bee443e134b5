"""What texts are like beside their scores: how varied, how repetitive, how long, and how near to their references.

Measures of a set of responses collapse before a score does: a policy that found one answer to all prompts. Corpus
BLEU and chrF are of all responses together, and no mean of theirs; what is called a mean is one.

Papers: Li et al., 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models" (distinct-n); Zhu et
al., 2018, "Texygen" (self-BLEU); Welleck et al., 2020, "Neural Text Generation with Unlikelihood Training"
(repetition).
"""

from collections.abc import Iterator, Sequence
from typing import get_args

from ppo_tune.config.rewards import Metric, ReferenceRewardConfig
from ppo_tune.errors import MissingExtraError
from ppo_tune.rewards.reference import ReferenceReward
from ppo_tune.rewards.words import count_words, has_unspaced, words

MOST_COMPARED = 100
"""Responses that are compared with each other for self-BLEU: the first ones."""

CORPUS: tuple[Metric, ...] = ("bleu", "chrf")
"""Measures that are of a whole corpus, where there is one; the mean of a sentence's is another number."""


def text_measures(
    responses: Sequence[str], references: Sequence[Sequence[str] | None] | None = None
) -> dict[str, float]:
    """Measures of some responses by their names, in an order to be read.

    - `words`: the mean length, in words between spaces or letters of scripts without.
    - `unique`: the share of responses that no other equals, from 0 to 1.
    - `distinct_1`, `distinct_2`: different words, and pairs of words, as a share of all.
    - `repetition`: the mean share of a response's runs of four words that it has said before; of shorter ones 0.
    - `self_bleu`: the mean sentence BLEU of a response against the others, 0 to 100: high where all say the same.
    - `corpus_bleu`, `corpus_chrf`: against the references, 0 to 100.
    - `mean_rouge1`, `mean_rouge2`, `mean_rougeL`, `mean_meteor`: of each response against its own.

    Those of the last three lines are left out where the extra `metrics` is not installed, or a prompt has no reference.

    Args:
        responses: At least one.
        references: Of the prompt of each; None where prompts have none.
    """
    split = [words(response) for response in responses]
    found = {
        "words": sum(map(count_words, responses)) / len(responses),
        "unique": sum(responses.count(response) == 1 for response in responses) / len(responses),
        **{f"distinct_{n}": distinct(split, n) for n in (1, 2)},
        "repetition": sum(map(repetition, split)) / len(split),
    }
    try:
        found |= self_bleu(responses) if len(responses) > 1 else {}
        if references and all(references):
            found |= dict(_likeness(responses, [texts or [] for texts in references]))
    except MissingExtraError:
        pass
    return found


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Different runs of n words as a share of all, over texts; 0 where there is none."""
    runs = [run for text in texts for run in _runs(text, n)]
    return len({*runs}) / len(runs) if runs else 0.0


def repetition(text: Sequence[str]) -> float:
    """The share of a text's runs of four words that it has said before."""
    runs = [*_runs(text, 4)]
    return 1 - len({*runs}) / len(runs) if runs else 0.0


def self_bleu(responses: Sequence[str]) -> dict[str, float]:
    """The mean sentence BLEU of each response against the others."""
    measure = ReferenceReward(ReferenceRewardConfig(name="reference", metric="bleu")).measure
    some = [*responses[:MOST_COMPARED]]
    said = [measure(text, some[:i] + some[i + 1 :]) for i, text in enumerate(some)]
    return {"self_bleu": sum(said) / len(said)}


def _likeness(responses: Sequence[str], references: Sequence[Sequence[str]]) -> Iterator[tuple[str, float]]:
    """Every measure against the references, by its name."""
    for metric in get_args(Metric):
        if metric in CORPUS:
            yield f"corpus_{metric}", _of_corpus(metric, responses, references)
        else:
            measure = ReferenceReward(ReferenceRewardConfig(name="reference", metric=metric)).measure
            scores = [measure(*row) for row in zip(responses, references, strict=True)]
            yield f"mean_{metric}", sum(scores) / len(scores)


def _of_corpus(metric: Metric, responses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU or chrF of all responses together; a prompt with fewer references than others has one of them twice."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    most = max(map(len, references))
    streams = [[texts[i % len(texts)] for texts in references] for i in range(most)]
    unspaced = any(has_unspaced(text) for texts in references for text in texts)
    scorer = CHRF() if metric == "chrf" else BLEU(tokenize="char" if unspaced else "13a")
    return float(scorer.corpus_score([*responses], streams).score)


def _runs(text: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(text[i:] for i in range(n)), strict=False)
