"""What a confirmation concludes from its runs: each outcome, and who is still in the race."""

from collections.abc import Sequence

import numpy as np
import pytest

from ppo_tune.search.certainty import log_kl
from ppo_tune.search.facts import Expectation
from ppo_tune.search.race import Candidate, Confirmation, Run

N_PROMPTS = 40
NOISE = np.random.default_rng(0).normal(0, 0.02, (20, N_PROMPTS))
"""What differs between prompts and runs; small beside every gain below."""

UNTRAINED = np.linspace(-0.5, 0.5, N_PROMPTS)


def candidate(
    number: int,
    means: Sequence[float | None],
    *,
    kl: float = 1.0,
    search: float = 1.0,
    gold: float = 0.0,
    expected: Expectation | None = None,
) -> Candidate:
    """A config with one run per mean; None is a run that left the KL limit of 4 nats."""
    runs = []
    for i, mean in enumerate(means):
        done = mean is not None
        scores = UNTRAINED + mean + NOISE[(7 * number + i) % 20] if mean is not None else UNTRAINED
        judged = UNTRAINED + gold + NOISE[(3 * number + i) % 20] if done else UNTRAINED
        runs.append(
            Run(i, "completed" if done else "kl_limit", scores, {"gold": judged}, kl if done else 4.0)
        )
    return Candidate(number, number == 0, {}, search, tuple(runs), expected)


def expect(kl: float, *, error: float = 0.05, noise: float = 0.1, gain: float = 0.3) -> Expectation:
    """What a search expects of a config with this KL, of a budget of 2 nats."""
    return Expectation(gain, 0.1, 0.9, float(log_kl(kl, 2.0)), error, noise)


def confirmation(*candidates: Candidate, n_seeds: int = 5) -> Confirmation:
    return Confirmation(candidates, UNTRAINED, {"gold": UNTRAINED}, n_seeds, kl_budget=2.0)


def test_a_lead_on_every_seed_is_better() -> None:
    found = confirmation(
        candidate(0, [0.5, 0.52, 0.48, 0.51, 0.49]), candidate(7, [0.8, 0.83, 0.79, 0.82, 0.78])
    ).outcome

    assert (found.kind, found.best, found.winner, found.rival) == ("better", 7, 7, "default")
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(0.304, abs=0.02)


def test_a_lead_that_one_seed_makes_is_not_better_and_the_default_goes_on() -> None:
    found = confirmation(
        candidate(0, [0.5, 0.5, 0.5, 0.5, 0.5]), candidate(7, [0.45, 0.5, 0.55, 0.5, 0.9], search=2.0)
    ).outcome

    assert (found.kind, found.best, found.winner) == ("no_better", 7, 0)


def test_the_best_is_by_the_fresh_seeds_and_not_by_the_search() -> None:
    found = confirmation(
        candidate(0, [0.1] * 5), candidate(3, [0.5] * 5, search=9.0), candidate(4, [0.9] * 5, search=1.0)
    ).outcome

    assert found.winner == 4


def test_who_leaves_the_kl_budget_does_not_win() -> None:
    found = confirmation(
        candidate(0, [0.1] * 5), candidate(3, [0.9] * 5, kl=2.5), candidate(4, [0.5] * 5, kl=1.9)
    ).outcome

    assert found.winner == 4


def test_a_run_that_failed_counts_as_untrained_and_at_the_kl_limit() -> None:
    shaky = candidate(3, [0.9, 0.9, None, 0.9, 0.9])

    assert shaky.failures == 1
    assert shaky.mean == pytest.approx(0.72, abs=0.02)
    assert shaky.kl == pytest.approx((4 * 1.0 + 4.0) / 5)


def test_a_default_beyond_the_budget_is_no_yardstick() -> None:
    found = confirmation(candidate(0, [0.9] * 5, kl=3.0), candidate(3, [0.4] * 5)).outcome

    assert (found.kind, found.winner, found.rival) == ("better", 3, "untrained")
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(0.4, abs=0.02)


def test_nothing_goes_on_when_all_leave_the_budget() -> None:
    found = confirmation(candidate(0, [0.9] * 5, kl=3.0), candidate(3, [0.9] * 5, kl=3.0)).outcome

    assert (found.kind, found.best, found.winner, found.gain) == ("no_better", None, None, None)


def test_seeds_that_are_missing_leave_it_open() -> None:
    found = confirmation(candidate(0, [0.5] * 5), candidate(3, [0.9] * 4)).outcome

    assert (found.kind, found.winner) == ("unfinished", None)


def test_who_is_far_behind_leaves_the_race_and_the_default_never_does() -> None:
    race = confirmation(
        candidate(0, [0.0, 0.0]),
        candidate(3, [0.9, 0.91]),
        candidate(4, [0.1, 0.1]),
        candidate(5, [0.95, 0.86]),
    )

    assert [c.number for c in race.racing()] == [0, 3, 5]


def test_an_outcome_does_not_wait_for_who_was_dropped() -> None:
    found = confirmation(
        candidate(0, [0.0] * 5), candidate(3, [0.9, 0.91, 0.9, 0.9, 0.9]), candidate(4, [0.1, 0.1])
    ).outcome

    assert (found.kind, found.winner) == ("better", 3)


def test_a_leader_beyond_the_budget_drops_nobody_and_leaves_when_every_run_was_beyond() -> None:
    race = confirmation(candidate(0, [0.5, 0.5]), candidate(3, [2.0, 2.0], kl=2.5), candidate(4, [0.6, 0.6]))

    assert [c.number for c in race.racing()] == [0, 4]


def test_all_race_until_everybody_has_two_seeds() -> None:
    race = confirmation(candidate(0, [0.0, 0.0]), candidate(3, [0.9, 0.9]), candidate(4, [0.0]))

    assert len(race.racing()) == 3


def test_the_gold_score_is_compared_with_the_untrained_models() -> None:
    race = confirmation(candidate(0, [0.1] * 5), candidate(3, [0.9] * 5, gold=-0.3))

    change = race.judge_change("gold", race.candidate(3))

    assert change is not None
    assert change.mean == pytest.approx(-0.3, abs=0.02)
    assert change.high < 0


def test_a_gain_that_the_search_expects_too_goes_on_though_it_is_not_certain() -> None:
    default, uneven = candidate(0, [0.5, 0.5]), [0.55, 0.9]

    found = confirmation(default, candidate(7, uneven, expected=expect(1.0)), n_seeds=2).outcome

    assert found.gain is not None and found.gain.low < 0 < found.gain.mean
    assert (found.kind, found.best, found.winner) == ("likely", 7, 7)
    for seen in (None, expect(1.0, gain=0.1)):  # a standard deviation of it
        doubted = confirmation(default, candidate(7, uneven, expected=seen), n_seeds=2).outcome
        assert (doubted.kind, doubted.winner) == ("no_better", 0)
    worse = confirmation(default, candidate(7, [0.2, 0.6], expected=expect(1.0)), n_seeds=2).outcome
    assert (worse.kind, worse.winner) == ("no_better", 0)


def test_the_kl_budget_is_seen_by_the_runs_and_by_what_the_search_expects() -> None:
    runs = {"means": [0.9, 0.9], "kl": 2.1}

    assert not candidate(7, **runs).is_within(2.0)  # type: ignore[arg-type]
    assert candidate(7, **runs, expected=expect(1.7)).is_within(2.0)  # type: ignore[arg-type]
    assert not candidate(7, **runs, expected=expect(1.7, error=1.0)).is_within(2.0)  # type: ignore[arg-type]
    assert not candidate(7, [0.9] * 20, kl=2.1, expected=expect(1.7)).is_within(2.0)
    assert not candidate(7, [0.9, 0.9], kl=1.9, expected=expect(3.0)).is_within(2.0)


def test_a_surer_search_weighs_no_more_than_four_runs() -> None:
    sure, surer = (candidate(7, [0.9] * 5, kl=2.1, expected=expect(1.9, error=e)) for e in (0.05, 1e-6))

    assert sure.is_within(2.0) == surer.is_within(2.0) is False


def test_a_run_that_failed_makes_the_others_no_less_certain() -> None:
    good, default = candidate(7, [0.8, 0.82]), candidate(0, [0.5, 0.51])

    alone = confirmation(default, good, candidate(8, [0.7, 0.71]), n_seeds=2).outcome
    beside = confirmation(default, good, candidate(8, [0.7, None]), n_seeds=2).outcome

    assert (alone.kind, beside.kind) == ("better", "better")
