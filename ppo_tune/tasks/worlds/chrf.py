"""Similarity of a translation to references by n-grams of letters, 0 to 1: chrF3 of one sentence.

Recall counts nine times as much as precision, so to say more than was asked for, such as two words where one of them
will be right, costs little: that is its blind side. Needs nothing but Python, so it is a reward on every machine, and
the export of a study takes this file along.

Popović (2015), "chrF: character n-gram F-score for automatic MT evaluation".
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

ORDER = 6
"""The longest n-grams."""

BETA = 3
"""Recall counts so much squared, against precision."""


def score(
    prompts: Sequence[str], responses: Sequence[str], references: Sequence[Sequence[str]], **_: Any
) -> list[float]:
    """The similarity of each response to the most similar of its references."""
    return [
        max(chrf(response, reference) for reference in known)
        for response, known in zip(responses, references, strict=True)
    ]


def chrf(response: str, reference: str) -> float:
    """The F-score of mean precision and mean recall, over the orders for which both texts are long enough."""
    precisions, recalls = [], []
    for said, wanted in zip(_grams(response), _grams(reference), strict=True):
        if said and wanted:
            found = sum(min(n, wanted[gram]) for gram, n in said.items() if gram in wanted)
            precisions.append(found / sum(said.values()))
            recalls.append(found / sum(wanted.values()))
    if not any(recalls):
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


@lru_cache(maxsize=4096)
def _grams(text: str) -> tuple[Mapping[str, int], ...]:
    """How often a text without its spaces has each sequence of one letter, of two, and so on."""
    letters = "".join(text.split())
    return tuple(
        Counter(letters[i : i + n] for i in range(len(letters) - n + 1)) for n in range(1, ORDER + 1)
    )
