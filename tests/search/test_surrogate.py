"""The model of all results: it finds planted functions, knows what it does not know, and names no lucky trial."""

import math
import random
import re

import numpy as np
import pytest
import torch
from optuna.trial import FrozenTrial

from ppo_tune.search import surrogate
from ppo_tune.search.certainty import KL_SCALE
from ppo_tune.search.facts import StudyFacts
from ppo_tune.search.results import ranked_trials
from ppo_tune.search.surrogate import (
    MIN_RESULTS,
    MOST_RESULTS,
    Surrogate,
    has_results,
    rank,
    ranking,
    thinned,
)
from ppo_tune.search.verdict import read_verdict
from tests.reporting.conftest import HandMade


def truth(params: dict[str, float]) -> float:
    """A ridge over the learning rate, a step over the batch size, nothing over the epochs."""
    return (
        1
        - (math.log10(params["learning_rate"]) + 3) ** 2
        + {8: 0.2, 16: 0.1, 32: 0.0}[int(params["batch_size"])]
    )


def draw(rng: random.Random) -> dict[str, float]:
    """A config."""
    return {"learning_rate": 10 ** rng.uniform(-4, -2), "batch_size": rng.choice([8, 16, 32]),
            "ppo_epochs": rng.randint(1, 4)}  # fmt: skip


def fill(hand_made: HandMade, n: int, *, noise: float = 0.05, seed: int = 0) -> random.Random:
    """A study of completed and pruned trials; half of the completed score is there after the first milestone."""
    rng = random.Random(seed)
    for i in range(n):
        params = draw(rng)
        end = truth(params) + rng.gauss(0, noise)
        kl = 10 ** (np.log10(params["learning_rate"]) + 3) * 2  # 2 nats where the score is highest
        curve = [end * part for part in (0.2, 0.4, 0.6, 0.8, 1.0)]
        if i % 3 == 2:
            hand_made.add("pruned", curve[:2], kl=kl / 2, params=params)
        else:
            hand_made.add("completed", curve, kl=kl * 10 ** rng.gauss(0, 0.03), params=params)
    return rng


def trials_of(hand_made: HandMade) -> list[FrozenTrial]:
    """Its trials."""
    return hand_made.study.get_trials(deepcopy=False)


def test_planted_functions_are_recovered(hand_made: HandMade) -> None:
    rng = fill(hand_made, 60)
    new = [draw(rng) for _ in range(200)]

    seen = Surrogate(hand_made.config, trials_of(hand_made)).predict(new)

    true = np.array([truth(params) for params in new])
    assert np.corrcoef(seen.score, true)[0, 1] > 0.95
    kl = np.array([2 * params["learning_rate"] / 1e-3 for params in new])
    assert seen.log_kl is not None and seen.log_kl_error is not None
    expected = np.expm1(seen.log_kl) / KL_SCALE * hand_made.config.search.kl_budget
    assert np.abs(np.log(expected / kl)).mean() < 0.15
    assert (seen.safe <= seen.within).all()
    assert 0.03 < seen.log_kl_noise < 0.12  # 0.03 decades are 0.07
    clear = np.abs(np.log(kl / 3.0)) > 0.3
    assert ((seen.within > 0.5) == (kl < 3.0))[clear].mean() > 0.97
    covered = np.abs(seen.score - true) < 2 * seen.score_error + 0.02
    assert covered.mean() > 0.7  # the pruned ones are taken for better than they are


def test_the_order_of_trials_says_nothing(hand_made: HandMade) -> None:
    rng = fill(hand_made, 20)
    trials, new = trials_of(hand_made), [draw(rng) for _ in range(5)]
    shuffled = random.Random(1).sample(trials, len(trials))

    one, other = (Surrogate(hand_made.config, seen).predict(new) for seen in (trials, shuffled))

    assert one.score.tolist() == other.score.tolist()
    assert one.within.tolist() == other.within.tolist()


def test_far_from_data_it_does_not_know(hand_made: HandMade) -> None:
    rng = random.Random(0)
    for _ in range(20):
        params = {"learning_rate": 10 ** rng.uniform(-4, -3.5), "batch_size": 8, "ppo_epochs": 1}
        hand_made.add("completed", [truth(params) + rng.gauss(0, 0.02)] * 5, params=params)
    model = Surrogate(hand_made.config, trials_of(hand_made))

    seen = model.predict([
        {"learning_rate": 10**-3.75, "batch_size": 8, "ppo_epochs": 1},
        {"learning_rate": 1e-2, "batch_size": 32, "ppo_epochs": 4},
    ])  # fmt: skip

    assert seen.score_error[1] > 4 * seen.score_error[0]


def test_a_lucky_trial_among_poor_neighbours_is_not_the_best(hand_made: HandMade) -> None:
    hand_made.add(
        "completed",
        [0.0] * 5,
        baseline=True,
        params={"learning_rate": 1e-4, "batch_size": 16, "ppo_epochs": 2},
    )
    rng = random.Random(0)
    for exponent in np.linspace(-3.9, -2, 20):
        params = {"learning_rate": float(10**exponent), "batch_size": 16, "ppo_epochs": 2}
        hand_made.add("completed", [truth(params) + rng.gauss(0, 0.1)] * 5, params=params)
    lucky = hand_made.add(
        "completed", [1.25] * 5, params={"learning_rate": 10**-2.3, "batch_size": 16, "ppo_epochs": 2}
    )

    rank(hand_made.study, hand_made.config)
    order = ranked_trials(hand_made.study)

    assert max(trials_of(hand_made), key=lambda t: t.value or 0.0).number == lucky
    assert abs(np.log10(order[0].params["learning_rate"]) + 3) < 0.25
    assert lucky not in [t.number for t in order[:5]]


def test_who_is_within_the_budget_by_luck_is_not_the_best(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.0] * 5, kl=0.1, baseline=True)
    for exponent in np.linspace(-4, -2, 20):  # the score rises with the KL; the budget of 3 ends at 10**-2.5
        params = {"learning_rate": float(10**exponent), "batch_size": 16, "ppo_epochs": 2}
        hand_made.add(
            "completed", [(exponent + 4) / 2] * 5, kl=3 * 10 ** (2 * (exponent + 2.5)), params=params
        )
    lucky = hand_made.add(
        "completed", [0.9] * 5, kl=2.9, params={"learning_rate": 10**-2.2, "batch_size": 16, "ppo_epochs": 2}
    )

    rank(hand_made.study, hand_made.config)
    order = ranked_trials(hand_made.study)

    assert order[0].number != lucky
    assert order[0].params["learning_rate"] < 10**-2.4


def test_evidence_tells_what_the_results_depend_on(hand_made: HandMade) -> None:
    fill(hand_made, 40)
    model = Surrogate(hand_made.config, trials_of(hand_made), every_kl=True)
    assert model.kl is not None

    score, kl = model.score.evidence(), model.kl.evidence()

    assert list(model.cube.sides) == ["learning_rate", "batch_size", "ppo_epochs"]
    assert score[0] > 10
    assert kl[0] > 10
    assert (kl[1:] < 1).all()
    assert score[2] < 1


def test_drawn_functions_scatter_as_the_model_is_unsure(hand_made: HandMade) -> None:
    rng = fill(hand_made, 20)
    model = Surrogate(hand_made.config, trials_of(hand_made))
    points = model.cube.points([draw(rng) for _ in range(5)])

    drawn = model.score.draws(points, np.random.default_rng(0).standard_normal((4_000, 5)))

    mean, error = model.score(points)
    assert drawn.mean(0) == pytest.approx(mean, abs=4 * float(error.max()) / 4_000**0.5)
    assert drawn.std(0) == pytest.approx(error, rel=0.1)


def test_with_few_results_scores_decide(hand_made: HandMade) -> None:
    for score in (0.1, 0.5, 0.3):
        hand_made.add("completed", [score] * 5)
    hand_made.add("completed", [9.0] * 5, kl=3.5)

    assert len(trials_of(hand_made)) < MIN_RESULTS
    assert not has_results(trials_of(hand_made))
    rank(hand_made.study, hand_made.config)
    assert [t.number for t in ranked_trials(hand_made.study)] == [1, 2, 0]


def test_equal_results_break_nothing(hand_made: HandMade) -> None:
    rng = random.Random(0)
    for _ in range(10):
        hand_made.add("completed", [0.5] * 5, params=draw(rng))

    assert len(ranking(trials_of(hand_made), hand_made.config)) == 10


def test_what_is_believed_leaves_less_to_learn(hand_made: HandMade) -> None:
    rng = fill(hand_made, 15)
    new = draw(rng)
    model = Surrogate(hand_made.config, trials_of(hand_made))
    before = model.predict([new])

    model.believe([new])

    after = model.predict([new])
    assert after.score_error[0] < before.score_error[0]
    assert after.score[0] == pytest.approx(before.score[0], abs=1e-6)


def test_a_ranking_is_kept_for_those_who_have_no_model(
    hand_made: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(hand_made, 12)

    rank(hand_made.study, hand_made.config)

    kept = StudyFacts(hand_made.study).ranking
    assert kept == ranking(trials_of(hand_made), hand_made.config)
    assert [t.number for t in ranked_trials(hand_made.study)] == list(kept)

    def fails(*_: object) -> None:
        raise torch.linalg.LinAlgError("not positive definite")  # type: ignore[attr-defined]

    monkeypatch.setattr(surrogate, "ranking", fails)
    rank(hand_made.study, hand_made.config)

    assert StudyFacts(hand_made.study).ranking == kept


def test_the_verdict_without_a_confirmation_says_what_is_expected(hand_made: HandMade) -> None:
    params = {"learning_rate": 1e-4, "batch_size": 32, "ppo_epochs": 2}
    hand_made.add("completed", [truth(params)] * 5, baseline=True, params=params)
    fill(hand_made, 12)
    before = read_verdict(hand_made.study, hand_made.config, hand_made.folder)

    rank(hand_made.study, hand_made.config)

    after = read_verdict(hand_made.study, hand_made.config, hand_made.folder)
    assert "all results together expect" not in before.sentence
    found = re.search(
        r"; all results together expect \+(\S+) \(sd (\S+)\) over the default config, within the KL budget with "
        r"probability (?:above )?(\S+)\.$",
        after.sentence,
    )
    assert after.kind == "not_confirmed"
    assert found is not None
    assert float(found[1]) > 2 * float(found[2]) > 0
    assert 0.5 < float(found[3]) <= 1


def test_of_very_many_results_the_best_and_some_of_the_others_are_fitted() -> None:
    results = {number: float(number) for number in range(5_000)}

    kept = thinned(results, lambda score: -score, MOST_RESULTS)

    assert len(kept) == MOST_RESULTS
    assert set(range(5_000 - MOST_RESULTS // 2, 5_000)) <= set(kept)
    assert min(kept) == 0
    assert list(kept) == sorted(kept)
    assert thinned({1: 0.5}, lambda score: -score, 1) == {1: 0.5}


def test_where_most_trials_reach_the_highest_score_it_knows_which_do_not(hand_made: HandMade) -> None:
    rng = random.Random(0)
    for config in (draw(rng) for _ in range(30)):
        hand_made.add("completed", [1.0 if config["learning_rate"] > 4e-4 else 0.0] * 5, params=config)

    usual = {"batch_size": 16, "ppo_epochs": 2}
    low, high = ({"learning_rate": rate, **usual} for rate in (1.5e-4, 5e-3))
    seen = Surrogate(hand_made.config, trials_of(hand_made)).predict([low, high])

    assert seen.score[0] < 0.2 < 0.8 < seen.score[1]
