"""pass@k, against numbers worked by hand and against every choice of k responses."""

from itertools import combinations

import pytest

from ppo_tune import pass_at_k


@pytest.mark.parametrize(("k", "expected"), [(1, 0.3), (5, 0.9166666666666667), (8, 1.0), (10, 1.0)])
def test_these_values_are_worked_by_hand(k: int, expected: float) -> None:
    assert pass_at_k(10, 3, k) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("c", range(6))
@pytest.mark.parametrize("k", range(1, 6))
def test_it_is_the_share_of_all_choices_that_hold_a_correct_one(c: int, k: int) -> None:
    choices = list(combinations([True] * c + [False] * (5 - c), k))

    assert pass_at_k(5, c, k) == pytest.approx(sum(map(any, choices)) / len(choices))


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 1, 0), (5, 1, 6)])
def test_what_is_no_choice_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        pass_at_k(n, c, k)

    assert str(error.value) == f"`0 <= c <= n` and `1 <= k <= n` must hold, but got n={n}, c={c}, k={k}"
