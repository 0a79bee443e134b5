"""What decides the score within the KL budget is named, what is noise is not."""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ppo_tune.config.constraints import Rules
from ppo_tune.config.space import Space
from ppo_tune.search import effects as module
from ppo_tune.search.cube import Cube, Numbers
from ppo_tune.search.effects import POINTS, Effect, crossed, effects, needed
from tests.reporting.conftest import HandMade


def draw(rng: random.Random) -> dict[str, Any]:
    """A config."""
    return {"learning_rate": 10 ** rng.uniform(-4, -2), "batch_size": rng.choice([8, 16, 32]),
            "ppo_epochs": rng.randint(1, 4)}  # fmt: skip


def fill(made: HandMade, n: int, *, score: float = 0.0, kl: float = 0.0, usual: float = 3.0) -> None:
    """Trials whose score follows the learning rate and whose KL the batch size, each so much; every fourth is pruned.

    Without a share of either there is only noise. The usual KL is that of the middle batch size.
    """
    rng = random.Random(1)
    for i in range(n):
        params = draw(rng)
        end = score * math.log10(params["learning_rate"]) + rng.gauss(0, 0.1)
        nats = usual * math.exp(kl * math.log2(params["batch_size"] / 16) + rng.gauss(0, 0.1))
        if i % 4 == 3:
            made.add("pruned", [end] * 2, kl=nats, params=params)
        else:
            made.add("kl_limit" if nats > 2 * usual else "completed", [end] * 5, kl=nats, params=params)


def found(made: HandMade) -> dict[str, Effect]:
    """The effects by name."""
    return {effect.name: effect for effect in effects(made.config, made.study.get_trials(deepcopy=False))}


def named(made: HandMade) -> list[str]:
    """What is named."""
    return [name for name, effect in found(made).items() if effect.clear]


def test_what_decides_the_score_and_what_decides_the_kl_are_both_named(hand_made: HandMade) -> None:
    fill(hand_made, 40, score=1.0, kl=1.0)

    seen = found(hand_made)

    assert list(seen) == ["learning_rate", "batch_size", "ppo_epochs"]
    assert [effect.clear for effect in seen.values()] == [True, True, False]
    assert seen["ppo_epochs"].share < min(seen["learning_rate"].share, seen["batch_size"].share) / 3
    assert all(0 <= e.low <= e.share <= e.high <= 1 for e in seen.values())


def test_a_kl_far_below_the_budget_decides_nothing(hand_made: HandMade) -> None:
    fill(hand_made, 40, score=1.0, kl=1.0, usual=0.1)

    seen = found(hand_made)

    assert seen["batch_size"].evidence > needed(3) / math.log(10)
    assert named(hand_made) == ["learning_rate"]
    assert seen["batch_size"].share < 0.05
    assert seen["learning_rate"].share > 0.9


@pytest.mark.parametrize("score", ["noise", "equal"])
def test_a_kl_far_below_the_budget_decides_nothing_of_scores_that_nothing_decides(
    hand_made: HandMade, score: str
) -> None:
    rng = random.Random(0)
    for _ in range(32):
        params, end = draw(rng), rng.gauss(0, 1) if score == "noise" else 0.5
        hand_made.add("completed", [end] * 5, kl=30 * params["learning_rate"], params=params)

    assert found(hand_made)["learning_rate"].evidence > needed(3) / math.log(10)
    assert named(hand_made) == []


@pytest.mark.parametrize("n", [12, 40])
def test_noise_names_nothing(hand_made: HandMade, n: int) -> None:
    fill(hand_made, n)

    assert named(hand_made) == []


@pytest.mark.slow
def test_results_that_belong_to_other_configs_name_nothing_in_nineteen_studies_of_twenty(
    hand_made: HandMade,
) -> None:
    fill(hand_made, 24, score=1.0, kl=1.0)
    trials = hand_made.study.get_trials()
    configs, times = [t.params for t in trials], 0
    for seed in range(40):
        shuffled = random.Random(seed).sample(configs, len(configs))
        for trial, params in zip(trials, shuffled, strict=True):
            trial.params = params
        times += any(effect.clear for effect in effects(hand_made.config, trials))

    assert times <= 2


def test_the_order_of_trials_says_nothing(hand_made: HandMade) -> None:
    fill(hand_made, 20, score=1.0)
    trials = hand_made.study.get_trials(deepcopy=False)

    assert effects(hand_made.config, trials) == effects(hand_made.config, trials[::-1])


def test_where_no_model_can_be_fitted_there_are_no_effects(
    hand_made: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(hand_made, 12)

    def fails(*_: object) -> None:
        raise torch.linalg.LinAlgError("not positive definite")  # type: ignore[attr-defined]

    monkeypatch.setattr(module, "total_effects", fails)

    assert found(hand_made) == {}


def test_equal_scores_decide_nothing(hand_made: HandMade) -> None:
    rng = random.Random(0)
    for _ in range(14):
        hand_made.add("completed", [0.5] * 5, params=draw(rng))

    assert named(hand_made) == []


def test_of_more_hyperparameters_each_needs_more_evidence() -> None:
    """Thirty to one, for the score and the KL of three."""
    assert needed(3) == pytest.approx(math.log(180))


def test_versions_of_the_points_differ_on_one_side_each(hand_made: HandMade) -> None:
    cube = Cube(hand_made.config.space)

    first, *versions = crossed(cube, Rules.of([], {})).reshape(-1, POINTS, 3)

    assert len(versions) == 3
    for side, version in enumerate(versions):
        others = np.delete(np.arange(3), side)
        assert (version[:, others] == first[:, others]).all()
        assert (version[:, side] != first[:, side]).mean() > 0.5


def shares(space: dict[str, Any], constraints: list[str], score: Callable[[Numbers], Numbers]) -> list[float]:
    """The total effects on a known function of the values of a space, by the points of `crossed`."""
    cube, rules = Cube(Space.model_validate(space)), Rules.of(constraints, {})
    points = crossed(cube, rules)
    values = [cube.config(point) for point in points]
    assert all(map(rules.allow, values))
    worth = score(np.array([[v[name] for name in space] for v in values]).T).reshape(-1, POINTS)
    return list(((worth[:1] - worth[1:]) ** 2).mean(1) / 2 / worth[0].var())


UNIT = {"type": "float", "low": 0.0, "high": 1.0}


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        pytest.param([], [1.0, 0.0], id="all"),
        # Var(a) = 1/18 over the triangle; a is uniform to 1 - b, of variance (1 - b)²/12, on average 1/24.
        pytest.param(["a + b <= 1"], [0.75, 0.0], id="a triangle"),
        # Within a strip of width 0.2 around the diagonal little is open once b is known: 0.04/12 of 1/12, less at ends.
        pytest.param(["-0.1 <= a - b <= 0.1"], [0.04, 0.0], id="a strip"),
        pytest.param(["a <= 0.5"], [1.0, 0.0], id="half"),
    ],
)
def test_a_share_is_that_of_what_the_constraints_allow(constraints: list[str], expected: list[float]) -> None:
    found = shares({"a": UNIT, "b": UNIT}, constraints, lambda v: v[0])

    assert found == pytest.approx(expected, abs=0.1)


def test_where_constraints_leave_no_other_value_a_share_is_nothing() -> None:
    choices = {"type": "categorical", "choices": [1, 2, 3, 4]}

    found = shares({"a": choices, "b": choices}, ["a == b"], lambda v: v[0])

    assert found == [0.0, 0.0]


def test_where_no_random_point_is_allowed_those_tried_make_up_the_number() -> None:
    cube, rules = Cube(Space.model_validate({"a": UNIT, "b": UNIT})), Rules.of(["a == 0.25"], {})
    tried = [{"a": 0.25, "b": 0.5}, {"a": 0.25, "b": 1.0}, {"a": 0.5, "b": 0.75}]

    first, other_a, other_b = crossed(cube, rules, tried).reshape(-1, POINTS, 2)

    assert {tuple(point) for point in first} == {(0.25, 0.5), (0.25, 1.0)}
    assert (other_a == first).all()
    assert (other_b[:, 0] == 0.25).all()
    assert len(set(other_b[:, 1])) == POINTS


def test_what_is_ruled_out_decides_nothing(hand_made: HandMade) -> None:
    """The learning rate decides nine tenths of the variance over the space, and one in a tenth of its range."""
    rng = random.Random(2)
    for _ in range(30):
        params = draw(rng)
        end = math.log10(params["learning_rate"]) + params["ppo_epochs"] / 6
        hand_made.add("completed", [end + rng.gauss(0, 0.01)] * 5, params=params)

    whole = found(hand_made)
    hand_made.config = hand_made.config.model_copy(update={"constraints": ("learning_rate <= 1.6e-4",)})
    part = found(hand_made)

    assert whole["learning_rate"].share > 0.8 > 0.2 > whole["ppo_epochs"].share
    assert part["ppo_epochs"].share > 0.8 > 0.2 > part["learning_rate"].share
