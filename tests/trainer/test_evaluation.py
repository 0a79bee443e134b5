# mypy: ignore-errors
"""The score of a policy on held-out prompts."""

import statistics
from dataclasses import replace

import pytest
import torch

from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import SHARED_FIELDS, PPOConfig
from ppo_tune.config.run import TrainConfig
from ppo_tune.errors import DataError, OutOfMemoryError, RewardError, TrainingDivergedError
from ppo_tune.models import Policy, load_policy, save_merged
from ppo_tune.tasks import Prompt, Task
from ppo_tune.trainer.assembly import claim_evaluator
from ppo_tune.trainer.evaluation import Evaluation, Evaluator
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import (
    LIKES,
    FailingReward,
    WordReward,
    make_toy_task,
    small_config,
    stirred_policy,
    tiny_policy,
    tiny_tokenizer,
)
from tests.learning import LearningWords
from tests.trainer.trials import ONLY_STOP, mean_kl


def evaluator(policy: Policy, task: Task, **settings) -> Evaluator:
    usual = {"n_prompts": 6, "max_new_tokens": 6, "temperature": 1.0, "seed": 0}
    return Evaluator(policy, task, **{**usual, **settings})


def test_an_untrained_place_has_no_kl(toy_task):
    judged = evaluator(tiny_policy(places=2), toy_task, temperature=0.7)([0, 1])

    assert [judged[place].kl_per_sequence for place in (0, 1)] == pytest.approx([0, 0], abs=1e-5)


def test_the_kl_is_summed_over_each_sampled_response(toy_task, tmp_path):
    policy = stirred_policy(tokenizer=tiny_tokenizer(**ONLY_STOP))
    judged = evaluator(policy, toy_task, max_new_tokens=6)([0])[0]

    texts = ((sample.prompt, sample.response) for sample in judged.samples)
    expected = mean_kl(policy, tmp_path, texts, longest=6)
    assert judged.kl_per_sequence == pytest.approx(expected, abs=1e-5)
    assert judged.kl_per_sequence > 0.1


def test_the_kl_of_a_saved_model_is_measured_from_where_its_training_began(toy_task, tmp_path):
    trained = stirred_policy()
    save_merged(trained, 0, tmp_path)
    saved = load_policy(ModelConfig(name=str(tmp_path), lora_rank=1, dtype="float32"))

    own = evaluator(saved, toy_task)([0])[0]
    judged = evaluator(saved, toy_task)([0], reference=trained)[0]

    assert own.kl_per_sequence == pytest.approx(0, abs=1e-5)
    assert judged.kl_per_sequence == pytest.approx(
        evaluator(trained, toy_task)([0])[0].kl_per_sequence, abs=1e-4
    )
    assert judged.kl_per_sequence > 0.1
    assert judged.samples == own.samples


def test_all_places_answer_the_same_prompts_with_the_same_noise(toy_task):
    policy = stirred_policy(places=3)
    policy.rows.values[2] = policy.rows.values[0]

    judged = evaluator(policy, toy_task)([0, 1, 2])

    assert judged[0].samples == judged[2].samples
    assert judged[0].metrics() == judged[2].metrics()
    assert [s.prompt for s in judged[0].samples] == [s.prompt for s in judged[1].samples]
    assert [s.response for s in judged[0].samples] != [s.response for s in judged[1].samples]


def test_a_place_is_scored_the_same_alone_in_a_pack_and_again(toy_task):
    evaluate = evaluator(stirred_policy(places=3), toy_task)

    together, alone, again = evaluate([0, 1, 2])[1], evaluate([1])[1], evaluate([2, 1])[1]

    assert together.samples == alone.samples == again.samples
    assert alone.metrics() == pytest.approx(together.metrics(), abs=1e-5)
    assert again.metrics() == pytest.approx(together.metrics(), abs=1e-5)


def test_the_first_prompts_are_answered_as_among_all(toy_task):
    evaluate = evaluator(stirred_policy(places=2), toy_task)

    whole, few = evaluate([0, 1])[1], evaluate([0, 1], n_prompts=3)[1]

    assert few.samples == whole.samples[:3] != whole.samples
    assert few.score == pytest.approx(sum(sample.score for sample in few.samples) / 3)


@pytest.mark.parametrize("size", [1, 4])
def test_the_micro_batch_does_not_change_a_score(size, toy_task):
    policy = stirred_policy(places=2)
    whole = evaluator(policy, toy_task)([0, 1])[1]

    parts = evaluator(policy, toy_task, micro_batch_size=size)([0, 1])[1]

    assert parts.samples == whole.samples
    assert parts.metrics() == pytest.approx(whole.metrics(), abs=1e-5)


def test_the_seed_decides_the_noise(toy_task):
    policy = stirred_policy()

    first, same, other = (evaluator(policy, toy_task, seed=seed)([0])[0] for seed in (0, 0, 1))

    assert first == same
    assert first.samples != other.samples


def test_the_score_does_not_depend_on_anything_that_is_searched(toy_task):
    policy = tiny_policy(places=2)
    trainer = PPOTrainer(policy, toy_task, small_config())
    searched = {
        "kl_coef": 9.0, "gamma": 0.5, "gae_lambda": 0.1, "clip_range": 0.9, "learning_rate": 0.5,
        "batch_size": 8, "ppo_epochs": 7, "vf_coef": 3.0, "ent_coef": 2.0, "clip_range_value": 0.3,
        "whiten_rewards": True, "missing_eos_penalty": 5.0, "kl_estimator": "k3", "dual_clip": 2.0,
        "kl_target": 1.0, "kl_horizon": 8.0, "max_grad_norm": 0.1, "adam_epsilon": 0.5, "lr_schedule": "linear",
    }  # fmt: skip
    trainer.start(0, small_config(), seed=3)
    trainer.step()
    trainer.start(1, small_config(**searched), seed=5)
    policy.rows.values[1] = policy.rows.values[0]

    judged = evaluator(policy, toy_task)([0, 1])

    assert searched.keys() == PPOConfig.model_fields.keys() - SHARED_FIELDS
    assert judged[0] == judged[1]
    assert abs(judged[0].kl_per_sequence) > 1e-3


def test_the_score_is_the_mean_over_prompts_with_its_standard_error(reward, toy_task):
    judged = evaluator(stirred_policy(), toy_task)([0])[0]

    scores = [sum(LIKES.get(word, 0.0) for word in response.split()) for response in reward.responses[0]]
    assert judged.score == pytest.approx(statistics.mean(scores), abs=1e-6)
    assert judged.score_standard_error == pytest.approx(statistics.stdev(scores) / 6**0.5, abs=1e-6)
    assert len(set(scores)) > 2


def test_a_single_prompt_has_no_standard_error(reward):
    judged = evaluator(stirred_policy(), make_toy_task(reward, gold=reward), n_prompts=1)([0])[0]

    assert (judged.score_standard_error, judged.judges["gold"].standard_error) == (0.0, 0.0)


def test_every_sample_stands_with_its_prompt_its_score_and_those_of_all_judges(reward):
    judges = {"gold": WordReward({"e": 1.0, "f": 2.0}), "safety": WordReward({"a": -1.0})}
    task = make_toy_task(reward, **judges)

    judged = evaluator(stirred_policy(), task, n_prompts=4)([0])[0]

    assert [sample.prompt for sample in judged.samples] == [p.text for p in task.prompts["heldout"][:4]]
    assert [sample.response for sample in judged.samples] == reward.responses[0]
    for name, judge in judges.items():
        assert judge.responses[0] == reward.responses[0]
        expected = [
            sum(judge.weights.get(word, 0.0) for word in text.split()) for text in reward.responses[0]
        ]
        assert [sample.judges[name] for sample in judged.samples] == expected
        assert judged.judges[name].mean == pytest.approx(statistics.mean(expected)) != 0
        assert judged.judges[name].standard_error == pytest.approx(statistics.stdev(expected) / 4**0.5)


def test_without_judges_nobody_scores_but_the_objective(toy_task):
    judged = evaluator(stirred_policy(), toy_task)([0])[0]

    assert judged.judges == {}
    assert judged.samples[0].as_dict().keys() == {"prompt", "response", "score"}


def test_metrics_are_named_and_hold_every_number(reward):
    judged = evaluator(stirred_policy(), make_toy_task(reward, gold=reward, safety=reward))([0])[0]

    gold, safety = judged.judges["gold"], judged.judges["safety"]
    assert judged.metrics() == {
        "heldout/score": judged.score,
        "heldout/score_standard_error": judged.score_standard_error,
        "heldout/gold": gold.mean,
        "heldout/safety": safety.mean,
        "heldout/kl_per_sequence": judged.kl_per_sequence,
        "heldout/response_tokens": judged.response_tokens,
        "heldout/eos_rate": judged.eos_rate,
        "heldout/gold_standard_error": gold.standard_error,
        "heldout/safety_standard_error": safety.standard_error,
    }
    assert judged.as_dict().keys() - {name.removeprefix("heldout/") for name in judged.metrics()} == {
        "samples",
        "split",
    }


def test_where_trials_are_compared_by_something_else_the_reward_is_a_judge_and_the_unit_is_its_own(reward):
    objective, task = WordReward({"e": 100.0}), make_toy_task(reward)
    alone = evaluator(stirred_policy(), task)([0])[0]

    judged = evaluator(stirred_policy(), replace(task, objective=objective))([0])[0]

    assert [sample.score for sample in judged.samples] == [
        100.0 * text.split().count("e") for text in reward.responses[0]
    ]
    assert (judged.judges["reward"].mean, judged.score_std) == (pytest.approx(alone.score), alone.score_std)
    assert judged.score != pytest.approx(alone.score)
    assert alone.score_std == pytest.approx(statistics.stdev(sample.score for sample in alone.samples))


def test_a_reward_that_learns_is_no_judge_and_has_no_unit(reward):
    task = replace(make_toy_task(reward), reward=LearningWords())

    judged = evaluator(stirred_policy(), task)([0])[0]

    assert (judged.judges, judged.score_std) == ({}, None)


def test_lengths_count_the_stop_token_and_the_stop_rate_counts_responses(reward, toy_task):
    policy = stirred_policy(tokenizer=tiny_tokenizer(**ONLY_STOP))

    judged = evaluator(policy, toy_task, max_new_tokens=8)([0])[0]

    words = [len(response.split()) for response in reward.responses[0]]
    assert judged.response_tokens == pytest.approx(statistics.mean(min(n + 1, 8) for n in words))
    assert judged.eos_rate == pytest.approx(statistics.mean(n < 8 for n in words))
    assert 0 < judged.eos_rate < 1


def test_there_are_no_more_samples_than_held_out_prompts(toy_task):
    judged = evaluator(stirred_policy(), toy_task, n_prompts=1000)([0])[0]

    assert len(judged.samples) == len(toy_task.prompts["heldout"])


@pytest.mark.parametrize("failure", [{"raises": [1]}, {"nan": [1]}], ids=["raises", "nan"])
def test_a_reward_that_fails_on_one_place_is_the_result_of_that_place(failure):
    policy = stirred_policy(places=3)
    expected = evaluator(policy, make_toy_task(WordReward(LIKES)))([0, 1, 2])

    judged = evaluator(policy, make_toy_task(FailingReward(LIKES, **failure)))([0, 1, 2])

    assert isinstance(judged[1], RewardError)
    assert (judged[0], judged[2]) == (expected[0], expected[2])


def test_a_gold_reward_that_fails_is_the_result_of_its_place(reward):
    policy = stirred_policy(places=2)

    judged = evaluator(policy, make_toy_task(reward, gold=FailingReward({}, raises=[0])))([0, 1])

    assert isinstance(judged[0], RewardError)
    assert isinstance(judged[1], Evaluation)


def test_a_diverged_place_is_named_and_leaves_the_others_as_they_were(toy_task):
    policy = stirred_policy(places=3)
    evaluate = evaluator(policy, toy_task)
    expected = evaluate([0, 1, 2])

    policy.rows.values[1] = torch.nan
    judged = evaluate([0, 1, 2])

    assert isinstance(judged[1], TrainingDivergedError)
    assert (judged[0], judged[2]) == (expected[0], expected[2])


def test_a_claim_takes_held_out_prompts_where_the_confirmation_has_too_few(reward):
    task = make_toy_task(reward)  # with one prompt for confirmation
    config = TrainConfig.model_validate({
        "task": {"name": "support", "heldout_prompts": 3}, "ppo": {"max_new_tokens": 6},
    })  # fmt: skip
    enough = replace(task, prompts={**task.prompts, "confirmation": task.prompts["train"]})

    assert claim_evaluator(tiny_policy(), enough, config).split == "confirmation"
    assert len(claim_evaluator(tiny_policy(), enough, config).rows) == 12  # of four times 3
    assert claim_evaluator(tiny_policy(), task, config).split == "heldout"
    assert len(claim_evaluator(tiny_policy(), task, config).rows) == 6  # all there are


def test_a_claim_needs_prompts_that_fit_and_obeys_the_task_about_those_that_do_not(reward):
    task = make_toy_task(reward)
    long = (Prompt("a " * 40), Prompt("b " * 40))  # beyond the model's 32 positions
    spoilt = replace(task, prompts={**task.prompts, "confirmation": long})
    config = TrainConfig.model_validate({"task": {"name": "support"}, "ppo": {"max_new_tokens": 6}})

    assert claim_evaluator(tiny_policy(), replace(spoilt, too_long="drop"), config).split == "heldout"
    with pytest.raises(DataError, match=r"`tokens <= 26`.* but got 40"):
        claim_evaluator(tiny_policy(), spoilt, config)


def test_a_prompt_has_the_room_that_the_response_leaves():
    assert tiny_policy().layout.room_for_prompts(12) == 20  # of 32


def test_without_a_limit_of_the_context_there_is_no_limit_on_prompts():
    policy = tiny_policy("bloom", hidden_size=16, n_layer=1, n_head=2)

    assert policy.layout.room_for_prompts(12) is None


def test_a_judge_without_memory_ends_the_trials_and_not_the_search(toy_task, monkeypatch):
    def never(*_, **__):
        raise torch.OutOfMemoryError("no room\nmore")

    policy = stirred_policy(places=2)
    judge = evaluator(policy, toy_task)
    monkeypatch.setattr(Policy, "reference", never)

    judged = judge([0, 1])

    assert {place: (type(error), str(error)) for place, error in judged.items()} == {
        place: (OutOfMemoryError, "no room") for place in (0, 1)
    }
