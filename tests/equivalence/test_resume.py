# mypy: ignore-errors
"""A training that was stopped and resumed is, on a CPU, bit for bit the one that was not."""

import pytest
import torch

from ppo_tune.trainer.trainer import PPOTrainer
from ppo_tune.training.checkpoints import load_checkpoint, save_checkpoint
from tests.conftest import LIKES, WordReward, make_toy_task, small_config, tiny_policy

CONFIGS = {
    "usual": small_config(),
    "adaptive coefficient": small_config(kl_target=0.5, kl_horizon=50.0),
    "falling step size": small_config(lr_schedule="linear"),
    "everything else": small_config(
        ent_coef=0.02, clip_range_value=0.2, whiten_rewards=True, batch_size=2, ppo_epochs=3, gamma=0.9
    ),
}


def start(config, *, places: int = 1, lora_rank: int | None = 4) -> tuple[PPOTrainer, WordReward]:
    """As a new process would: nothing is left of the one before."""
    reward = WordReward(LIKES)
    task = make_toy_task(reward, n_train=20)  # so that an epoch of prompts ends within an iteration
    trainer = PPOTrainer(tiny_policy(places=places, lora_rank=lora_rank), task, config)
    trainer.start(places - 1, config, seed=7)
    return trainer, reward


def step(trainer: PPOTrainer, place: int, iterations: int) -> list[dict]:
    history = [trainer.step()[place] for _ in range(iterations)]
    return [{n: v for n, v in metrics.items() if not n.startswith("time/")} for metrics in history]


@pytest.mark.parametrize(
    ("name", "lora_rank"),
    [*((name, 4) for name in CONFIGS), ("usual", None), ("adaptive coefficient", None)],
)
def test_a_resumed_trial_is_bit_for_bit_the_uninterrupted_one(name, lora_rank, tmp_path):
    config = CONFIGS[name]
    whole, asked = start(config, lora_rank=lora_rank)
    history = step(whole, 0, 5)
    first, _ = start(config, lora_rank=lora_rank)
    step(first, 0, 2)
    save_checkpoint(first, 0, tmp_path)

    second, asked_later = start(config, lora_rank=lora_rank)
    load_checkpoint(second, 0, tmp_path)
    history_later = step(second, 0, 3)

    assert asked_later.calls == asked.calls[2:]
    assert history_later == history[2:]
    assert torch.equal(second.policy.rows.values, whole.policy.rows.values)
    assert second.runs[0].kl_coef == whole.runs[0].kl_coef
    assert second.runs[0].tokens == whole.runs[0].tokens


def test_a_trial_can_be_stopped_after_every_iteration(tmp_path):
    whole, _ = start(CONFIGS["adaptive coefficient"])
    step(whole, 0, 4)

    for _ in range(4):
        trainer, _ = start(CONFIGS["adaptive coefficient"])
        load_if_any(trainer, tmp_path)
        step(trainer, 0, 1)
        save_checkpoint(trainer, 0, tmp_path)

    assert torch.equal(trainer.policy.rows.values, whole.policy.rows.values)
    assert trainer.runs[0].kl_coef == whole.runs[0].kl_coef


def load_if_any(trainer: PPOTrainer, folder) -> None:
    if any(folder.iterdir()):
        load_checkpoint(trainer, 0, folder)


def test_a_trial_goes_on_from_a_checkpoint_that_was_not_the_last(tmp_path):
    config = CONFIGS["usual"]
    whole, _ = start(config)
    step(whole, 0, 2)
    save_checkpoint(whole, 0, tmp_path)
    step(whole, 0, 2)
    expected = whole.policy.rows.values.clone()

    load_checkpoint(whole, 0, tmp_path)  # the same process goes back
    step(whole, 0, 2)

    assert torch.equal(whole.policy.rows.values, expected)


def test_a_trial_resumes_in_another_place_of_a_pack(tmp_path):
    config = CONFIGS["usual"]
    whole, _ = start(config)
    step(whole, 0, 4)
    first, _ = start(config)
    step(first, 0, 2)
    save_checkpoint(first, 0, tmp_path)

    packed, _ = start(config, places=3)
    load_checkpoint(packed, 2, tmp_path)
    packed.start(0, CONFIGS["everything else"], seed=9)
    step(packed, 2, 2)

    torch.testing.assert_close(packed.policy.rows.values[2], whole.policy.rows.values[0], atol=2e-5, rtol=0)
