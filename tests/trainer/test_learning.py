# mypy: ignore-errors
"""What moves in a training: every field, every tensor, nothing else, and to where the score sends it."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from ppo_tune.config.model import AdapterKind, ModelConfig
from ppo_tune.config.ppo import SHARED_FIELDS, PPOConfig
from ppo_tune.models import Policy
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import (
    LIKES,
    VOCABULARY,
    WordReward,
    make_sequences,
    make_toy_task,
    small_config,
    stir,
    stirred_policy,
    tiny_model,
    tiny_policy,
    tiny_tokenizer,
)
from tests.trainer.trials import ONLY_STOP, bandit_task, changed_views, make_trainer, train

BANDIT = {"a": 1.0, "b": 0.5, "c": -1.0, "d": -0.5, "e": 0.8, "f": 0.2}
SEARCHED = {
    "learning_rate": 0.02,
    "lr_schedule": "linear",
    "adam_epsilon": 0.01,
    "max_grad_norm": 0.1,
    "gamma": 0.9,
    "gae_lambda": 0.5,
    "clip_range": 0.01,
    "dual_clip": 1.001,
    "clip_range_value": 0.01,
    "vf_coef": 1.0,
    "ent_coef": 0.1,
    "kl_coef": 0.5,
    "kl_estimator": "k3",
    "kl_target": 0.01,
    "kl_horizon": 9.0,
    "whiten_rewards": True,
    "missing_eos_penalty": 1.0,
    "batch_size": 2,
    "ppo_epochs": 3,
}
"""Every field that can differ from trial to trial, at another value than in the usual config."""


@cache
def one_change_each() -> Tensor:
    """Where trials end that differ from the last one by one field each; all have the same seed."""
    usual = small_config(kl_target=1000.0, kl_horizon=100.0)
    configs = [*(usual.with_params({field: value}) for field, value in SEARCHED.items()), usual]
    policy = tiny_policy(places=len(configs))
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), usual)
    for place, config in enumerate(configs):
        trainer.start(place, config, seed=3)
    for _ in range(5):
        trainer.step()
    return policy.rows.values


@pytest.mark.parametrize("field", SEARCHED)
def test_every_field_that_can_be_searched_reaches_the_update(field: str) -> None:
    changed, usual = one_change_each()[list(SEARCHED).index(field)], one_change_each()[-1]

    assert (changed - usual).abs().max() > 1e-4


def test_the_fields_that_reach_the_update_are_all_that_can_be_searched() -> None:
    assert SEARCHED.keys() == PPOConfig.model_fields.keys() - SHARED_FIELDS


@pytest.mark.parametrize("lora_rank", [4, None])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_without_a_step_size_nothing_moves_and_nothing_is_clipped(
    lora_rank: int | None, dropout: float
) -> None:
    rates = {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
    policy = tiny_policy(lora_rank=lora_rank, **rates)
    trainer = make_trainer(policy, learning_rate=0.0, ppo_epochs=3, ent_coef=0.1, temperature=0.7)
    before = policy.rows.values.clone()

    results = [trainer.step()[0] for _ in range(2)]

    assert torch.equal(policy.rows.values, before)
    for metrics in results:
        assert metrics["policy/clip_fraction"] == 0.0
        assert metrics["policy/approx_kl_per_token"] == pytest.approx(0.0, abs=1e-10)
        assert metrics["objective/kl_per_sequence"] == pytest.approx(0.0, abs=1e-5)


def test_without_a_step_size_the_ratio_stays_at_one_far_from_the_reference() -> None:
    policy = tiny_policy()
    trainer = make_trainer(policy, learning_rate=0.0, clip_range=1e-5, temperature=0.5)
    stir(policy)

    metrics = trainer.step()[0]

    assert metrics["policy/clip_fraction"] == 0.0
    assert metrics["objective/kl_per_sequence"] > 0.1


def test_with_one_step_per_rollout_the_clip_range_changes_nothing() -> None:
    policy = tiny_policy(places=2)
    narrow, wide = (small_config(batch_size=8, ppo_epochs=1, clip_range=c) for c in (1e-3, 0.5))
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), narrow)
    trainer.start(0, narrow, seed=3)
    trainer.start(1, wide, seed=3)

    for _ in range(3):
        trainer.step()

    assert torch.equal(policy.rows.values[0], policy.rows.values[1])


@pytest.mark.parametrize("lora_rank", [4, None])
def test_training_moves_every_trainable_tensor(lora_rank: int | None) -> None:
    policy = tiny_policy(lora_rank=lora_rank)
    trainer = make_trainer(policy)
    before = policy.rows.split(0)

    for _ in range(2):
        trainer.step()

    assert changed_views(policy, before, 0) == set(policy.rows.views)


@pytest.mark.parametrize("lora_rank", [4, None])
def test_training_leaves_the_reference_untouched(lora_rank: int | None) -> None:
    policy = tiny_policy(lora_rank=lora_rank)
    sequences = make_sequences([[2, 3], [5]], [[4, 0], [6, 7]])
    before = policy.reference(sequences, temperature=0.7)

    train(policy, 2)

    assert torch.equal(policy.reference(sequences, temperature=0.7), before)
    assert torch.equal(before, tiny_policy().reference(sequences, temperature=0.7))


def test_training_adapters_leaves_every_weight_of_the_model_untouched() -> None:
    policy = tiny_policy(places=2)
    before = tiny_model().state_dict()

    train(policy, 2)

    now = policy.model.state_dict()
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)


def test_training_takes_log_probabilities_again_under_bfloat16() -> None:
    policy = Policy(tiny_model().to(torch.bfloat16), tiny_tokenizer(), ModelConfig(lora_rank=4))

    metrics = train(policy, 1, learning_rate=0.0, batch_size=8)[0]

    assert metrics["policy/approx_kl_per_token"] == pytest.approx(0.0, abs=1e-10)


def test_three_seeds_out_of_three_beat_the_untrained_policy() -> None:
    policy = tiny_policy(places=3)
    trainer = make_trainer(policy, rollout_size=12, batch_size=6, kl_coef=0.02, episodes=180)

    history = [trainer.step() for _ in range(15)]

    gains = [history[-1][k]["objective/score_mean"] - history[0][k]["objective/score_mean"] for k in range(3)]
    assert min(gains) > 0.5


def shares(policy: Policy, responses: list[list[int]], place: int | None) -> Tensor:
    """Probability of every response to one prompt; of the reference for None."""
    sequences = make_sequences([[2]] * len(responses), responses)
    with torch.no_grad():
        logprobs = (
            policy.reference(sequences, temperature=1.0)
            if place is None
            else policy.evaluate(sequences, temperature=1.0, places=[place]).logprobs
        )
    return (logprobs * sequences.response_mask).sum(-1).exp().double().flatten()


def first_tokens(policy: Policy, place: int | None) -> Tensor:
    """Probability of every token after the prompt; of the reference for None."""
    return shares(policy, [[token] for token in range(len(VOCABULARY))], place)


def train_bandit(
    policy: Policy, weights: dict[str, float], kl_coef: float, length: int = 1, **changes: float
) -> None:
    config = {
        **changes,
        "kl_coef": kl_coef, "max_new_tokens": length, "rollout_size": 128, "batch_size": 64, "episodes": 128 * 45,
        "lr_schedule": "linear", "vf_coef": 0.5,
    }  # fmt: skip
    train(policy, 45, bandit_task(weights, 128), **config)


def distance(p: Tensor, q: Tensor) -> float:
    """Total variation."""
    return float((p - q).abs().sum() / 2)


@pytest.mark.parametrize("kl_coef", [0.3, 1.0])
def test_a_long_run_on_a_bandit_ends_at_the_tilted_reference(kl_coef: float) -> None:
    policy = tiny_policy(lora_rank=None, n_layer=1)
    scores = torch.tensor([BANDIT.get(word, 0.0) for word in VOCABULARY]).double()
    tilted = first_tokens(policy, None) * (scores / kl_coef).exp()
    optimum = tilted / tilted.sum()

    train_bandit(policy, BANDIT, kl_coef)

    assert distance(first_tokens(policy, 0), optimum) < 0.02
    assert distance(first_tokens(policy, None), optimum) > 0.15


@pytest.mark.parametrize("length", [1, 2])
def test_an_encoder_decoder_on_a_bandit_ends_at_the_tilted_reference(length: int) -> None:
    """Of one token, and of two: their values must pass the advantage on to the first."""
    policy = tiny_policy("t5", lora_rank=None, num_layers=1, num_decoder_layers=1)
    tokens = range(len(VOCABULARY))
    responses = [[token] for token in tokens]
    if length == 2:
        responses = [[0], *([first, second] for first in tokens[1:] for second in tokens)]
    said = [[VOCABULARY[token] for token in row] for row in responses]
    scores = torch.tensor([sum(BANDIT.get(word, 0.0) for word in row) for row in said]).double()
    tilted = shares(policy, responses, None) * (scores / 0.5).exp()
    optimum = tilted / tilted.sum()

    train_bandit(policy, BANDIT, 0.5, length)

    assert distance(shares(policy, responses, 0), optimum) < 0.03 * length
    assert distance(shares(policy, responses, None), optimum) > 0.15


@pytest.mark.parametrize(
    ("adapter", "rate", "far"),
    [
        ("lora", 0.01, 0.3),
        ("rslora", 0.01, 0.3),
        ("dora", 0.01, 0.3),
        ("adalora", 0.01, 0.2),
        ("ia3", 0.03, 0.15),
        ("prefix", 0.03, 0.15),
    ],
)
def test_adapters_on_a_bandit_end_where_the_score_sends_them(
    adapter: AdapterKind, rate: float, far: float
) -> None:
    tokenizer = tiny_tokenizer(**ONLY_STOP)
    settings: Any = {"n_layer": 1, "lora_rank": 8, "tokenizer": tokenizer, "adapter": adapter}
    wanted = stir(stirred_policy(**settings), 0.3)
    optimum, reference = first_tokens(wanted, 0), first_tokens(wanted, None)
    tilt = 0.5 * (optimum / reference).log()  # optimum = reference · exp(score / kl_coef) / Z
    scores = dict(
        zip(VOCABULARY, (tilt - tilt[0]).tolist(), strict=True)
    )  # the stop token's text has no word
    policy = tiny_policy(places=2, **settings)

    train_bandit(policy, scores, kl_coef=0.5, learning_rate=rate)

    assert max(distance(first_tokens(policy, place), optimum) for place in (0, 1)) < 0.04
    assert distance(reference, optimum) > far
