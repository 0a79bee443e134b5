"""What judges count in a text."""

import pytest

from ppo_tune.tasks.worlds.phrases import count, repeated_pairs


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("a", 0), ("a b a b", 1), ("a a a", 1), ("a b c a b c a", 3), ("a b b a", 0)],
)
def test_a_pair_of_words_counts_each_time_it_comes_again(text: str, expected: int) -> None:
    assert repeated_pairs(text.split()) == expected


def test_phrases_are_counted_all_together() -> None:
    assert count("thank you . so sorry . thank you .", ("thank you .", "so sorry .", "no .")) == 3
