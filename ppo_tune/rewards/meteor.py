"""METEOR by equal words alone, in every script: without stems, synonyms and paraphrases, which take a dictionary.

Papers: Banerjee and Lavie, 2005, "METEOR: An Automatic Metric for MT Evaluation with Improved Correlation with Human
Judgments"; the weights are those of Lavie and Agarwal, 2007, as NLTK has them.
"""

from collections.abc import Sequence

ALPHA = 0.9
"""Weight of precision in the mean: recall counts nine times as much."""

BETA, GAMMA = 3.0, 0.5
"""Power and weight of the penalty for matches that are scattered."""


def meteor(response: Sequence[str], reference: Sequence[str]) -> float:
    """F (1 - γ (chunks / matches)^β) with F = P R / (α P + (1 - α) R), from 0 to 1.

    A chunk is a run of words that is matched to a run. Words are matched by the longest such runs first.

    Args:
        response: Its words.
        reference: The reference's.
    """
    runs = matched_runs(response, reference)
    matches = sum(runs)
    if not matches:
        return 0.0
    precision, recall = matches / len(response), matches / len(reference)
    mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    penalty: float = GAMMA * (len(runs) / matches) ** BETA
    return mean * (1 - penalty)


def matched_runs(response: Sequence[str], reference: Sequence[str]) -> list[int]:
    """The lengths of runs that both have, the longest first, no word in two of them."""
    free, other = [True] * len(response), [True] * len(reference)
    runs: list[int] = []
    while True:
        length, i, j = _longest(response, reference, free, other)
        if not length:
            return runs
        runs.append(length)
        free[i : i + length] = [False] * length
        other[j : j + length] = [False] * length


def _longest(
    response: Sequence[str], reference: Sequence[str], free: Sequence[bool], other: Sequence[bool]
) -> tuple[int, int, int]:
    """The longest run of free words that both have, and where it begins in each; the first of several."""
    best = (0, 0, 0)
    before = [0] * (len(reference) + 1)
    for i, word in enumerate(response):
        now = [0] * (len(reference) + 1)
        for j, twin in enumerate(reference):
            if free[i] and other[j] and word == twin:
                now[j + 1] = before[j] + 1
                if now[j + 1] > best[0]:
                    best = (now[j + 1], i + 1 - now[j + 1], j + 1 - now[j + 1])
        before = now
    return best
