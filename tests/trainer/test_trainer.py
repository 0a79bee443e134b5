"""The laws of an iteration: what is sampled, what is counted, what moves, and how a trial ends."""

import math
import statistics
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.config.blocks import SHARED_FIELDS, PPOConfig
from ppo_tune.errors import (
    ConfigError,
    DataError,
    OutOfMemoryError,
    RewardError,
    TrainingDivergedError,
    TrialError,
)
from ppo_tune.models import Policy, save_merged
from ppo_tune.models.loading import load_causal_lm
from ppo_tune.models.memory import MemoryChunks
from ppo_tune.rewards import Reward
from ppo_tune.tasks import Prompt, Task
from ppo_tune.trainer.processes import ProcessGroup
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import (
    LIKES,
    VOCABULARY,
    FailingReward,
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

BANDIT = {"a": 1.0, "b": 0.5, "c": -1.0, "d": -0.5, "e": 0.8, "f": 0.2}
ONLY_STOP = {"unk_token": None, "pad_token": None}  # so that every other token is seen in the text
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


def make_trainer(policy: Policy, task: Task | None = None, **config) -> PPOTrainer:
    """A trainer with a trial in every place, each with its own seed."""
    trainer = PPOTrainer(policy, task or make_toy_task(WordReward(LIKES)), small_config(**config))
    for place in range(policy.places):
        trainer.start(place, small_config(**config), seed=place)
    return trainer


def train(policy: Policy, iterations: int, task: Task | None = None, **config) -> list[dict]:
    """Metrics of the first place, one per iteration."""
    trainer = make_trainer(policy, task, **config)
    return [trainer.step()[0] for _ in range(iterations)]


def bandit_task(weights: dict[str, float], size: int) -> Task:
    """One prompt, always the same."""
    prompts = {"train": (Prompt("a"),) * size, "heldout": (Prompt("a"),), "confirmation": ()}
    return Task("bandit", prompts, WordReward(weights), gold=None)


def numbers(metrics: dict) -> dict:
    """Metrics without the times."""
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def changed_views(policy: Policy, before: dict[str, Tensor], place: int) -> set[str]:
    """Names of the tensors of a place that are no longer what they were."""
    return {name for name, now in policy.rows.split(place).items() if not torch.equal(now, before[name])}


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
def test_every_field_that_can_be_searched_reaches_the_update(field):
    changed, usual = one_change_each()[list(SEARCHED).index(field)], one_change_each()[-1]

    assert (changed - usual).abs().max() > 1e-4


def test_the_fields_that_reach_the_update_are_all_that_can_be_searched():
    assert SEARCHED.keys() == PPOConfig.model_fields.keys() - SHARED_FIELDS


def test_equal_trials_with_equal_seeds_learn_the_same_side_by_side():
    policy = tiny_policy(places=2)
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config())
    for place in (0, 1):
        trainer.start(place, small_config(), seed=3)

    results = [trainer.step() for _ in range(3)]

    assert torch.equal(policy.rows.values[0], policy.rows.values[1])
    assert all(numbers(result[0]) == numbers(result[1]) for result in results)


@pytest.mark.parametrize("lora_rank", [4, None])
def test_the_same_seed_gives_the_same_trajectory(lora_rank):
    policies = [tiny_policy(lora_rank=lora_rank) for _ in range(2)]

    histories = [[numbers(metrics) for metrics in train(policy, 3, ent_coef=0.01)] for policy in policies]

    assert histories[0] == histories[1]
    assert torch.equal(policies[0].rows.values, policies[1].rows.values)


def test_trials_with_different_seeds_go_different_ways():
    reward = WordReward(LIKES)
    policy = tiny_policy(places=2)
    trainer = make_trainer(policy, make_toy_task(reward))

    trainer.step()

    assert reward.calls[0][0] != reward.calls[1][0]
    assert reward.responses[0] != reward.responses[1]
    assert not torch.equal(policy.rows.values[0], policy.rows.values[1])


def test_every_trial_and_every_iteration_has_its_own_sampling_noise():
    task = bandit_task(LIKES, 8)
    trainer = make_trainer(tiny_policy(places=2), task, learning_rate=0.0)

    for _ in range(2):
        trainer.step()

    samples = [tuple(responses) for responses in task.reward.responses]
    assert len(samples) == len(set(samples)) == 4
    assert len(set(samples[0])) > 1


@pytest.mark.parametrize("lora_rank", [4, None])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_without_a_step_size_nothing_moves_and_nothing_is_clipped(lora_rank, dropout):
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


def test_without_a_step_size_the_ratio_stays_at_one_far_from_the_reference():
    policy = tiny_policy()
    trainer = make_trainer(policy, learning_rate=0.0, clip_range=1e-5, temperature=0.5)
    stir(policy)

    metrics = trainer.step()[0]

    assert metrics["policy/clip_fraction"] == 0.0
    assert metrics["objective/kl_per_sequence"] > 0.1


def test_with_one_step_per_rollout_the_clip_range_changes_nothing():
    policy = tiny_policy(places=2)
    narrow, wide = (small_config(batch_size=8, ppo_epochs=1, clip_range=c) for c in (1e-3, 0.5))
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), narrow)
    trainer.start(0, narrow, seed=3)
    trainer.start(1, wide, seed=3)

    for _ in range(3):
        trainer.step()

    assert torch.equal(policy.rows.values[0], policy.rows.values[1])


@pytest.mark.parametrize(("batch_size", "ppo_epochs"), [(1, 2), (2, 3), (4, 1), (8, 2)])
def test_an_iteration_has_epochs_times_rollout_over_batch_optimizer_steps(batch_size, ppo_epochs):
    metrics = train(tiny_policy(), 1, batch_size=batch_size, ppo_epochs=ppo_epochs)[0]

    assert metrics["policy/optimizer_steps"] == ppo_epochs * 8 / batch_size
    assert (
        small_config(batch_size=batch_size, ppo_epochs=ppo_epochs).steps_per_iteration
        == (metrics["policy/optimizer_steps"])
    )


@pytest.mark.parametrize("lora_rank", [4, None])
def test_training_moves_every_trainable_tensor(lora_rank):
    policy = tiny_policy(lora_rank=lora_rank)
    trainer = make_trainer(policy)
    before = policy.rows.split(0)

    for _ in range(2):
        trainer.step()

    assert changed_views(policy, before, 0) == set(policy.rows.views)


@pytest.mark.parametrize("lora_rank", [4, None])
def test_training_leaves_the_reference_untouched(lora_rank):
    policy = tiny_policy(lora_rank=lora_rank)
    sequences = make_sequences([[2, 3], [5]], [[4, 0], [6, 7]])
    before = policy.reference(sequences, temperature=0.7)

    train(policy, 2)

    assert torch.equal(policy.reference(sequences, temperature=0.7), before)
    assert torch.equal(before, tiny_policy().reference(sequences, temperature=0.7))


def test_training_adapters_leaves_every_weight_of_the_model_untouched():
    policy = tiny_policy(places=2)
    before = tiny_model().state_dict()

    train(policy, 2)

    now = policy.model.state_dict()
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)


def test_the_logged_kl_is_that_of_the_sampled_responses(tmp_path):
    reward = WordReward(LIKES)
    policy = tiny_policy(tokenizer=tiny_tokenizer(**ONLY_STOP))
    trainer = make_trainer(policy, make_toy_task(reward), learning_rate=0.0, kl_estimator="k3")
    stir(policy)
    save_merged(policy, 0, tmp_path)
    trained, reference = load_causal_lm(str(tmp_path)), tiny_model().eval()

    metrics = trainer.step()[0]

    kl = []
    for texts in zip(*reward.calls[0][:2], strict=True):
        prompt, response = (policy.tokenizer(text)["input_ids"] for text in texts)
        response = [*response, 0][:6]  # a shorter one has ended
        ids = torch.tensor([prompt + response])
        said = [
            model(ids)
            .logits[0, len(prompt) - 1 : -1]
            .detach()
            .log_softmax(-1)[range(len(response)), response]
            for model in (trained, reference)
        ]
        kl.append(float((said[0] - said[1]).sum()))
    assert metrics["objective/kl_per_sequence"] == pytest.approx(statistics.mean(kl), abs=1e-5)


def test_metrics_say_what_the_responses_were():
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


def test_a_stop_token_in_a_prompt_does_not_count_as_an_ending():
    reward = WordReward(LIKES)
    task = make_toy_task(reward)
    prompts = tuple(replace(prompt, text=f"<eos> {prompt.text} <eos>") for prompt in task.prompts["train"])
    policy = tiny_policy(tokenizer=tiny_tokenizer(**ONLY_STOP))

    metrics = train(policy, 1, replace(task, prompts={**task.prompts, "train": prompts}))[0]

    ended = [len(text.split()) < 6 for text in reward.responses[0]]
    assert metrics["response/eos_rate"] == pytest.approx(statistics.mean(ended))
    assert metrics["response/eos_rate"] < 1


def test_an_iteration_says_all_of_these_numbers_and_each_is_finite():
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
def test_an_adaptive_coefficient_moves_by_the_logged_kl(target, direction):
    policy = tiny_policy()
    trainer = make_trainer(policy, kl_coef=0.2, kl_target=target, kl_horizon=100.0)
    stir(policy, 0.3)

    metrics = trainer.step()[0]

    assert trainer.runs[0].kl_coef == pytest.approx(0.2 * (1 + direction * 0.2 * 8 / 100))
    assert direction * (metrics["objective/kl_per_sequence"] / target - 1) > 0.2


def test_an_adaptive_coefficient_moves_in_proportion_when_the_kl_is_near_its_target():
    probe = make_trainer(tiny_policy(), kl_coef=0.2)
    stir(probe.policy, 0.3)
    kl = probe.step()[0]["objective/kl_per_sequence"]
    trainer = make_trainer(tiny_policy(), kl_coef=0.2, kl_target=kl / 1.1, kl_horizon=100.0)
    stir(trainer.policy, 0.3)

    trainer.step()

    assert trainer.runs[0].kl_coef == pytest.approx(0.2 * (1 + 0.1 * 8 / 100))


def test_an_adaptive_coefficient_moves_over_a_tenth_of_the_episodes_unless_told_otherwise():
    trainer = make_trainer(tiny_policy(), kl_coef=0.2, kl_target=1000.0, episodes=800)

    trainer.step()

    assert trainer.runs[0].kl_coef == pytest.approx(0.2 * (1 - 0.2 * 8 / 80))


def test_a_fixed_coefficient_stays():
    trainer = make_trainer(tiny_policy(), kl_coef=0.2)

    results = [trainer.step()[0]["objective/kl_coef"] for _ in range(3)]

    assert results == [0.2, 0.2, 0.2]


@pytest.mark.parametrize("n_train", [8, 12, 20])
def test_every_prompt_comes_once_before_any_comes_again_and_in_a_new_order(n_train):
    reward = WordReward(LIKES)
    trainer = make_trainer(tiny_policy(), make_toy_task(reward, n_train=n_train))

    for _ in range(5):
        trainer.step()

    asked = [number for _, _, columns in reward.calls for number in columns["number"]]
    first, second = asked[:n_train], asked[n_train : 2 * n_train]
    assert sorted(first) == sorted(second) == list(range(n_train))
    assert first != second


def test_fewer_prompts_than_a_rollout_needs_are_refused():
    task = make_toy_task(WordReward(LIKES), n_train=7)

    with pytest.raises(DataError) as caught:
        PPOTrainer(tiny_policy(), task, small_config())

    assert str(caught.value) == (
        "task toy: `prompts >= rollout_size` must hold, but got 7 training prompts and rollout_size 8; "
        "lower it or add rows"
    )


def test_a_prompt_that_leaves_no_room_for_a_response_is_refused():
    task = make_toy_task(WordReward(LIKES))
    long = Prompt(" ".join("a" * 27), where="prompts.csv:9")
    prompts = {**task.prompts, "train": (*task.prompts["train"], long)}

    with pytest.raises(DataError, match=r"prompts.csv:9: `tokens <= 26`.* got 27"):
        PPOTrainer(tiny_policy(), replace(task, prompts=prompts), small_config())


def test_a_rollout_that_cannot_be_shared_out_evenly_is_refused():
    processes = ProcessGroup()
    processes.size = 3

    with pytest.raises(
        ConfigError, match=r"ppo\.rollout_size: must be a multiple of the 3 processes, but got 8"
    ):
        PPOTrainer(tiny_policy(), make_toy_task(WordReward(LIKES)), small_config(), processes)


def test_a_place_is_free_until_a_trial_starts_and_after_it_is_dropped():
    trainer = PPOTrainer(tiny_policy(places=3), make_toy_task(WordReward(LIKES)), small_config())

    trainer.start(1, small_config(), seed=0)
    taken = trainer.free_places
    trainer.drop(1)

    assert taken == [0, 2]
    assert trainer.free_places == [0, 1, 2]


def test_a_taken_place_is_not_given_away():
    trainer = make_trainer(tiny_policy())

    with pytest.raises(AssertionError, match="place 0 is taken"):
        trainer.start(0, small_config(), seed=1)


def test_a_trial_starts_at_the_reference_whatever_was_in_its_place():
    policy = stirred_policy()
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config(learning_rate=0.0))
    trainer.start(0, small_config(learning_rate=0.0), seed=0)

    metrics = trainer.step()[0]

    assert metrics["objective/kl_per_sequence"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("failure", ["raises", "nan"])
def test_a_failing_reward_ends_its_trial_with_its_message(failure):
    reward = FailingReward(LIKES, **{failure: [2]})
    trainer = make_trainer(tiny_policy(places=2), make_toy_task(reward))
    before = trainer.step()

    result = trainer.step()

    assert isinstance(before[0], dict)
    assert isinstance(result[0], RewardError)
    assert isinstance(result[1], dict)
    assert ("meant to fail" in str(result[0])) == (failure == "raises")


def test_a_trial_whose_reward_failed_has_learned_nothing_from_it():
    policy = tiny_policy()
    trainer = make_trainer(policy, make_toy_task(FailingReward(LIKES, raises=[1])))
    trainer.step()
    before = policy.rows.values.clone()

    trainer.step()

    assert torch.equal(policy.rows.values, before)
    assert trainer.runs[0].episodes == 8


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_numbers_that_are_not_finite_end_their_trial_as_diverged(poison):
    policy = tiny_policy()
    trainer = make_trainer(policy)
    trainer.step()

    policy.rows.values[0] = poison
    result = trainer.step()[0]

    assert isinstance(result, TrainingDivergedError)
    assert str(result) == "log-probabilities or values are not finite after 8 episodes"


def test_a_score_beyond_all_bounds_ends_its_trial_as_the_rewards_fault():
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


def test_a_gradient_that_is_not_finite_ends_its_trial_as_diverged():
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
def test_a_machine_without_memory_ends_all_its_trials(error):
    trainer = make_trainer(tiny_policy(places=2), make_toy_task(Raises(error)))

    results = trainer.step()

    assert set(results) == {0, 1}
    assert all(isinstance(result, OutOfMemoryError) for result in results.values())
    assert str(results[0]) == str(error).splitlines()[0]


@pytest.mark.parametrize("room", [1, 3])
@pytest.mark.parametrize("lora_rank", [4, None])
def test_a_pack_that_does_not_fit_goes_on_in_parts_and_learns_the_same(room, lora_rank, monkeypatch):
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


def test_trials_stand_in_the_order_of_their_places_whenever_they_came():
    trainer = make_trainer(tiny_policy(places=3))

    trainer.drop(0)
    trainer.start(0, small_config(), seed=7)

    assert list(trainer.runs) == [0, 1, 2]
    assert list(trainer.step()) == [0, 1, 2]


def test_a_trial_of_which_not_one_response_fits_runs_out_of_memory(monkeypatch):
    def never(*_, **__):
        raise torch.OutOfMemoryError("no room")

    trainer = make_trainer(tiny_policy(places=2))
    monkeypatch.setattr(Policy, "evaluate", never)

    results = trainer.step()

    assert [type(result) for result in results.values()] == [OutOfMemoryError] * 2
    assert trainer.memory.passes == MemoryChunks(rows=1, trials=1)
    trainer.forget_limits()
    assert trainer.memory.passes == MemoryChunks()


def test_a_bug_is_no_result():
    trainer = make_trainer(tiny_policy(), make_toy_task(Raises(RuntimeError("a bug"))))

    with pytest.raises(RuntimeError, match="a bug"):
        trainer.step()


def test_three_seeds_out_of_three_beat_the_untrained_policy():
    policy = tiny_policy(places=3)
    trainer = make_trainer(policy, rollout_size=12, batch_size=6, kl_coef=0.02, episodes=180)

    history = [trainer.step() for _ in range(15)]

    gains = [history[-1][k]["objective/score_mean"] - history[0][k]["objective/score_mean"] for k in range(3)]
    assert min(gains) > 0.5


def test_training_takes_log_probabilities_again_under_bfloat16():
    policy = Policy(tiny_model().to(torch.bfloat16), tiny_tokenizer(), lora_rank=4)

    metrics = train(policy, 1, learning_rate=0.0, batch_size=8)[0]

    assert metrics["policy/approx_kl_per_token"] == pytest.approx(0.0, abs=1e-10)


def first_tokens(policy: Policy, place: int | None) -> Tensor:
    """Probability of every token after the prompt; of the reference for None."""
    sequences = make_sequences([[2]] * len(VOCABULARY), [[token] for token in range(len(VOCABULARY))])
    with torch.no_grad():
        logprobs = (
            policy.reference(sequences, temperature=1.0)
            if place is None
            else policy.evaluate(sequences, temperature=1.0, places=[place]).logprobs
        )
    return logprobs.exp().double().flatten()


def train_bandit(policy: Policy, weights: dict[str, float], kl_coef: float) -> None:
    config = {
        "kl_coef": kl_coef, "max_new_tokens": 1, "rollout_size": 128, "batch_size": 64, "episodes": 128 * 45,
        "lr_schedule": "linear", "vf_coef": 0.5,
    }  # fmt: skip
    train(policy, 45, bandit_task(weights, 128), **config)


def distance(p: Tensor, q: Tensor) -> float:
    """Total variation."""
    return float((p - q).abs().sum() / 2)


@pytest.mark.parametrize("kl_coef", [0.3, 1.0])
def test_a_long_run_on_a_bandit_ends_at_the_tilted_reference(kl_coef):
    policy = tiny_policy(lora_rank=None, n_layer=1)
    scores = torch.tensor([BANDIT.get(word, 0.0) for word in VOCABULARY]).double()
    tilted = first_tokens(policy, None) * (scores / kl_coef).exp()
    optimum = tilted / tilted.sum()

    train_bandit(policy, BANDIT, kl_coef)

    assert distance(first_tokens(policy, 0), optimum) < 0.02
    assert distance(first_tokens(policy, None), optimum) > 0.15


def test_adapters_on_a_bandit_end_where_the_score_sends_them():
    tokenizer = tiny_tokenizer(**ONLY_STOP)
    wanted = stir(stirred_policy(n_layer=1, lora_rank=8, tokenizer=tokenizer), 0.3)
    optimum, reference = first_tokens(wanted, 0), first_tokens(wanted, None)
    tilt = 0.5 * (optimum / reference).log()  # optimum = reference · exp(score / kl_coef) / Z
    scores = dict(
        zip(VOCABULARY, (tilt - tilt[0]).tolist(), strict=True)
    )  # the stop token's text has no word
    policy = tiny_policy(places=2, n_layer=1, lora_rank=8, tokenizer=tokenizer)

    train_bandit(policy, scores, kl_coef=0.5)

    assert max(distance(first_tokens(policy, place), optimum) for place in (0, 1)) < 0.04
    assert distance(reference, optimum) > 0.3


@pytest.mark.slow
def test_training_a_pack_warns_of_nothing():
    code = (
        "from tests.trainer.test_trainer import make_trainer, tiny_policy\n"
        "trainer = make_trainer(tiny_policy(places=2))\n"
        "import warnings\n"
        "warnings.simplefilter('error')\n"
        "trainer.step()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent.parent.parent
    )

    assert done.returncode == 0, done.stderr.splitlines()[-3:]
