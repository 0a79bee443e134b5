"""What holds for every family of models, whatever its layers, positions and attention."""

import pytest
import torch
from torch.testing import assert_close

from ppo_tune.models import Sequences
from tests.conftest import (
    make_sequences,
    prompts_for,
    stirred_policy,
    tiny_model,
    tiny_policy,
    uniforms_for,
)

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9]]
RESPONSES = [[4, 0], [3, 1, 2, 9, 8, 12], [6, 6, 6, 0]]
DROPOUT = {
    "gpt2": {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1},
    "gpt_neo": {"resid_dropout": 0.1, "embed_dropout": 0.1, "attention_dropout": 0.1},
    "gpt_neox": {"hidden_dropout": 0.1, "attention_dropout": 0.1},
    "opt": {"dropout": 0.1, "attention_dropout": 0.1},
    "llama": {"attention_dropout": 0.1},
    "qwen2": {"attention_dropout": 0.1},
    "qwen3": {"attention_dropout": 0.1},
}
NO_DROPOUT = {family: dict.fromkeys(rates, 0.0) for family, rates in DROPOUT.items()}


def real(sequences: Sequences, *tensors: torch.Tensor) -> list[torch.Tensor]:
    """What stands at real tokens."""
    return [tensor.detach()[sequences.response_mask] for tensor in tensors]


def test_a_left_padded_batch_says_what_each_sequence_says_alone(family):
    policy = stirred_policy(family, places=2)
    batch = make_sequences(PROMPTS, RESPONSES, places=2)

    together = policy.evaluate(batch, temperature=1.0, places=[0, 1], with_entropy=True)

    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        alone = policy.evaluate(
            make_sequences([prompt], [response], places=2),
            temperature=1.0,
            places=[0, 1],
            with_entropy=True,
        )
        n = len(response)
        assert_close(together.logprobs[:, row, :n], alone.logprobs[:, 0], atol=1e-5, rtol=0)
        assert_close(together.values[:, row, :n], alone.values[:, 0], atol=1e-5, rtol=0)
        assert_close(together.entropy[:, row, :n], alone.entropy[:, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_reference_is_what_transformers_says_of_each_sequence_without_padding(family, temperature):
    policy = stirred_policy(family)
    model = tiny_model(family).eval()

    reference = policy.reference(make_sequences(PROMPTS, RESPONSES), temperature=temperature)

    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        expected = (logits / temperature).log_softmax(-1)[range(len(response)), response]
        assert_close(reference[0, row, : len(response)], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_what_is_said_while_sampling_is_what_is_said_while_training(family, temperature):
    policy = stirred_policy(family, places=2)

    sequences, sampled = policy.generate(
        prompts_for(PROMPTS, 2), uniforms_for(2, 3, 8), temperature=temperature, places=[0, 1]
    )
    trained = policy.evaluate(sequences, temperature=temperature, places=[0, 1], with_entropy=True)

    assert_close(
        real(sequences, sampled.logprobs, sampled.values, sampled.entropy),
        real(sequences, trained.logprobs, trained.values, trained.entropy),
        atol=1e-5,
        rtol=0,
    )


def test_an_untrained_adapter_is_exactly_the_reference(family):
    policy = tiny_policy(family, places=2)
    batch = make_sequences(PROMPTS, RESPONSES, places=2)

    logprobs = policy.evaluate(batch, temperature=0.7, places=[0, 1]).logprobs

    assert torch.equal(logprobs, policy.reference(batch, temperature=0.7))


def test_every_trainable_number_is_learned_and_no_other(family):
    policy = stirred_policy(family)
    seen = policy.evaluate(make_sequences(PROMPTS, RESPONSES), temperature=1.0, places=[0])

    (seen.logprobs.sum() + seen.values.square().sum()).backward()

    assert all(view.grad.any() for view in policy.rows.views.values())
    assert all(parameter.grad is None for parameter in policy.model.parameters())


def test_dropout_in_a_model_config_does_nothing(family):
    batch = make_sequences(PROMPTS, RESPONSES)
    policy = stirred_policy(family, **DROPOUT[family])
    steady = stirred_policy(family, **NO_DROPOUT[family])

    sampled, _ = policy.generate(prompts_for(PROMPTS), uniforms_for(1, 3, 8), temperature=1.0, places=[0])

    assert tiny_model(family, **DROPOUT[family]).training
    assert torch.equal(
        policy.evaluate(batch, temperature=1.0, places=[0]).logprobs,
        steady.evaluate(batch, temperature=1.0, places=[0]).logprobs,
    )
    assert torch.equal(policy.reference(batch, temperature=1.0), steady.reference(batch, temperature=1.0))
    assert torch.equal(
        sampled.response_ids,
        steady.generate(prompts_for(PROMPTS), uniforms_for(1, 3, 8), temperature=1.0, places=[0])[
            0
        ].response_ids,
    )


def test_what_stands_at_padding_does_not_matter(family):
    policy = stirred_policy(family)
    batch = make_sequences(PROMPTS, RESPONSES)
    prompts, mask = batch.prompts, batch.response_mask
    other_prompts = type(prompts)(prompts.ids.where(prompts.mask, 9), prompts.mask)
    other = Sequences(other_prompts, batch.response_ids.where(mask, 7), mask, batch.ended)

    seen = policy.evaluate(batch, temperature=1.0, places=[0])
    seen_other = policy.evaluate(other, temperature=1.0, places=[0])

    assert_close(
        real(batch, seen.logprobs, seen.values, policy.reference(batch, temperature=1.0)),
        real(batch, seen_other.logprobs, seen_other.values, policy.reference(other, temperature=1.0)),
        atol=1e-6,
        rtol=0,
    )


def test_all_weights_can_be_trained(family):
    policy = tiny_policy(family, lora_rank=None)
    batch = make_sequences(PROMPTS, RESPONSES)
    seen = policy.evaluate(batch, temperature=1.0, places=[0])

    (seen.logprobs.sum() + seen.values.sum()).backward()

    assert torch.equal(seen.logprobs, policy.reference(batch, temperature=1.0))
    assert (
        sum(parameter.numel() for parameter in policy.model.parameters()) + 17 == policy.rows.values.numel()
    )
    # Softmax does not see what all keys have in common.
    assert all(view.grad.any() for name, view in policy.rows.views.items() if "k_proj.bias" not in name)
