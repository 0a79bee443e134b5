# mypy: ignore-errors
"""A trial learns the same alone and in a pack, whatever becomes of its neighbours."""

import math
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.errors import TrialError
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import LIKES, FailingReward, WordReward, make_toy_task, small_config, tiny_policy

CONFIGS = (
    small_config(),
    small_config(
        learning_rate=0.003,
        gamma=0.9,
        gae_lambda=0.5,
        clip_range=0.05,
        kl_coef=0.5,
        batch_size=2,
        ppo_epochs=3,
        vf_coef=0.5,
        ent_coef=0.02,
        kl_estimator="k3",
        whiten_rewards=True,
        dual_clip=1.5,
    ),
    small_config(
        learning_rate=0.03,
        gamma=0.99,
        gae_lambda=1.0,
        clip_range=0.3,
        kl_coef=0.01,
        batch_size=8,
        ppo_epochs=1,
        vf_coef=1.0,
        clip_range_value=0.1,
        kl_estimator="k2",
        kl_target=0.5,
        kl_horizon=50.0,
        missing_eos_penalty=0.5,
        lr_schedule="linear",
        max_grad_norm=0.3,
        adam_epsilon=1e-4,
    ),
)
TOGETHER = {0: 0, 1: 1, 2: 2}
ITERATIONS = 4


class Pack:
    """Trials by place, each with its own config and seed, and the record of what they did.

    Args:
        trials: Number of the config, and so of the seed, by place.
        places: How many places there are.
        reward: The judge.
        family: Of the model.
    """

    def __init__(
        self,
        trials: dict[int, int],
        *,
        places: int = 3,
        reward: WordReward | None = None,
        family: str = "gpt2",
    ) -> None:
        self.reward = reward or WordReward(LIKES)
        self.trainer = PPOTrainer(
            tiny_policy(family, places=places), make_toy_task(self.reward), small_config()
        )
        self.metrics: dict[int, list[dict[str, float]]] = {}
        self.endings: dict[int, TrialError] = {}
        self.samples: dict[int, list[list[str]]] = {}
        for place, number in trials.items():
            self.start(place, number)

    def start(self, place: int, number: int) -> None:
        self.trainer.start(place, CONFIGS[number], seed=number)
        self.metrics[place], self.samples[place] = [], []

    def step(self, iterations: int = 1) -> "Pack":
        """Iterate; a trial that fails is dropped."""
        for _ in range(iterations):
            places, calls = list(self.trainer.runs), len(self.reward.calls)
            results = self.trainer.step()
            for place, responses in zip(places, self.reward.responses[calls:], strict=False):
                self.samples[place].append(responses)
            for place, result in results.items():
                if isinstance(result, TrialError):
                    self.endings[place] = result
                    self.trainer.drop(place)
                else:
                    untimed = {n: v for n, v in result.items() if not n.startswith("time/")}
                    self.metrics[place].append(untimed)
        return self

    def numbers(self, *places: int) -> Tensor:
        """All trainable numbers of these places."""
        return self.trainer.policy.rows.values[list(places)].clone()


def assert_equal_metrics(first: Sequence[dict[str, float]], second: Sequence[dict[str, float]]) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-5, nan_ok=True)


@cache
def together(family: str = "gpt2") -> Pack:
    """All three trials in one pack, finished."""
    return Pack(TOGETHER, family=family).step(ITERATIONS)


@cache
def alone(number: int, family: str = "gpt2") -> Pack:
    """One trial on its own, finished."""
    return Pack({0: number}, places=1, family=family).step(ITERATIONS)


@cache
def without(sick: int) -> Pack:
    """All three trials, of which one is dropped half-way."""
    pack = Pack(TOGETHER).step(2)
    pack.trainer.drop(sick)
    return pack.step(2)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_trial_learns_the_same_alone_and_in_a_pack(family, number):
    pack, single = together(family), alone(number, family)

    assert pack.samples[number] == single.samples[0]
    assert_close(pack.numbers(number), single.numbers(0), atol=2e-5, rtol=0)
    assert_equal_metrics(pack.metrics[number], single.metrics[0])


def test_the_trials_of_this_pack_learn_different_things():
    numbers = together().numbers(0, 1, 2)

    distances = [(numbers[i] - numbers[j]).abs().max() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(distances) > 0.1
    assert {len(together().metrics[place]) for place in range(3)} == {ITERATIONS}


def test_the_place_of_a_trial_changes_nothing():
    mixed = Pack({2: 0, 0: 1, 1: 2}).step(ITERATIONS)

    assert [mixed.samples[place] for place in (2, 0, 1)] == [together().samples[k] for k in range(3)]
    assert_close(mixed.numbers(2, 0, 1), together().numbers(0, 1, 2), atol=2e-5, rtol=0)


def test_empty_places_change_nothing():
    roomy = Pack({1: 0, 3: 1, 4: 2}, places=6).step(ITERATIONS)

    assert_close(roomy.numbers(1, 3, 4), together().numbers(0, 1, 2), atol=2e-5, rtol=0)
    assert torch.equal(roomy.numbers(0, 2, 5), Pack({}, places=6).numbers(0, 2, 5))


@pytest.mark.parametrize(("sick", "poison"), [(0, math.nan), (1, math.nan), (2, math.nan), (1, math.inf)])
def test_a_trial_that_is_not_finite_leaves_the_others_bit_identical_to_a_pack_without_it(sick, poison):
    healthy = [place for place in range(3) if place != sick]
    pack = Pack(TOGETHER).step(2)

    pack.trainer.policy.rows.values[sick] = poison
    pack.step(2)

    assert {place: error.ending for place, error in pack.endings.items()} == {sick: "diverged"}
    assert torch.equal(pack.numbers(*healthy), without(sick).numbers(*healthy))
    assert [pack.metrics[k] for k in healthy] == [without(sick).metrics[k] for k in healthy]


@pytest.mark.parametrize(("sick", "failure"), [(0, "raises"), (1, "raises"), (2, "raises"), (1, "nan")])
def test_a_trial_whose_reward_fails_leaves_the_others_bit_identical_to_a_pack_without_it(sick, failure):
    healthy = [place for place in range(3) if place != sick]
    reward = FailingReward(LIKES, **{failure: [2 * 3 + sick]})  # in the third iteration

    pack = Pack(TOGETHER, reward=reward).step(4)

    assert {place: error.ending for place, error in pack.endings.items()} == {sick: "reward_error"}
    assert torch.equal(pack.numbers(*healthy), without(sick).numbers(*healthy))
    assert [pack.metrics[k] for k in healthy] == [without(sick).metrics[k] for k in healthy]
    assert [pack.samples[k] for k in healthy] == [without(sick).samples[k] for k in healthy]


class Huge(WordReward):
    """The scores of the seventh call, the first trial's in the third iteration, are too large to square, unchecked."""

    def __call__(self, prompts, responses, columns):
        scores = super().__call__(prompts, responses, columns)
        return torch.full_like(scores, 1e30) if len(self.calls) == 7 else scores


def test_a_trial_that_diverges_while_learning_leaves_the_others_bit_identical_to_a_pack_without_it():
    pack = Pack(TOGETHER, reward=Huge(LIKES)).step(4)

    assert {place: error.ending for place, error in pack.endings.items()} == {0: "diverged"}
    assert torch.equal(pack.numbers(1, 2), without(0).numbers(1, 2))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_trial_that_starts_late_in_a_freed_place_learns_as_if_alone(number):
    others = [other for other in range(3) if other != number]
    pack = Pack({0: others[0], 1: others[1]}, places=2).step(1)

    pack.trainer.drop(1)
    pack.start(1, number)
    pack.step(ITERATIONS)

    assert pack.samples[1] == alone(number).samples[0]
    assert_close(pack.numbers(1), alone(number).numbers(0), atol=2e-5, rtol=0)
    assert_equal_metrics(pack.metrics[1], alone(number).metrics[0])


def test_a_trial_in_the_place_of_a_broken_one_learns_as_if_alone():
    pack = Pack({0: 0, 1: 1}, places=2).step(1)
    pack.trainer.policy.rows.values[1] = math.nan
    pack.step(1)

    pack.start(1, 2)
    pack.step(ITERATIONS)

    assert pack.samples[1] == alone(2).samples[0]
    assert_close(pack.numbers(1), alone(2).numbers(0), atol=2e-5, rtol=0)


def test_dropping_a_neighbour_changes_nothing():
    pack = without(0)

    assert pack.samples[2] == alone(2).samples[0]
    assert_close(pack.numbers(2), alone(2).numbers(0), atol=2e-5, rtol=0)
