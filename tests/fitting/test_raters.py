"""Raters: offsets that are known from the training rows alone, how far they agree, and a scale turned round."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ppo_tune.data.labels import ClassLabels, Labels, PairLabels, RatingLabels
from ppo_tune.errors import DataError
from ppo_tune.fitting.raters import agreement, without_offsets

RNG = np.random.default_rng(0)


def rated(ratings: "list[float] | np.ndarray", raters: list[str] | None = None) -> RatingLabels:
    column = np.asarray(ratings, float)[:, None]
    return RatingLabels(None if raters is None else np.array(raters), ("rating",), column)


def test_ratings_of_raters_with_offsets_of_their_own_come_to_one_scale() -> None:
    worth, offset = RNG.normal(size=200), {"ann": 0.0, "bob": 1.5, "cid": -1.5}
    who = RNG.choice([*offset], 600)
    ratings = np.array([worth[i % 200] + offset[rater] for i, rater in enumerate(who)])

    found = without_offsets(ratings[:, None], who, [i % 200 for i in range(600)], np.arange(600))[:, 0]

    shift = (found - ratings).mean()
    spread = {rater: (found - np.tile(worth, 3))[who == rater].mean() for rater in offset}
    assert max(spread.values()) - min(spread.values()) < 0.1  # 3.0 before
    assert abs(shift) < 0.5


def test_offsets_are_known_from_the_training_rows_alone() -> None:
    who, keys = np.array(["ann", "bob"] * 20), [*range(20)] * 2
    ratings = RNG.normal(size=(40, 1))
    train = np.arange(30)
    other = ratings.copy()
    other[30:] += 100.0

    one, two = (without_offsets(values, who, keys, train) for values in (ratings, other))

    assert_allclose(two[:30], one[:30])
    assert_allclose(two[30:] - 100.0, one[30:])


@pytest.mark.parametrize("raters", [None, np.array(["ann"] * 4)], ids=["nobody known", "one rater"])
def test_without_two_raters_nothing_is_changed(raters: "np.ndarray | None") -> None:
    ratings = np.array([[1.0], [2.0], [np.nan], [4.0]])

    assert_allclose(without_offsets(ratings, raters, [*"abcd"], np.arange(4)), ratings)


def test_pairs_that_were_judged_twice_say_how_far_raters_agree() -> None:
    rows, twice = [], []
    for i in range(40):
        rows.append((f"p{i}", "x", "y"))
        twice.append((f"p{i}", "x", "y") if i % 4 else (f"p{i}", "y", "x"))  # one in four the other way round

    found = agreement(PairLabels.plain(80), [*rows, *twice])

    assert found is not None
    assert (found.share, found.n) == (0.75, 40)


def test_ratings_of_the_same_responses_say_the_same_by_their_order() -> None:
    rows = [(f"p{i}", response) for i in range(40) for response in "xy"]
    ann = [1.0, 2.0] * 40
    bob = [5.0, 7.0] * 30 + [7.0, 5.0] * 10

    found = agreement(rated([*ann, *bob], ["ann"] * 80 + ["bob"] * 80), [*rows, *rows])

    assert found is not None
    assert (found.share, found.n) == (0.75, 40)


def test_a_tie_is_no_judgement_of_an_order() -> None:
    rows = [(f"p{i}", response) for i in range(40) for response in "xy"]

    assert (
        agreement(rated([1.0, 2.0] * 40 + [3.0, 3.0] * 40, ["ann"] * 80 + ["bob"] * 80), [*rows, *rows])
        is None
    )


@pytest.mark.parametrize(
    "labels",
    [
        PairLabels.plain(10),
        rated([float(i) for i in range(10)]),
        ClassLabels(None, ("a", "b"), np.arange(10) % 2, 1, True),
    ],
    ids=["pairs", "ratings", "classes"],
)
def test_where_nothing_was_judged_twice_nothing_is_said(labels: Labels) -> None:
    rows = [(f"p{i}", *"xy"[: labels.n_responses]) for i in range(10)]

    assert agreement(labels, rows) is None


@pytest.mark.parametrize(
    ("raters", "told"), [(["ann", "bob"], "'ann' and 'bob'"), (["ann", "bob", "cid"], "'bob' and the others")]
)
def test_a_scale_that_runs_the_other_way_round_is_refused(raters: list[str], told: str) -> None:
    rows = [(f"p{i}", response) for i in range(30) for response in "xy"]
    values = {"ann": [1.0, 2.0], "bob": [2.0, 1.0], "cid": [3.0, 5.0]}
    ratings = [value for rater in raters for value in values[rater] * 30]

    with pytest.raises(DataError) as caught:
        agreement(rated(ratings, [rater for rater in raters for _ in rows]), rows * len(raters))

    assert f" comparisons 0 only come out alike for raters {told}, as if" in str(caught.value)
    assert str(caught.value).endswith("one scale ran the other way round; turn it, or leave those rows out")
