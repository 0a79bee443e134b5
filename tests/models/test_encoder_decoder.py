"""What an encoder–decoder has that a decoder has not: a start token, two lengths, a head that may be scaled."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from ppo_tune.config.model import ModelConfig
from ppo_tune.data.model_folders import OPENING
from ppo_tune.errors import ModelError
from ppo_tune.models import Policy, Prompts, Sequences, load_policy
from ppo_tune.models.encoder_decoder import EncoderDecoderLayout, on_the_left, opening_tokens
from ppo_tune.models.loading import load_language_model
from ppo_tune.models.lora import LowRank
from ppo_tune.models.text import pad_left
from tests.conftest import (
    ENCODER_DECODERS,
    PAD_ID,
    prompts_for,
    save_tiny_model,
    tiny_model,
    tiny_policy,
    tiny_tokenizer,
    uniforms_for,
)


def layout_of(family: str = "t5", **changes: Any) -> EncoderDecoderLayout:
    return EncoderDecoderLayout(tiny_model(family, **changes).eval(), tiny_tokenizer(), torch.float32)


def one(prompt: list[int], response: list[int]) -> Sequences:
    ids = torch.tensor([response])
    return Sequences(pad_left([prompt]), ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros(1).bool())


def test_prompts_are_turned_to_the_left_and_keep_their_order() -> None:
    turned = on_the_left(pad_left([[5], [2, 3, 4], [7, 8]]))

    assert turned.mask.tolist() == [[True, False, False], [True, True, True], [True, True, False]]
    assert [row[keep].tolist() for row, keep in zip(turned.ids, turned.mask, strict=True)] == [
        [5], [2, 3, 4], [7, 8]
    ]  # fmt: skip


@pytest.mark.parametrize("family", ENCODER_DECODERS)
@torch.no_grad()
def test_the_loss_that_transformers_computes_is_the_mean_of_our_log_probabilities(family: str) -> None:
    layout = layout_of(family)
    prompt, response = [2, 3, 4, 0], [5, 6, 7, 0]

    said = layout.teacher_force(one(prompt, response)[None]).logits[0, 0].log_softmax(-1)

    loss = layout.model(input_ids=torch.tensor([prompt]), labels=torch.tensor([response])).loss
    assert_close(-said[range(4), response].mean(), loss, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_value_head_reads_the_decoder_before_a_tied_head_scales_it() -> None:
    layout = layout_of("t5")
    layout.listen()

    logits, hidden = layout.teacher_force(one([2, 3], [5, 6])[None])

    assert hidden is not None
    head: Any = layout.model.get_output_embeddings()
    assert layout.model.config.tie_word_embeddings
    assert_close(head(hidden * 16**-0.5), logits, atol=1e-5, rtol=0)
    assert (head(hidden) - logits).abs().max() > 0.1


@torch.no_grad()
def test_a_token_that_the_authors_force_after_the_start_is_given_and_not_said() -> None:
    """As mBART's language or BART's beginning of a text: sampled, it would be another token."""
    model = tiny_model("bart").eval()
    model.generation_config.forced_bos_token_id = 9
    layout = EncoderDecoderLayout(model, tiny_tokenizer(), torch.float32)

    said = layout.teacher_force(one([2, 3], [5, 6])[None]).logits[0, 0]

    written = torch.tensor([[0, 9, 5]])
    assert layout.opening == [0, 9]
    assert_close(
        said,
        model(input_ids=torch.tensor([[2, 3]]), decoder_input_ids=written).logits[0, 1:],
        atol=1e-5,
        rtol=0,
    )
    state = layout.begin(pad_left([[2, 3]]), 2)
    first = state.step().logits[0]
    state.append(torch.tensor([5]))
    assert_close(torch.stack([first, state.step().logits[0]]), said, atol=1e-5, rtol=0)


def test_a_model_that_does_not_say_how_its_decoder_begins_is_refused() -> None:
    model = tiny_model("bart", decoder_start_token_id=None)
    model.generation_config.decoder_start_token_id = None

    with pytest.raises(
        ModelError, match=r"\(BartForConditionalGeneration\) does not say with which token its decoder"
    ):
        opening_tokens(model)


def test_prompts_have_the_encoder_and_responses_the_decoder_to_themselves() -> None:
    layout = layout_of("bart", max_position_embeddings=16)

    assert layout.room_for_prompts(16) == 16
    assert layout_of("t5").room_for_prompts(10_000) is None
    with pytest.raises(ModelError, match=r"ppo\.max_new_tokens: must be at most 16, .* but got 17; lower it"):
        layout.room_for_prompts(17)


@torch.no_grad()
def test_a_full_encoder_and_a_full_decoder_are_read_and_written() -> None:
    layout = layout_of("bart", max_position_embeddings=8)

    state = layout.begin(pad_left([[4] * 8]), 8)
    for _ in range(8):
        assert state.step().logits.isfinite().all()
        state.append(torch.tensor([5]))

    assert layout.teacher_force(one([4] * 8, [5] * 8)[None]).logits.isfinite().all()


def test_a_response_is_a_text_by_itself() -> None:
    ids = torch.tensor([[2, 3, 0], [4, 4, 4]])
    mask, ended = torch.ones_like(ids, dtype=torch.bool), torch.tensor([True, False])

    texts = layout_of().texts(Sequences(pad_left([[5, 6], [7]]), ids, mask, ended))

    assert texts == ["a b", "c c c"]


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_adapters_are_on_self_attention_cross_attention_and_feed_forward_of_both_ends(family: str) -> None:
    adapters = tiny_policy(family).adapters
    assert isinstance(adapters, LowRank)
    names = adapters.layers

    groups = {
        "t5": ("encoder.block.0.layer.0.SelfAttention.q", "decoder.block.1.layer.1.EncDecAttention.v",
               "decoder.block.0.layer.2.DenseReluDense.wo"),
    }.get(
        family, ("model.encoder.layers.0.self_attn.q_proj", "model.decoder.layers.1.encoder_attn.v_proj",
                 "model.decoder.layers.0.fc2"),
    )  # fmt: skip
    assert {*groups} <= {*names}
    assert len(names) == 2 * 6 + 2 * 10
    assert "lm_head" not in names


@pytest.mark.parametrize("family", ENCODER_DECODERS)
@torch.no_grad()
def test_what_a_model_samples_by_itself_is_scored_as_it_says(family: str) -> None:
    """`generate` returns the start token first, and its scores are those of the tokens behind it."""
    policy = tiny_policy(family)
    model: Any = policy.model
    prompt = torch.tensor([[2, 3, 4]])

    said = model.generate(
        input_ids=prompt, do_sample=False, num_beams=1, max_new_tokens=5, min_new_tokens=5, eos_token_id=None,
        forced_eos_token_id=None, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip

    response = said.sequences[0, 1:].tolist()
    logprobs = policy.evaluate(one([2, 3, 4], response)[None], temperature=1.0, places=[0]).logprobs[0, 0]
    distribution = torch.cat(said.logits).log_softmax(-1)
    assert_close(logprobs, distribution[range(5), response], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_response_at_the_limit_did_not_end_though_the_authors_force_an_end() -> None:
    policy = tiny_policy("bart", forced_eos_token_id=0)
    policy.stop_ids = policy.stop_ids[:0]

    sequences, _ = policy.generate(
        prompts_for([[2], [3]]), uniforms_for(1, 2, 4), temperature=1.0, places=[0]
    )

    assert not sequences.ended.any()
    assert PAD_ID not in policy.stop_ids
    assert isinstance(sequences.prompts, Prompts)


@pytest.mark.parametrize("name", OPENING)
@pytest.mark.parametrize("number", [-1, 16, "x", "3", 1.5, True, [3]])
def test_a_token_that_opens_and_is_none_is_refused_before_a_weight_is_read(
    name: str, number: Any, tmp_path: Path
) -> None:
    save_tiny_model(tmp_path, "bart")
    (tmp_path / "model.safetensors").unlink()
    said = json.loads((tmp_path / "generation_config.json").read_text(encoding="utf-8"))
    (tmp_path / "generation_config.json").write_text(json.dumps({**said, name: number}), encoding="utf-8")

    with pytest.raises(ModelError) as refused:
        load_language_model(str(tmp_path))

    assert str(refused.value) == (
        f"model {str(tmp_path)!r} (BartForConditionalGeneration): {name} must be the number of a token, 0 to 15, but "
        f"is {number!r}; correct it in its generation_config.json or config.json"
    )


def sampled(**settings: Any) -> Sequences:
    """What a BART samples whose authors say this of generation."""
    model = tiny_model("bart")
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    policy = Policy(model, tiny_tokenizer(), ModelConfig(lora_rank=4))
    return policy.generate(prompts_for([[2], [3]]), uniforms_for(1, 2, 8), temperature=1.0, places=[0])[0]


def test_what_the_authors_say_of_generation_changes_no_rollout() -> None:
    """A token's probability is that of the model alone: as in bart-large-cnn's generation_config.json, and more."""
    plain = sampled()
    cnn = sampled(min_length=56, no_repeat_ngram_size=3, num_beams=4, length_penalty=2.0, early_stopping=True)
    more = sampled(
        min_new_tokens=8, repetition_penalty=5.0, suppress_tokens=[2, 3], bad_words_ids=[[4]], top_k=1
    )

    assert plain.ended.any()
    for other in (cnn, more):
        assert torch.equal(other.response_ids, plain.response_ids)
        assert torch.equal(other.response_mask, plain.response_mask)


def test_a_response_that_is_its_end_alone_is_one_token_that_the_bias_of_the_logits_made_certain() -> None:
    """The end is also what the decoder begins with; `final_logits_bias` belongs to the model."""
    model: Any = tiny_model("bart")
    model.final_logits_bias[0, 0] = 50.0
    policy = Policy(model, tiny_tokenizer(), ModelConfig(lora_rank=4))
    assert policy.layout.stop_ids == [0] == opening_tokens(model)

    sequences, said = policy.generate(
        prompts_for([[2], [3, 4]]), uniforms_for(1, 2, 4), temperature=1.0, places=[0]
    )

    assert sequences.response_ids.tolist() == [[[0], [0]]]
    assert sequences.response_mask.all()
    assert sequences.ended.all()
    assert policy.decode(sequences[0]) == ["", ""]
    assert_close(said.logprobs, torch.zeros(1, 2, 1), atol=1e-5, rtol=0)
    assert_close(policy.reference(sequences, temperature=1.0), said.logprobs, atol=1e-6, rtol=0)


def test_a_t5_in_bfloat16_is_what_training_takes_it_for(tmp_path: Path) -> None:
    """Its authors keep part of the feed-forward in float32; a policy is examined when it is made."""
    save_tiny_model(tmp_path, "t5")

    policy = load_policy(ModelConfig(name=str(tmp_path), lora_rank=4, dtype="bfloat16"))

    assert policy.dtype == torch.bfloat16
    said = policy.evaluate(one([2, 3], [5, 6])[None], temperature=1.0, places=[0]).logprobs
    exact = tiny_policy("t5").evaluate(one([2, 3], [5, 6])[None], temperature=1.0, places=[0]).logprobs
    assert_close(said, exact, atol=0.1, rtol=0)


@torch.no_grad()
def test_dropout_and_dropped_layers_change_nothing() -> None:
    rates: dict[str, Any] = {"dropout": 0.5, "activation_dropout": 0.5, "attention_dropout": 0.5}
    layers: dict[str, Any] = {"encoder_layerdrop": 0.9, "decoder_layerdrop": 0.9}
    row = one([2, 3], [5, 6])[None]

    said = [
        tiny_policy("bart", **changes).evaluate(row, temperature=1.0, places=[0]).logprobs
        for changes in ({}, {**rates, **layers})
    ]

    assert torch.equal(*said)
