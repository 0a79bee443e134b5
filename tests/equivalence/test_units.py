# mypy: ignore-errors
"""The unit of the reward decides nothing: score, kl_coef, missing_eos_penalty and clip_range_value times c.

For c a power of two every product is exact, so samples and weights are the same bit for bit.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.files import content_hash, read_json, write_json
from ppo_tune.trainer.trainer import PPOTrainer
from ppo_tune.training.checkpoints import load_checkpoint, save_checkpoint
from tests.conftest import LIKES, WordReward, make_toy_task, small_config, tiny_policy

UNIT_FIELDS = ("kl_coef", "missing_eos_penalty", "clip_range_value")
"""Hyperparameters that are in the unit of the score."""

CONFIGS = {
    "usual": {},
    "value clip": {"clip_range_value": 0.2, "vf_coef": 1.0},
    "end missed": {"missing_eos_penalty": 0.5},
    "whitened": {"whiten_rewards": True},
    "adaptive": {"kl_target": 0.5, "kl_horizon": 64.0},
}


def in_unit(config: PPOConfig, c: float) -> PPOConfig:
    """The same hyperparameters where scores are c times as large."""
    values = {name: getattr(config, name) for name in UNIT_FIELDS}
    return config.with_params({name: c * value for name, value in values.items() if value is not None})


def learn(
    config: PPOConfig, c: float, *, score_std: float, lora_rank: int | None = 4
) -> tuple[Tensor, list, list]:
    """Weights, metrics and responses after three iterations, with scores times c."""
    reward = WordReward({word: c * weight for word, weight in LIKES.items()})
    config = in_unit(config, c)
    policy = tiny_policy(lora_rank=lora_rank)
    trainer = PPOTrainer(policy, make_toy_task(reward), config)
    trainer.start(0, config, seed=3, score_std=c * score_std)
    metrics = [trainer.step()[0] for _ in range(3)]
    return policy.rows.values, metrics, reward.responses


@pytest.mark.parametrize("c", [2.0**-10, 2.0**10])
@pytest.mark.parametrize("lora_rank", [4, None])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_reward_in_another_unit_teaches_the_same(name: str, lora_rank: int | None, c: float) -> None:
    config = small_config(**CONFIGS[name])

    weights, metrics, responses = learn(config, 1.0, score_std=0.7, lora_rank=lora_rank)
    others, other_metrics, other_responses = learn(config, c, score_std=0.7, lora_rank=lora_rank)

    assert other_responses == responses
    assert torch.equal(others, weights)
    for here, there in zip(metrics, other_metrics, strict=True):
        in_score = {"objective/score_mean", "objective/score_std", "objective/kl_coef"}
        assert {k: v * (c if k in in_score else 1) for k, v in here.items() if "time/" not in k} == {
            k: v for k, v in there.items() if "time/" not in k
        }


@pytest.mark.parametrize("field", UNIT_FIELDS)
def test_every_field_in_the_unit_of_the_score_has_to_move_with_it(field: str) -> None:
    """Else the law above would hold for a trainer that ignores the field."""
    config = small_config(clip_range_value=0.05, missing_eos_penalty=0.5, vf_coef=1.0)

    weights, *_ = learn(config, 1.0, score_std=0.7)
    others, *_ = learn(config.with_params({field: getattr(config, field) / 8}), 1.0, score_std=0.7)

    assert not torch.equal(others, weights)


def test_a_large_score_does_not_drown_the_policy_gradient() -> None:
    """Gradient norms before clipping: of scores times 100 they are as of scores times 1, up to rounding."""
    norms = [
        [metrics["policy/gradient_norm"] for metrics in learn(small_config(), c, score_std=0.7)[1]]
        for c in (1.0, 100.0)
    ]

    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_values_are_learned_in_units_of_the_spread() -> None:
    """By hand: where V = 0 the gradient of the bias is -G / σ, and Adam with a huge ε moves it in proportion."""
    biases = {}
    for score_std in (1.0, 4.0):
        policy = tiny_policy()
        config = small_config(
            kl_coef=0.0, learning_rate=1.0, batch_size=8, ppo_epochs=1, gae_lambda=1.0, adam_epsilon=1e6,
            max_grad_norm=1e9,
        )  # fmt: skip
        trainer = PPOTrainer(policy, make_toy_task(WordReward({"a": 1.0, "b": 1.0, "c": 1.0})), config)
        trainer.start(0, config, seed=0, score_std=score_std)
        trainer.step()
        biases[score_std] = policy.rows["value_head.bias"][0].item()

    assert biases[1.0] > 0
    assert biases[1.0] / biases[4.0] == pytest.approx(4.0, rel=1e-4)


def test_a_checkpoint_keeps_the_unit_and_one_of_version_0_1_0_is_in_the_rewards(tmp_path: Path) -> None:
    policy = tiny_policy()
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config())
    trainer.start(0, small_config(), seed=0, score_std=0.3)
    saved = save_checkpoint(trainer, 0, tmp_path)
    trainer.runs[0].score_std = 9.0

    load_checkpoint(trainer, 0, tmp_path)

    assert trainer.runs[0].score_std == 0.3
    facts = read_json(saved / "trial.json")
    del facts["score_std"]
    write_json(saved / "trial.json", facts)
    manifest = read_json(saved / "manifest.json")
    write_json(saved / "manifest.json", {**manifest, "trial.json": content_hash(saved / "trial.json")})
    load_checkpoint(trainer, 0, tmp_path)
    assert trainer.runs[0].score_std == 1.0
