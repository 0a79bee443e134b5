# mypy: ignore-errors
"""Whether short runs predict long ones: the statistic is the textbook's, and the words say what it cannot know."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from ppo_tune.reporting.analysis.fidelity import fidelity_table, rank_agreements
from ppo_tune.reporting.chapters.history.chapter import fidelity_reading, fidelity_section
from tests.reporting.conftest import HandMade


def fill(hand_made: HandMade, early: list[float], late: list[float]) -> HandMade:
    """Completed trials: `early` at the first two of five milestones, `late` at the other three."""
    for before, after in zip(early, late, strict=True):
        hand_made.add("completed", [before] * 2 + [after] * 3)
    return hand_made


ORDER = [float(i) for i in range(8)]
SWAPPED = [1.0, 0.0, *ORDER[2:]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12), st.randoms())
def test_the_agreement_of_every_resample_is_kendalls_tau_b(pairs, random) -> None:
    x, y = (np.array(values, dtype=float) for values in zip(*pairs, strict=True))
    chosen = np.array([[random.randrange(len(x)) for _ in x] for _ in range(3)])
    weights = np.stack([np.bincount(row, minlength=len(x)) for row in chosen])

    taus = rank_agreements(x, y, weights)

    for row, tau in zip(chosen, taus, strict=True):
        varies = len(set(x[row])) > 1 and len(set(y[row])) > 1
        expected = stats.kendalltau(x[row], y[row]).statistic if varies else math.nan
        assert tau == pytest.approx(expected, nan_ok=True, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=3, max_size=20, unique=True), st.floats(0.1, 5))
def test_only_the_order_of_scores_matters(values, power) -> None:
    x = np.array(values)
    y = np.random.default_rng(0).permutation(x)
    stretched = np.sign(x) * np.abs(x) ** power
    assume(len(set(stretched)) == len(x))

    ones = np.ones((1, len(x)))

    assert rank_agreements(stretched, y, ones) == pytest.approx(rank_agreements(x, y, ones))


def test_there_is_a_row_for_every_milestone_but_the_end(hand_made: HandMade) -> None:
    table = fidelity_table(fill(hand_made, SWAPPED, ORDER).record())

    assert table["episodes"].tolist() == [128, 256, 384, 512]
    assert table["share"].tolist() == [0.2, 0.4, 0.6, 0.8]
    assert table["trials"].tolist() == [8] * 4


def test_one_pair_of_28_in_another_order(hand_made: HandMade) -> None:
    table = fidelity_table(fill(hand_made, SWAPPED, ORDER).record())

    first = table.iloc[0]
    assert first["tau"] == pytest.approx((27 - 1) / 28)
    assert first["same_order"] == pytest.approx(27 / 28)
    assert first["best_stood"] == 1
    assert -1 <= first["low"] < first["tau"] <= first["high"] <= 1


def test_a_perfect_order_has_no_interval_for_every_resample_is_perfect(hand_made: HandMade) -> None:
    record = fill(hand_made, SWAPPED, ORDER).record()

    table = fidelity_table(record).set_index("episodes")

    assert table.loc[384, "tau"] == 1.0
    assert math.isnan(table.loc[384, "low"])


def test_an_order_turned_round_is_minus_one_and_the_best_stood_last(hand_made: HandMade) -> None:
    record = fill(hand_made, ORDER[::-1], ORDER).record()

    first = fidelity_table(record).iloc[0]

    assert first["tau"] == -1.0
    assert first["best_stood"] == 8


def test_the_interval_is_that_of_scipys_bootstrap(hand_made: HandMade) -> None:
    rng = np.random.default_rng(5)
    late = rng.normal(size=20)
    early = late + rng.normal(size=20)
    record = fill(hand_made, early.tolist(), late.tolist()).record()

    first = fidelity_table(record).iloc[0]

    theirs = stats.bootstrap(
        (early, late),
        lambda x, y, axis: stats.kendalltau(x, y, axis=axis).statistic,
        paired=True,
        n_resamples=2000,
        method="percentile",
        rng=rng,
    ).confidence_interval
    assert (first["low"], first["high"]) == pytest.approx((theirs.low, theirs.high), abs=0.06)


def test_only_trials_that_reached_the_end_are_counted_and_the_words_say_so(hand_made: HandMade) -> None:
    fill(hand_made, SWAPPED, ORDER)
    hand_made.add("pruned", [9.0, 9.0])
    hand_made.add("diverged", [])
    record = hand_made.record()

    table = fidelity_table(record)
    words = fidelity_reading(table, record)

    assert table["trials"].tolist() == [8] * 4
    assert "Only the 8 of 10 trials that reached the end are counted; chosen by early scores" in words
    assert "which lowers the agreement" in words


def test_where_nothing_was_pruned_early_scores_chose_nobody(hand_made: HandMade) -> None:
    fill(hand_made, SWAPPED, ORDER)
    hand_made.add("kl_limit", [9.0])
    record = hand_made.record()

    words = fidelity_reading(fidelity_table(record), record)

    assert words.endswith("Only the 8 of 9 trials that reached the end are counted.")


def test_the_words_give_pairs_interval_and_number(hand_made: HandMade) -> None:
    record = fill(hand_made, SWAPPED, ORDER).record()
    table = fidelity_table(record)

    words = fidelity_reading(table, record)

    low, high = table["low"][1], table["high"][1]
    assert words == (
        "After 256 of 640 episodes (40 %) the trial ahead of another was ahead at the end in 96 % of pairs; chance "
        f"gives 50 % (rank agreement τ +0.93, 95 % interval {low:+.2f} to {high:+.2f}, 8 trials). "
        "Short runs predict long ones here. The best at the end was 1st of 8 then."
    )


@pytest.mark.parametrize(
    ("tau", "low", "words"),
    [
        pytest.param(0.8, 0.6, "Short runs predict long ones here.", id="sure"),
        pytest.param(0.6, 0.1, "Short runs tell something about long ones here", id="something"),
        pytest.param(
            0.4, -0.1, "That cannot be told from chance: early scores may mislead the pruner", id="chance"
        ),
        pytest.param(1.0, math.nan, "no interval, for every pair agrees", id="perfect"),
    ],
)
def test_the_verdict_follows_the_lower_end_of_the_interval(
    hand_made: HandMade, tau: float, low: float, words: str
) -> None:
    row = {"episodes": 256, "share": 0.4, "trials": 9, "tau": tau, "low": low, "high": 0.9, "same_order": 0.9,
           "best_stood": 2}  # fmt: skip

    reading = fidelity_reading(pd.DataFrame([row]), fill(hand_made, ORDER, ORDER).record())

    assert words in reading
    assert "The best at the end was 2nd of 9 then." in reading


def test_too_few_trials_are_said_to_be_too_few(hand_made: HandMade) -> None:
    fill(hand_made, ORDER[:7], ORDER[:7])
    hand_made.add("pruned", [0.0])
    record = hand_made.record()

    section = fidelity_section(record)

    assert section.reading == (
        "Not enough trials to say whether short runs predict long ones: 8 must reach the end, and 7 of 8 did."
    )


def test_one_milestone_says_nothing(hand_made: HandMade) -> None:
    search = hand_made.config.search.model_copy(update={"milestones": 1})
    hand_made.config = hand_made.config.model_copy(update={"search": search})
    for score in ORDER:
        hand_made.add("completed", [score])

    assert fidelity_section(hand_made.record()).reading.startswith("Trials are scored only at their end")


def test_equal_scores_have_no_order(hand_made: HandMade) -> None:
    record = fill(hand_made, [1.0] * 8, ORDER).record()

    words = fidelity_reading(fidelity_table(record), record)

    assert (
        words
        == "After 256 of 640 episodes (40 %) all 8 trials that reached the end had the same score: no order to compare."
    )
