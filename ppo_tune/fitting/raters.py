"""Raters with scales of their own: their offsets, how far they agree, and one whose ratings run the other way round."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ppo_tune.data.labels import Labels
from ppo_tune.errors import DataError
from ppo_tune.fitting.rows import key_of

Numbers = NDArray[np.float64]

ROUNDS = 100
"""Passes over responses and raters; each brings offsets closer to their fixed point."""

MOST_ANSWERS = 40
"""Answers to one prompt that are compared with each other."""

REVERSED = 0.25
"""Share of comparisons in which a rater agrees with others below which the scale must run the other way round."""

LEAST_SHARED = 20
"""Comparisons below which nothing is said of how far raters agree."""


def without_offsets(
    ratings: Numbers, raters: "NDArray[np.str_] | None", keys: Sequence[Hashable], train: NDArray[np.int64]
) -> Numbers:
    """Ratings less how much higher than others their rater rates, which is known from the training rows.

    y = μ + r_response + b_rater by least squares, both with a penalty as of one more rating of 0; so the offset of
    somebody with few ratings is small, and of somebody unknown it is 0.

    Args:
        ratings: Shape (N, A), NaN where one is missing.
        raters: Who rated each row, (N,); None leaves all as they are.
        keys: What each row's response is.
        train: The rows to learn from.
    """
    if raters is None or len({*raters.tolist()}) < 2:
        return ratings
    _, who = np.unique(raters, return_inverse=True)
    numbers: dict[Hashable, int] = {}
    what = np.array([numbers.setdefault(keys[i], len(numbers)) for i in train.tolist()])
    found = ratings.copy()
    for column, target in zip(ratings.T, found.T, strict=True):
        known = ~np.isnan(column[train])
        y, rater, response = column[train][known], who[train][known], what[known]
        if not len(y):
            continue
        y = y - y.mean()
        offsets, worth = np.zeros(who.max() + 1), np.zeros(len(numbers))
        n_rater, n_response = (
            np.bincount(rater, minlength=len(offsets)),
            np.bincount(response, minlength=len(worth)),
        )
        for _ in range(ROUNDS):
            offsets = np.bincount(rater, y - worth[response], len(offsets)) / (n_rater + 1)
            worth = np.bincount(response, y - offsets[rater], len(worth)) / (n_response + 1)
        target -= offsets[who]
    return found


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on which of two responses is better.

    Attributes:
        share: Of two raters who both called one better, how often it was the same one.
        n: Of how many such comparisons.
    """

    share: float
    n: int


def agreement(labels: Labels, rows: Sequence[tuple[str, ...]]) -> Agreement | None:
    """How far raters agree where they judged the same responses; None where that happened too seldom to tell.

    Where no column says who judged, a second judgement of the same responses is taken for another rater's.

    Raises:
        DataError: If one rater's order is the others' turned round.
    """
    said = _comparisons(labels, rows)
    same = total = 0
    of_rater: defaultdict[Hashable, list[int]] = defaultdict(lambda: [0, 0])
    for judged in said.values():
        for (one, first), (other, second) in combinations(judged.items(), 2):
            alike = first == second
            same, total = same + alike, total + 1
            for rater in (one, other):
                of_rater[rater][0] += alike
                of_rater[rater][1] += 1
    if labels.raters is not None:
        _check_directions({str(rater): (same, n) for rater, (same, n) in of_rater.items()})
    return Agreement(same / total, total) if total >= LEAST_SHARED else None


def _check_directions(of_rater: Mapping[str, tuple[int, int]]) -> None:
    for rater, (same, n) in of_rater.items():
        if n >= LEAST_SHARED and same < REVERSED * n:
            who = " and ".join(map(repr, of_rater)) if len(of_rater) == 2 else f"{rater!r} and the others"
            raise DataError(
                f"of {n} comparisons {same} only come out alike for raters {who}, as if one scale ran the other way "
                "round; turn it, or leave those rows out"
            )


def _comparisons(
    labels: Labels, rows: Sequence[tuple[str, ...]]
) -> Mapping[Hashable, Mapping[Hashable, bool]]:
    """Of two responses to a prompt: by rater whether the first by its key is the better one."""
    said: defaultdict[Hashable, dict[Hashable, bool]] = defaultdict(dict)
    keys = [[key_of(text) for text in row] for row in rows]
    for prompt, better, worse, rater in (_pairs if labels.n_responses == 2 else _alone)(labels, keys):
        judged = said[prompt, min(better, worse), max(better, worse)]
        judged.setdefault(len(judged) if rater is None else rater, better < worse)
    return said


Comparison = tuple[bytes, bytes, bytes, Hashable]
"""A prompt, the better response and the worse one, and who says so."""


def _pairs(labels: Labels, keys: Sequence[Sequence[bytes]]) -> Iterator[Comparison]:
    """The comparisons that pairs are."""
    for (prompt, first, second), rater, lead in zip(keys, _raters(labels), labels.order(), strict=True):
        if lead > 0:
            yield prompt, first, second, rater


def _alone(labels: Labels, keys: Sequence[Sequence[bytes]]) -> Iterator[Comparison]:
    """The comparisons that follow from how one rater judged two responses to a prompt."""
    answers: defaultdict[tuple[bytes, Hashable], dict[bytes, float]] = defaultdict(dict)
    seen: Counter[tuple[bytes, bytes]] = Counter()
    for (prompt, response), known, worth in zip(keys, _raters(labels), labels.order(), strict=True):
        rater = seen[prompt, response] if known is None else known
        seen[prompt, response] += 1
        if not np.isnan(worth) and len(answers[prompt, rater]) < MOST_ANSWERS:
            answers[prompt, rater].setdefault(response, worth)
    for (prompt, rater), worths in answers.items():
        for (first, one), (second, other) in combinations(worths.items(), 2):
            if one != other:
                yield prompt, *((first, second) if one > other else (second, first)), rater


def _raters(labels: Labels) -> Sequence[Hashable]:
    return [None] * len(labels) if labels.raters is None else labels.raters.tolist()
