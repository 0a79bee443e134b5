# mypy: ignore-errors
"""Sampling, evaluating and scoring a rollout."""

import copy

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.config.model import ModelConfig
from ppo_tune.errors import RewardError
from ppo_tune.models import Policy
from ppo_tune.models.memory import Memory
from ppo_tune.tasks import PromptSet
from ppo_tune.trainer.processes import ProcessGroup
from ppo_tune.trainer.rollout import Rollout, collect, score
from tests.conftest import (
    FailingReward,
    WordReward,
    make_sequences,
    make_toy_task,
    prompts_for,
    stir,
    stirred_policy,
    tiny_model,
    tiny_policy,
    tiny_tokenizer,
    uniforms_for,
)

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9], [6, 6]]


def sample(policy: Policy, *, temperature: float = 1.0, micro_batch_size: int | None = None) -> Rollout:
    """A rollout of all places."""
    places = range(policy.places)
    return collect(
        policy,
        prompts_for(PROMPTS, policy.places),
        uniforms_for(policy.places, len(PROMPTS), 6),
        temperature=temperature,
        places=places,
        memory=Memory.with_rows(micro_batch_size),
    )


def per_token(rollout: Rollout) -> list[Tensor]:
    """Everything that is known of real tokens."""
    tensors = (rollout.old_logprobs, rollout.ref_logprobs, rollout.old_values, rollout.entropy)
    return [tensor[rollout.mask] for tensor in tensors]


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_a_rollout_says_of_each_token_what_policy_and_reference_say(temperature):
    policy = stirred_policy(places=2)

    rollout = sample(policy, temperature=temperature)

    seen = policy.evaluate(rollout.sequences, temperature=temperature, places=[0, 1], with_entropy=True)
    reference = policy.reference(rollout.sequences, temperature=temperature)
    expected = [
        tensor.detach()[rollout.mask] for tensor in (seen.logprobs, reference, seen.values, seen.entropy)
    ]
    assert_close(per_token(rollout), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_micro_batch_changes_nothing(size, dtype):
    policy = stir(Policy(tiny_model().to(dtype), tiny_tokenizer(), ModelConfig(lora_rank=4), places=2))
    whole = sample(policy)

    parts = sample(policy, micro_batch_size=size)

    assert torch.equal(parts.sequences.response_ids, whole.sequences.response_ids)
    assert_close(per_token(parts), per_token(whole), atol=1e-5 if dtype == torch.float32 else 0.1, rtol=0)


def test_under_bfloat16_log_probabilities_are_those_that_training_will_compute():
    policy = stir(
        Policy(tiny_model().to(torch.bfloat16), tiny_tokenizer(), ModelConfig(lora_rank=4), places=2)
    )
    prompts, uniforms = prompts_for([[5], [*range(2, 14)], [7, 8, 9]], 2), uniforms_for(2, 3, 12)
    _, sampled = policy.generate(prompts, uniforms, temperature=1.0, places=[0, 1])

    rollout = collect(policy, prompts, uniforms, temperature=1.0, places=[0, 1])

    with torch.no_grad():
        seen = policy.evaluate(rollout.sequences, temperature=1.0, places=[0, 1])
    assert rollout.old_logprobs.dtype == torch.float32
    assert torch.equal(rollout.old_logprobs, seen.logprobs)
    assert torch.equal(rollout.old_values, seen.values)
    assert (sampled.logprobs - seen.logprobs)[rollout.mask].abs().max() > 1e-3  # why it is computed again


def test_an_untrained_policy_has_no_kl_to_its_reference():
    rollout = sample(tiny_policy(places=2), temperature=0.5)

    assert_close(rollout.old_logprobs[rollout.mask], rollout.ref_logprobs[rollout.mask], atol=1e-5, rtol=0)


def test_samples_come_from_the_whole_distribution():
    policy = stirred_policy()
    uniforms = ((torch.arange(2000) + 0.5) / 2000).view(1, -1, 1)

    rollout = collect(policy, prompts_for(PROMPTS[1:2] * 2000), uniforms, temperature=1.0, places=[0])

    # If y ~ π then E[π_ref(y) / π(y)] = Σ π_ref = 1; whatever cuts or bends the sampling breaks this.
    ratio = (rollout.ref_logprobs - rollout.old_logprobs).exp()
    assert_close(ratio.mean(), torch.tensor(1.0), atol=0.01, rtol=0)
    assert ratio.std() > 0.05


@pytest.mark.parametrize("lora_rank", [4, None])
def test_training_moves_the_policy_and_not_the_reference(lora_rank):
    policy = tiny_policy(lora_rank=lora_rank)
    rollout = sample(policy)

    stir(policy)

    reference = policy.reference(rollout.sequences, temperature=1.0)
    logprobs = policy.evaluate(rollout.sequences, temperature=1.0, places=[0]).logprobs
    assert torch.equal(reference, rollout.ref_logprobs)
    assert (logprobs - rollout.old_logprobs)[rollout.mask].abs().max() > 1e-2


def test_collecting_leaves_its_inputs_as_they_were():
    policy = stirred_policy()
    prompts, uniforms = prompts_for(PROMPTS), uniforms_for(1, 4, 6)
    before = copy.deepcopy((prompts, uniforms))

    collect(policy, prompts, uniforms, temperature=0.5, places=[0])

    assert torch.equal(prompts.ids, before[0].ids)
    assert torch.equal(prompts.mask, before[0].mask)
    assert torch.equal(uniforms, before[1])


def test_some_rows_of_a_rollout_are_those_rows_of_every_field():
    rollout = sample(stirred_policy(places=2))

    some = rollout[1][[2, 0]]

    assert torch.equal(some.sequences.response_ids, rollout.sequences.response_ids[1, [2, 0]])
    assert torch.equal(some.mask, rollout.mask[1, [2, 0]])
    assert torch.equal(some.old_logprobs, rollout.old_logprobs[1, [2, 0]])
    assert torch.equal(some.ref_logprobs, rollout.ref_logprobs[1, [2, 0]])
    assert torch.equal(some.old_values, rollout.old_values[1, [2, 0]])
    assert torch.equal(some.entropy, rollout.entropy[1, [2, 0]])


class Twins(ProcessGroup):
    """Two processes with the same rows."""

    size = 2

    def __init__(self) -> None:
        self.widths: set[int] = set()

    def gather(self, rows: Tensor) -> Tensor:
        self.widths.add(rows.shape[-1])
        return rows.repeat_interleave(2, 0)


def test_processes_put_their_rows_together_in_order():
    rollout = sample(stirred_policy(places=2))
    processes = Twins()

    everyone = rollout.gathered(processes, length=9)

    twice = rollout[:, [0, 0, 1, 1, 2, 2, 3, 3]]
    assert torch.equal(everyone.sequences.response_ids, twice.sequences.response_ids)
    assert torch.equal(everyone.sequences.prompts.ids, twice.sequences.prompts.ids)
    assert torch.equal(everyone.sequences.ended, twice.sequences.ended)
    assert torch.equal(everyone.mask, twice.mask)
    assert all(torch.equal(a, b) for a, b in zip(per_token(everyone), per_token(twice), strict=True))


def test_processes_exchange_tensors_of_one_width_however_long_their_own_responses_are():
    processes = Twins()

    sample(stirred_policy(places=2)).gathered(processes, length=9)

    assert processes.widths == {9, 5, 2}  # tokens of a response, tokens of a prompt, and places


def test_one_process_gathers_nothing():
    rollout = sample(stirred_policy())

    assert rollout.gathered(ProcessGroup(), length=9) is rollout


def test_the_reward_sees_the_answered_prompts_their_responses_and_their_columns():
    reward = WordReward({"a": 2.0, "b": 0.5})
    task = make_toy_task(reward)
    prompts = PromptSet(task, "train", tiny_tokenizer(), None)
    sequences = make_sequences([[5], [6]], [[2, 3, 0], [3, 4]])[0]

    scores, responses = score(reward, tiny_policy(), prompts, [7, 2], sequences)

    asked, answered, columns = reward.calls[0]
    assert asked == [task.prompts["train"][7].text, task.prompts["train"][2].text]
    assert answered == responses == [" a b", " b c"]  # in their places, behind the prompts
    assert columns == {"number": [7, 2]}
    assert scores.tolist() == [2.5, 0.5]


@pytest.mark.parametrize("failure", [{"raises": [0]}, {"nan": [0]}], ids=["raises", "nan"])
def test_a_failing_reward_is_an_error_of_the_trial(failure):
    reward = FailingReward({}, **failure)
    prompts = PromptSet(make_toy_task(reward), "train", tiny_tokenizer(), None)

    with pytest.raises(RewardError):
        score(reward, tiny_policy(), prompts, [0], make_sequences([[5]], [[2, 0]])[0])
