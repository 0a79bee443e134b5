# mypy: ignore-errors
"""How a trial fails: its reward, its numbers, the machine's memory; the others go on."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.errors import (
    OutOfMemoryError,
    RewardError,
    TrainingDivergedError,
    TrialError,
)
from ppo_tune.models import Policy
from ppo_tune.models.memory import MemoryChunks
from ppo_tune.rewards import Reward
from tests.conftest import (
    LIKES,
    FailingReward,
    WordReward,
    make_toy_task,
    tiny_policy,
)
from tests.trainer.trials import make_trainer


@pytest.mark.parametrize("failure", ["raises", "nan"])
def test_a_failing_reward_ends_its_trial_with_its_message(failure: str) -> None:
    reward = FailingReward(LIKES, **{failure: [2]})
    trainer = make_trainer(tiny_policy(places=2), make_toy_task(reward))
    before = trainer.step()

    result = trainer.step()

    assert isinstance(before[0], dict)
    assert isinstance(result[0], RewardError)
    assert isinstance(result[1], dict)
    assert ("meant to fail" in str(result[0])) == (failure == "raises")


def test_a_trial_whose_reward_failed_has_learned_nothing_from_it() -> None:
    policy = tiny_policy()
    trainer = make_trainer(policy, make_toy_task(FailingReward(LIKES, raises=[1])))
    trainer.step()
    before = policy.rows.values.clone()

    trainer.step()

    assert torch.equal(policy.rows.values, before)
    assert trainer.runs[0].episodes == 8


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_numbers_that_are_not_finite_end_their_trial_as_diverged(poison: float) -> None:
    policy = tiny_policy()
    trainer = make_trainer(policy)
    trainer.step()

    policy.rows.values[0] = poison
    result = trainer.step()[0]

    assert isinstance(result, TrainingDivergedError)
    assert str(result) == "log-probabilities or values are not finite after 8 episodes"


def test_a_score_beyond_all_bounds_ends_its_trial_as_the_rewards_fault() -> None:
    policy = tiny_policy()
    trainer = make_trainer(policy, make_toy_task(WordReward(dict.fromkeys(LIKES, 1e30))))
    before = policy.rows.values.clone()

    result = trainer.step()[0]

    assert isinstance(result, RewardError)
    assert "must return numbers of 1e+15 at most" in str(result)
    assert torch.equal(policy.rows.values, before)


class Unchecked(WordReward):
    """Scores that are too large to square, as no reward of a user's gets through."""

    def __call__(self, prompts, responses, columns):
        return torch.full_like(super().__call__(prompts, responses, columns), 1e30)


def test_a_gradient_that_is_not_finite_ends_its_trial_as_diverged() -> None:
    policy = tiny_policy()
    trainer = make_trainer(policy, make_toy_task(Unchecked(LIKES)))
    before = policy.rows.values.clone()

    result = trainer.step()[0]

    assert isinstance(result, TrainingDivergedError)
    assert str(result) == "the gradient is not finite after 0 episodes"
    assert torch.equal(policy.rows.values, before)


class Raises(Reward):
    """Raises whatever it is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def score(self, prompts, responses, columns):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["GPU", "CPU"],
)
def test_a_machine_without_memory_ends_all_its_trials(error: Exception) -> None:
    trainer = make_trainer(tiny_policy(places=2), make_toy_task(Raises(error)))

    results = trainer.step()

    assert set(results) == {0, 1}
    assert all(isinstance(result, OutOfMemoryError) for result in results.values())
    assert str(results[0]) == str(error).splitlines()[0]


@pytest.mark.parametrize("room", [1, 3])
@pytest.mark.parametrize("lora_rank", [4, None])
def test_a_pack_that_does_not_fit_goes_on_in_parts_and_learns_the_same(
    room: int, lora_rank: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`room` responses fit through the model at once; decoding and whole passes have limits of their own."""

    policies = [tiny_policy(places=1 if lora_rank is None else 3, lora_rank=lora_rank) for _ in range(2)]

    def trained() -> list[Tensor]:
        policy = policies.pop()
        trainer = make_trainer(policy)
        results = [trainer.step() for _ in range(2)]
        assert not any(isinstance(result, TrialError) for step in results for result in step.values())
        return [
            policy.rows.values.clone(),
            torch.tensor([r["objective/score_mean"] for r in results[1].values()]),
        ]

    expected = trained()
    refusals = []
    for name in ("generate", "reference", "evaluate"):
        plain = getattr(Policy, name)

        def tight(self, given, *others, plain=plain, name=name, **settings):
            ids = given.ids if name == "generate" else given.response_ids
            result = plain(self, given, *others, **settings)
            if ids.shape[0] * ids.shape[1] > room:
                refusals.append(name)
                raise torch.OutOfMemoryError("no room")  # after it has worked, as in a backward pass
            return result

        monkeypatch.setattr(Policy, name, tight)

    assert_close(trained(), expected, atol=2e-5, rtol=1e-4)
    assert set(refusals) >= {"generate", "reference"}


def test_a_trial_of_which_not_one_response_fits_runs_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_, **__):
        raise torch.OutOfMemoryError("no room")

    trainer = make_trainer(tiny_policy(places=2))
    monkeypatch.setattr(Policy, "evaluate", never)

    results = trainer.step()

    assert [type(result) for result in results.values()] == [OutOfMemoryError] * 2
    assert trainer.memory.passes == MemoryChunks(rows=1, trials=1)
    trainer.forget_limits()
    assert trainer.memory.passes == MemoryChunks()


def test_a_bug_is_no_result() -> None:
    trainer = make_trainer(tiny_policy(), make_toy_task(Raises(RuntimeError("a bug"))))

    with pytest.raises(RuntimeError, match="a bug"):
        trainer.step()
