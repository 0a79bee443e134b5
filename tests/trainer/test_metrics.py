# mypy: ignore-errors
"""The numbers of an iteration, counted again by hand, and the adaptive coefficient that follows one of them."""

import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import (
    LIKES,
    VOCABULARY,
    WordReward,
    make_toy_task,
    small_config,
    stir,
    stirred_policy,
    tiny_policy,
    tiny_tokenizer,
)
from tests.trainer.trials import ONLY_STOP, make_trainer, mean_kl, train


@pytest.mark.parametrize(("batch_size", "ppo_epochs"), [(1, 2), (2, 3), (4, 1), (8, 2)])
def test_an_iteration_has_epochs_times_rollout_over_batch_optimizer_steps(
    batch_size: int, ppo_epochs: int
) -> None:
    metrics = train(tiny_policy(), 1, batch_size=batch_size, ppo_epochs=ppo_epochs)[0]

    assert metrics["policy/optimizer_steps"] == ppo_epochs * 8 / batch_size
    assert (
        small_config(batch_size=batch_size, ppo_epochs=ppo_epochs).steps_per_iteration
        == (metrics["policy/optimizer_steps"])
    )


def test_the_logged_kl_is_that_of_the_sampled_responses(tmp_path: Path) -> None:
    reward = WordReward(LIKES)
    policy = tiny_policy(tokenizer=tiny_tokenizer(**ONLY_STOP))
    trainer = make_trainer(policy, make_toy_task(reward), learning_rate=0.0, kl_estimator="k3")
    stir(policy)
    metrics = trainer.step()[0]

    expected = mean_kl(policy, tmp_path, zip(*reward.calls[0][:2], strict=True), longest=6)
    assert metrics["objective/kl_per_sequence"] == pytest.approx(expected, abs=1e-5)


def test_metrics_say_what_the_responses_were() -> None:
    reward = WordReward(LIKES)
    policy = stirred_policy(tokenizer=tiny_tokenizer(**ONLY_STOP))
    trainer = make_trainer(policy, make_toy_task(reward), temperature=1.5)

    first, second = trainer.step()[0], trainer.step()[0]

    lengths = [[min(len(text.split()) + 1, 6) for text in texts] for texts in reward.responses]
    scores = [sum(LIKES.get(word, 0.0) for word in text.split()) for text in reward.responses[0]]
    assert first["objective/score_mean"] == pytest.approx(statistics.mean(scores))
    assert first["objective/score_std"] == pytest.approx(statistics.stdev(scores))
    assert first["response/tokens_mean"] == pytest.approx(statistics.mean(lengths[0]))
    assert second["response/tokens_mean"] == pytest.approx(statistics.mean(lengths[1]))
    assert (first["tokens"], second["tokens"]) == (sum(lengths[0]), sum(lengths[0] + lengths[1]))
    assert (first["episodes"], second["episodes"]) == (8, 16)
    ended = [len(text.split()) < 6 for text in reward.responses[0]]
    assert first["response/eos_rate"] == pytest.approx(statistics.mean(ended))
    assert 0 < first["response/eos_rate"] < 1
    assert first["policy/entropy_per_token"] < math.log(len(VOCABULARY))


def test_a_stop_token_in_a_prompt_does_not_count_as_an_ending() -> None:
    reward = WordReward(LIKES)
    task = make_toy_task(reward)
    prompts = tuple(replace(prompt, text=f"<eos> {prompt.text} <eos>") for prompt in task.prompts["train"])
    policy = tiny_policy(tokenizer=tiny_tokenizer(**ONLY_STOP))

    metrics = train(policy, 1, replace(task, prompts={**task.prompts, "train": prompts}))[0]

    ended = [len(text.split()) < 6 for text in reward.responses[0]]
    assert metrics["response/eos_rate"] == pytest.approx(statistics.mean(ended))
    assert metrics["response/eos_rate"] < 1


def test_an_iteration_says_all_of_these_numbers_and_each_is_finite() -> None:
    metrics = train(tiny_policy(), 2)[1]

    assert set(metrics) == {
        "episodes", "tokens",
        "objective/score_mean", "objective/score_std", "objective/kl_per_sequence", "objective/kl_coef",
        "policy/loss", "policy/approx_kl_per_token", "policy/clip_fraction", "policy/entropy_per_token",
        "policy/gradient_norm", "policy/optimizer_steps",
        "value/loss", "value/explained_variance",
        "response/tokens_mean", "response/eos_rate",
        "time/rollout_seconds", "time/learning_seconds",
    }  # fmt: skip
    assert all(map(math.isfinite, metrics.values()))


@pytest.mark.parametrize(("target", "direction"), [(0.01, 1), (1000.0, -1)], ids=["too far", "too near"])
def test_an_adaptive_coefficient_moves_by_the_logged_kl(target: float, direction: int) -> None:
    policy = tiny_policy()
    trainer = make_trainer(policy, kl_coef=0.2, kl_target=target, kl_horizon=100.0)
    stir(policy, 0.3)

    metrics = trainer.step()[0]

    assert trainer.runs[0].kl_coef == pytest.approx(0.2 * (1 + direction * 0.2 * 8 / 100))
    assert direction * (metrics["objective/kl_per_sequence"] / target - 1) > 0.2


def test_an_adaptive_coefficient_moves_in_proportion_when_the_kl_is_near_its_target() -> None:
    probe = make_trainer(tiny_policy(), kl_coef=0.2)
    stir(probe.policy, 0.3)
    kl = probe.step()[0]["objective/kl_per_sequence"]
    trainer = make_trainer(tiny_policy(), kl_coef=0.2, kl_target=kl / 1.1, kl_horizon=100.0)
    stir(trainer.policy, 0.3)

    trainer.step()

    assert trainer.runs[0].kl_coef == pytest.approx(0.2 * (1 + 0.1 * 8 / 100))


def test_an_adaptive_coefficient_moves_over_a_tenth_of_the_episodes_unless_told_otherwise() -> None:
    trainer = make_trainer(tiny_policy(), kl_coef=0.2, kl_target=1000.0, episodes=800)

    trainer.step()

    assert trainer.runs[0].kl_coef == pytest.approx(0.2 * (1 - 0.2 * 8 / 80))


def test_a_fixed_coefficient_stays() -> None:
    trainer = make_trainer(tiny_policy(), kl_coef=0.2)

    results = [trainer.step()[0]["objective/kl_coef"] for _ in range(3)]

    assert results == [0.2, 0.2, 0.2]
