"""What judges of several worlds count in a text."""

import itertools


def count(text: str, phrases: tuple[str, ...]) -> int:
    """How often phrases stand in a text, all together."""
    return sum(text.count(phrase) for phrase in phrases)


def repeated_pairs(words: list[str]) -> int:
    """How many neighbouring word pairs have occurred before in the same text."""
    pairs = list(itertools.pairwise(words))
    return len(pairs) - len(set(pairs))
