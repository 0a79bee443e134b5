# mypy: ignore-errors
"""Seeds, prompts and places of a trainer: who gets which, in which order, and what is refused."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ppo_tune.errors import (
    ConfigError,
    DataError,
)
from ppo_tune.tasks import Prompt
from ppo_tune.trainer.processes import ProcessGroup
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import (
    LIKES,
    WordReward,
    make_toy_task,
    small_config,
    stirred_policy,
    tiny_policy,
)
from tests.trainer.trials import bandit_task, make_trainer, numbers, train


def test_equal_trials_with_equal_seeds_learn_the_same_side_by_side() -> None:
    policy = tiny_policy(places=2)
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config())
    for place in (0, 1):
        trainer.start(place, small_config(), seed=3)

    results = [trainer.step() for _ in range(3)]

    assert torch.equal(policy.rows.values[0], policy.rows.values[1])
    assert all(numbers(result[0]) == numbers(result[1]) for result in results)


@pytest.mark.parametrize("lora_rank", [4, None])
def test_the_same_seed_gives_the_same_trajectory(lora_rank: int | None) -> None:
    policies = [tiny_policy(lora_rank=lora_rank) for _ in range(2)]

    histories = [[numbers(metrics) for metrics in train(policy, 3, ent_coef=0.01)] for policy in policies]

    assert histories[0] == histories[1]
    assert torch.equal(policies[0].rows.values, policies[1].rows.values)


def test_trials_with_different_seeds_go_different_ways() -> None:
    reward = WordReward(LIKES)
    policy = tiny_policy(places=2)
    trainer = make_trainer(policy, make_toy_task(reward))

    trainer.step()

    assert reward.calls[0][0] != reward.calls[1][0]
    assert reward.responses[0] != reward.responses[1]
    assert not torch.equal(policy.rows.values[0], policy.rows.values[1])


def test_every_trial_and_every_iteration_has_its_own_sampling_noise() -> None:
    task = bandit_task(LIKES, 8)
    trainer = make_trainer(tiny_policy(places=2), task, learning_rate=0.0)

    for _ in range(2):
        trainer.step()

    samples = [tuple(responses) for responses in task.reward.responses]
    assert len(samples) == len(set(samples)) == 4
    assert len(set(samples[0])) > 1


@pytest.mark.parametrize("n_train", [8, 12, 20])
def test_every_prompt_comes_once_before_any_comes_again_and_in_a_new_order(n_train: int) -> None:
    reward = WordReward(LIKES)
    trainer = make_trainer(tiny_policy(), make_toy_task(reward, n_train=n_train))

    for _ in range(5):
        trainer.step()

    asked = [number for _, _, columns in reward.calls for number in columns["number"]]
    first, second = asked[:n_train], asked[n_train : 2 * n_train]
    assert sorted(first) == sorted(second) == list(range(n_train))
    assert first != second


def test_fewer_prompts_than_a_rollout_needs_are_refused() -> None:
    task = make_toy_task(WordReward(LIKES), n_train=7)

    with pytest.raises(DataError) as caught:
        PPOTrainer(tiny_policy(), task, small_config())

    assert str(caught.value) == (
        "task toy: `prompts >= rollout_size` must hold, but got 7 training prompts and rollout_size 8; "
        "lower it or add rows"
    )


def test_a_prompt_that_leaves_no_room_for_a_response_is_refused() -> None:
    task = make_toy_task(WordReward(LIKES))
    long = Prompt(" ".join("a" * 27), where="prompts.csv:9")
    prompts = {**task.prompts, "train": (*task.prompts["train"], long)}

    with pytest.raises(DataError, match=r"prompts.csv:9: `tokens <= 26`.* got 27"):
        PPOTrainer(tiny_policy(), replace(task, prompts=prompts), small_config())


def test_a_rollout_that_cannot_be_shared_out_evenly_is_refused() -> None:
    processes = ProcessGroup()
    processes.size = 3

    with pytest.raises(
        ConfigError, match=r"ppo\.rollout_size: must be a multiple of the 3 processes, but got 8"
    ):
        PPOTrainer(tiny_policy(), make_toy_task(WordReward(LIKES)), small_config(), processes)


def test_a_place_is_free_until_a_trial_starts_and_after_it_is_dropped() -> None:
    trainer = PPOTrainer(tiny_policy(places=3), make_toy_task(WordReward(LIKES)), small_config())

    trainer.start(1, small_config(), seed=0)
    taken = trainer.free_places
    trainer.drop(1)

    assert taken == [0, 2]
    assert trainer.free_places == [0, 1, 2]


def test_a_taken_place_is_not_given_away() -> None:
    trainer = make_trainer(tiny_policy())

    with pytest.raises(AssertionError, match="place 0 is taken"):
        trainer.start(0, small_config(), seed=1)


def test_a_trial_starts_at_the_reference_whatever_was_in_its_place() -> None:
    policy = stirred_policy()
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config(learning_rate=0.0))
    trainer.start(0, small_config(learning_rate=0.0), seed=0)

    metrics = trainer.step()[0]

    assert metrics["objective/kl_per_sequence"] == pytest.approx(0.0, abs=1e-5)


def test_trials_stand_in_the_order_of_their_places_whenever_they_came() -> None:
    trainer = make_trainer(tiny_policy(places=3))

    trainer.drop(0)
    trainer.start(0, small_config(), seed=7)

    assert list(trainer.runs) == [0, 1, 2]
    assert list(trainer.step()) == [0, 1, 2]


@pytest.mark.guard
def test_training_a_pack_warns_of_nothing() -> None:
    code = (
        "from tests.conftest import tiny_policy\n"
        "from tests.trainer.trials import make_trainer\n"
        "trainer = make_trainer(tiny_policy(places=2))\n"
        "import warnings\n"
        "warnings.simplefilter('error')\n"
        "trainer.step()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent.parent.parent
    )

    assert done.returncode == 0, done.stderr.splitlines()[-3:]
