"""What trials that did not reach the end are expected to come to there."""

import numpy as np
import pytest

from ppo_tune.search.certainty import KL_SCALE, log_kl
from ppo_tune.search.forecasts import final_log_kls, final_scores, known_log_kls
from tests.reporting.conftest import HandMade


def test_a_trial_that_did_not_end_is_given_half_the_usual_rise(hand_made: HandMade) -> None:
    for rise in (0.2, 0.4, 0.4, 0.8):  # the median rise after the second milestone is 0.4
        hand_made.add("completed", [0.0, 0.1, 0.1, 0.1, 0.1 + rise])
    pruned = hand_made.add("pruned", [0.1, 0.3])
    running = hand_made.add("running", [0.1, 0.2])
    beyond = hand_made.add("kl_limit", [0.1, 5.0], kl=9.0)
    unscored = hand_made.add("diverged", [], kl=9.0)

    scores = final_scores(hand_made.study.get_trials(deepcopy=False), 5)

    assert scores[0] == pytest.approx(0.3)
    assert scores[pruned] == pytest.approx(0.3 + 0.2)
    assert scores[running] == pytest.approx(0.2 + 0.2)
    assert beyond not in scores
    assert unscored not in scores


def test_a_kl_is_known_at_the_end_or_beyond_the_limit_and_expected_elsewhere(hand_made: HandMade) -> None:
    """That of completed trials rises from 1 to 2 after the second milestone."""
    for _ in range(4):
        hand_made.add("completed", [0.1] * 5, kl=2.0)
    pruned = hand_made.add("pruned", [0.1, 0.3], kl=0.5)
    late = hand_made.add("pruned", [0.1] * 4, kl=0.5)
    beyond = hand_made.add("kl_limit", [0.1, 5.0], kl=9.0)
    trials, budget = hand_made.study.get_trials(), hand_made.config.search.kl_budget
    for trial in trials[:4]:
        for point in trial.user_attrs["curve"][:2]:
            point["kl"] = 1.0

    known, final = known_log_kls(trials, budget), final_log_kls(trials, 5, budget)

    rise = log_kl(2.0, budget) - log_kl(1.0, budget)
    assert known == pytest.approx(
        {**dict.fromkeys(range(4), log_kl(2.0, budget)), beyond: log_kl(9.0, budget)}
    )
    assert final[0] == known[0]
    assert final[pruned] == pytest.approx(log_kl(0.5, budget) + rise)
    assert final[late] == pytest.approx(log_kl(0.5, budget))
    assert final[beyond] == pytest.approx(log_kl(9.0, budget) + rise)


def test_of_few_completed_trials_nothing_is_learned(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.0, 0.1, 0.1, 0.1, 9.0])
    pruned = hand_made.add("pruned", [0.1, 0.3], kl=0.5)
    trials = hand_made.study.get_trials(deepcopy=False)

    assert final_scores(trials, 5)[pruned] == 0.3
    assert final_log_kls(trials, 5, 3.0)[pruned] == log_kl(0.5, 3.0)


def test_the_scale_of_kl_has_a_way_back() -> None:
    kls = [0.0, 0.1, 2.0, 50.0]

    back = np.expm1(log_kl(np.array(kls), 2.0)) * 2.0 / KL_SCALE

    assert back == pytest.approx(kls)
    assert log_kl(-0.1, 2.0) == 0.0
