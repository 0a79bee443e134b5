# mypy: ignore-errors
"""Two ways to decode, one result; rows that are finished leave; a decoder of fixed shape is used again."""

import pytest
import torch
from torch.testing import assert_close
from transformers import LlamaConfig, MistralConfig, MistralForCausalLM

from ppo_tune.models import Policy
from ppo_tune.models.caches import RoomyLayer, counts_on_the_device
from ppo_tune.models.causal import CausalLayout
from ppo_tune.models.decoding import N_DECODERS, WIDTH_STEP
from tests.conftest import (
    FAMILIES,
    make_sequences,
    prompts_for,
    stir,
    stirred_policy,
    tiny_model,
    tiny_tokenizer,
    uniforms_for,
)

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9], [3, 3], [9], [4, 5, 6]]


def generate(policy: Policy, *, seed: int = 0, places: tuple[int, ...] = (0, 1), length: int = 12):
    prompts = prompts_for(PROMPTS, len(places))
    uniforms = uniforms_for(2, len(PROMPTS), length, seed=seed)[: len(places)]
    return policy.generate(prompts, uniforms, temperature=0.9, places=places)


def assert_same(first, second) -> None:
    (sequences, said), (expected, expected_said) = first, second
    assert torch.equal(sequences.response_ids, expected.response_ids)
    assert torch.equal(sequences.response_mask, expected.response_mask)
    assert torch.equal(sequences.ended, expected.ended)
    for ours, theirs in zip(vars(said).values(), vars(expected_said).values(), strict=True):
        assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("places", [(0, 1), (1,), (1, 0)])
def test_a_decoder_of_fixed_shape_says_what_the_other_says(family, places):
    policy = stirred_policy(family, places=2)
    expected = generate(policy, places=places)

    policy.graphs = True

    assert_same(generate(policy, places=places), expected)


def test_a_decoder_is_used_again_and_remembers_nothing():
    policy, other = stirred_policy(places=2), stirred_policy(places=2)
    policy.graphs = True
    for seed in (1, 2, 3):
        first = generate(policy, seed=seed)
        assert_same(first, generate(other, seed=seed))
    assert len(policy._decoders) == 1

    policy.rows.values.mul_(0.5)  # what a graph reads is where it was, and new
    other.rows.values.mul_(0.5)
    assert_same(generate(policy), generate(other))


def test_what_was_said_outlives_the_next_call():
    policy = stirred_policy(places=2)
    policy.graphs = True
    sequences, said = generate(policy, seed=1)
    ids, logprobs = sequences.response_ids.clone(), said.logprobs.clone()

    generate(policy, seed=2)

    assert torch.equal(sequences.response_ids, ids)
    assert torch.equal(said.logprobs, logprobs)


def test_only_the_last_few_shapes_are_kept():
    policy = stirred_policy(places=2)
    policy.graphs = True

    for length in range(2, 5 + N_DECODERS):
        generate(policy, length=length)

    assert len(policy._decoders) == N_DECODERS
    assert generate(policy, length=2)[0].response_ids.shape[-1] == 2
    assert policy.release()
    assert not policy._decoders
    assert not policy.release()


def test_prompts_of_similar_widths_share_a_decoder():
    policy = stirred_policy(places=1)
    policy.graphs = True

    for prompts in ([[5]], [[2, 3, 4]], [[2] * WIDTH_STEP]):
        policy.generate(prompts_for(prompts, 1), uniforms_for(1, 1, 6), temperature=1.0, places=[0])

    assert len(policy._decoders) == 1


def test_a_decoder_that_failed_halfway_is_not_used_again(monkeypatch):
    policy, other = stirred_policy(places=2), stirred_policy(places=2)
    policy.graphs = True
    generate(policy)
    forward, calls = CausalLayout.forward, []

    def failing(self, *given, **settings):
        calls.append(given)
        result = forward(self, *given, **settings)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("no room")
        return result

    monkeypatch.setattr(CausalLayout, "forward", failing)
    with pytest.raises(torch.OutOfMemoryError):
        generate(policy)
    monkeypatch.undo()

    assert not policy._decoders
    assert policy.layout._head_input is None
    assert_same(generate(policy), generate(other))


@pytest.mark.parametrize("work", ["evaluate", "reference"])
def test_a_pass_that_fails_leaves_nothing_of_itself(work, monkeypatch):
    policy = stirred_policy(places=1)
    sequences = make_sequences([[5], [6, 7]], [[3, 0], [4, 0]])

    def no_room(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr("ppo_tune.models.policy.scaled_log_softmax", no_room)
    places = {"places": [0]} if work == "evaluate" else {}
    with pytest.raises(torch.OutOfMemoryError):
        getattr(policy, work)(sequences, temperature=1.0, **places)

    assert policy.layout._head_input is None


def test_windows_are_counted_in_python_and_so_never_in_a_graph():
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 16}

    assert counts_on_the_device(LlamaConfig(**small))
    assert not counts_on_the_device(MistralConfig(**small, sliding_window=8))


def test_with_a_window_decoding_is_the_same_with_graphs_and_without():
    config = MistralConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, max_position_embeddings=32, sliding_window=4, initializer_range=0.2,
        bos_token_id=0, eos_token_id=0, pad_token_id=15,
    )  # fmt: skip
    torch.manual_seed(0)
    policy = stir(Policy(MistralForCausalLM(config), tiny_tokenizer(), places=2, lora_rank=4))
    expected = generate(policy)

    policy.graphs = True

    assert_same(generate(policy), expected)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_cast_weights_are_decoded_with_graphs_asked_for_or_not(family):
    settings = {"places": 1, "lora_rank": None, "dtype": torch.bfloat16}
    policy = Policy(tiny_model(family), tiny_tokenizer(), **settings)
    expected = generate(policy, places=(0,))

    policy.graphs = True

    assert_same(generate(policy, places=(0,)), expected)


def test_rows_that_are_finished_leave_a_trial_that_is_alone(monkeypatch):
    policy = stirred_policy(places=1)
    seen = []
    forward = CausalLayout.forward

    def watched(self, ids, *others, **settings):
        seen.append(len(ids))
        return forward(self, ids, *others, **settings)

    monkeypatch.setattr(CausalLayout, "forward", watched)
    uniforms = uniforms_for(1, 6, 12)
    uniforms[0, :4, 0] = 1e-9  # the stop token has the lowest id, so the least number draws it

    sequences, said = policy.generate(prompts_for(PROMPTS, 1), uniforms, temperature=1.0, places=[0])

    assert sequences.ended[0, :4].all()
    assert seen[0] == 6
    assert seen[1] == 2
    assert sequences.response_mask[0, :4].sum(-1).tolist() == [1, 1, 1, 1]
    monkeypatch.undo()
    policy.graphs = True
    assert_same(
        (sequences, said), policy.generate(prompts_for(PROMPTS, 1), uniforms, temperature=1.0, places=[0])
    )


FALCON_H1 = {
    **FAMILIES["llama"], "head_dim": 8, "mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_n_groups": 1,
    "mamba_d_state": 4, "mamba_chunk_size": 8,
}  # fmt: skip


def test_rows_stay_where_a_cache_holds_more_than_keys_and_values():
    """A state of its own would keep the rows that leave."""
    policy = stirred_policy("falcon_h1", **FALCON_H1)
    uniforms = uniforms_for(1, 6, 12)
    uniforms[0, :4, 0] = 1e-9  # the stop token, at once

    sequences, said = policy.generate(prompts_for(PROMPTS, 1), uniforms, temperature=1.0, places=[0])

    assert sequences.ended[0, :4].all()
    assert sequences.response_mask[0, 4:].sum() > 2
    mask = sequences.response_mask
    learned = policy.evaluate(sequences, temperature=1.0, places=[0]).logprobs.detach()
    assert_close(said.logprobs[mask], learned[mask], atol=1e-5, rtol=0)


def test_a_layer_of_a_cache_that_nothing_was_written_into_loses_no_rows():
    layer = RoomyLayer(room=4)

    layer.batch_select_indices(torch.tensor([0]))

    assert not layer.is_initialized
