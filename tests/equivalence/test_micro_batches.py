# mypy: ignore-errors
"""The micro-batch size is about memory only: it changes neither a gradient nor a sample nor a metric."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.models import Policy
from ppo_tune.trainer.experience import Experience, estimate_advantages
from ppo_tune.trainer.rollout import collect
from ppo_tune.trainer.trainer import PPOTrainer
from ppo_tune.trainer.update import Run, improve_policy
from tests.conftest import (
    LIKES,
    WordReward,
    make_toy_task,
    prompts_for,
    small_config,
    stirred_policy,
    tiny_policy,
    uniforms_for,
)

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9], [6, 6], [3], [9, 2], [4, 4, 4], [8]]
SIZES = [1, 2, 4, 8]
CONFIGS = [
    small_config(batch_size=8, ppo_epochs=1, max_grad_norm=1e9, ent_coef=0.1),
    small_config(batch_size=8, ppo_epochs=1, max_grad_norm=1e9, vf_coef=2.0, clip_range_value=0.1),
]


def make_experience(policy: Policy) -> Experience:
    """What two places sampled, with responses of unequal lengths and arbitrary scores."""
    rollout = collect(policy, prompts_for(PROMPTS, 2), uniforms_for(2, 8, 6), temperature=1.0, places=[0, 1])
    scores = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    return estimate_advantages([0, 1], rollout, scores, CONFIGS, [0.1, 0.2], [1.0, 2.0])


def gradients(size: int | None, configs: list[PPOConfig] = CONFIGS) -> Tensor:
    """The gradient of both places: how far one step of plain descent at rate 1 goes."""
    policy = stirred_policy(places=2)
    experience = make_experience(policy)
    before = policy.rows.values.clone()
    runs = {
        place: Run(
            config.with_params({"learning_rate": 1.0}),
            seed=0,
            optimizer=torch.optim.SGD([policy.rows.row(place)]),
            kl_coef=config.kl_coef,
        )
        for place, config in enumerate(configs)
    }
    improve_policy(policy, experience, runs, temperature=1.0, micro_batch_size=size)
    return before - policy.rows.values


@pytest.mark.parametrize("size", SIZES)
def test_the_micro_batch_size_does_not_change_a_gradient(size):
    whole = gradients(None)

    parts = gradients(size)

    assert_close(parts, whole, atol=1e-6, rtol=1e-4)
    assert whole.abs().amax(-1).min() > 0.01


def test_responses_of_this_rollout_have_unequal_lengths():
    mask = make_experience(stirred_policy(places=2)).rollout.mask

    assert len(set(mask[0].sum(-1).tolist())) > 2
    assert len(set(mask[1].sum(-1).tolist())) > 2


@pytest.mark.parametrize("size", [1, 2])
def test_the_micro_batch_size_does_not_change_gradients_of_unequal_batches(size):
    configs = [small_config(batch_size=2), small_config(batch_size=4, ppo_epochs=1)]

    whole, parts = gradients(2, configs), gradients(size, configs)

    assert_close(parts, whole, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("lora_rank", [4, None])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_micro_batch_size_changes_no_training(size, lora_rank):
    histories, policies, rewards = [], [], []
    for micro_batch_size in (None, size):
        reward, policy = WordReward(LIKES), tiny_policy(lora_rank=lora_rank)
        config = small_config(micro_batch_size=micro_batch_size)
        trainer = PPOTrainer(policy, make_toy_task(reward), config)
        trainer.start(0, config, seed=0)
        histories.append([trainer.step()[0] for _ in range(3)])
        policies.append(policy)
        rewards.append(reward)

    assert rewards[0].responses == rewards[1].responses
    assert_close(policies[0].rows.values, policies[1].rows.values, atol=2e-5, rtol=0)
    for whole, parts in zip(*histories, strict=True):
        untimed = {name: value for name, value in parts.items() if not name.startswith("time/")}
        assert {name: whole[name] for name in untimed} == pytest.approx(untimed, rel=1e-3, abs=1e-5)


def test_a_micro_batch_that_does_not_divide_the_batch_is_refused():
    config = small_config(batch_size=4, micro_batch_size=3)
    trainer = PPOTrainer(tiny_policy(), make_toy_task(WordReward(LIKES)), config)

    with pytest.raises((AssertionError, ValueError), match="micro_batch_size"):
        trainer.start(0, config, seed=0)
