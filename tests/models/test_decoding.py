# mypy: ignore-errors
"""Rows that are finished leave where they can, and what is left says the same; a pass that fails leaves nothing."""

import pytest
import torch
from torch.testing import assert_close
from transformers import MistralConfig, MistralForCausalLM

from ppo_tune.config.model import ModelConfig
from ppo_tune.models import Policy
from ppo_tune.models.cache import RoomyLayer
from ppo_tune.models.causal import CausalLayout
from tests.conftest import (
    FAMILIES,
    make_sequences,
    prompts_for,
    stir,
    stirred_policy,
    tiny_tokenizer,
    uniforms_for,
)

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9], [3, 3], [9], [4, 5, 6]]


def assert_same(first, second) -> None:
    (sequences, said), (expected, expected_said) = first, second
    assert torch.equal(sequences.response_ids, expected.response_ids)
    assert torch.equal(sequences.response_mask, expected.response_mask)
    assert torch.equal(sequences.ended, expected.ended)
    for ours, theirs in zip(vars(said).values(), vars(expected_said).values(), strict=True):
        assert_close(ours, theirs, atol=1e-5, rtol=0)


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

    assert policy.layout._heard is None


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
    monkeypatch.setattr("ppo_tune.models.decoding.KEPT", 0.0)  # nobody leaves
    assert_same(
        (sequences, said), policy.generate(prompts_for(PROMPTS, 1), uniforms, temperature=1.0, places=[0])
    )


def test_a_window_moves_on_in_rows_that_stay_while_others_leave():
    config = MistralConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, max_position_embeddings=32, sliding_window=4, initializer_range=0.2,
        bos_token_id=0, eos_token_id=0, pad_token_id=15,
    )  # fmt: skip
    torch.manual_seed(0)
    policy = stir(Policy(MistralForCausalLM(config), tiny_tokenizer(), ModelConfig(lora_rank=4)))
    uniforms = uniforms_for(1, 6, 12)
    uniforms[0, :3, 0] = 1e-9  # the stop token, at once

    sequences, said = policy.generate(prompts_for(PROMPTS, 1), uniforms, temperature=1.0, places=[0])

    mask = sequences.response_mask
    assert mask.sum(-1).max() > config.sliding_window
    learned = policy.evaluate(sequences, temperature=1.0, places=[0]).logprobs.detach()
    assert_close(said.logprobs[mask], learned[mask], atol=1e-5, rtol=0)


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
