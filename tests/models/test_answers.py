"""Responses to prompts: in one piece or in chunks, from tensors or from texts, they are the policy's own."""

import pytest
import torch

from ppo_tune.errors import DataError, ModelError
from ppo_tune.models import decode_responses
from ppo_tune.models.answers import answer, answer_texts, check_room, draw_uniforms, encode_checked
from ppo_tune.models.memory import MemoryChunks
from ppo_tune.seeding import generator
from tests.conftest import prompts_for, stirred_policy, tiny_policy, uniforms_for

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9], [3, 3]]


@pytest.mark.parametrize("chunks", [None, MemoryChunks(rows=3), MemoryChunks(rows=1, trials=1)])
def test_chunks_change_no_answer(chunks: MemoryChunks | None) -> None:
    policy = stirred_policy(places=2)
    prompts, uniforms = prompts_for(PROMPTS, 2), uniforms_for(2, len(PROMPTS), 6)
    expected, said = policy.generate(prompts, uniforms, temperature=0.8, places=[0, 1])

    sequences, seen = answer(policy, prompts, uniforms, temperature=0.8, places=[0, 1], chunks=chunks)

    assert torch.equal(sequences.response_ids, expected.response_ids)
    assert torch.equal(sequences.response_mask, expected.response_mask)
    assert torch.equal(sequences.ended, expected.ended)
    assert torch.equal(sequences.prompts.ids, prompts.ids)
    torch.testing.assert_close(seen.logprobs, said.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.values, said.values, atol=1e-5, rtol=0)


def test_texts_are_answered_in_their_order_by_the_place_that_is_asked() -> None:
    policy = stirred_policy(places=2)
    texts = ["d", "a b c d e", "f g h", "b b"]
    uniforms = draw_uniforms(4, 6, generator(3, "a test"))
    of_both, _ = policy.generate(
        prompts_for([[5], [2, 3, 4, 5, 6], [7, 8, 9], [3, 3]], 2),
        uniforms.expand(2, -1, -1),
        temperature=1.0,
        places=[0, 1],
    )
    said = answer_texts(policy, texts, uniforms, temperature=1.0, place=1)

    assert said == decode_responses(policy.tokenizer, of_both[1])
    assert said != decode_responses(policy.tokenizer, of_both[0])


def test_uniform_numbers_are_never_zero_and_follow_from_their_generator() -> None:
    drawn = draw_uniforms(50, 40, generator(0, "a test"))

    assert drawn.shape == (50, 40)
    assert ((drawn > 0) & (drawn <= 1)).all()
    assert torch.equal(drawn, draw_uniforms(50, 40, generator(0, "a test")))


def test_a_prompt_without_room_for_a_response_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        encode_checked(tiny_policy(), ["a", "b " * 21], max_new_tokens=12)

    assert str(caught.value) == (
        "`tokens <= 20`, the model's context less max_new_tokens, must hold for a prompt, but got 21; shorten it, "
        "lower max_new_tokens, or leave it out"
    )


def test_a_prompt_with_a_token_that_the_model_does_not_know_is_refused() -> None:
    policy = tiny_policy()
    policy.tokenizer.add_tokens(["zzz"])

    with pytest.raises(ModelError, match="'zzz'"):
        answer_texts(policy, ["a zzz"], torch.full((1, 2), 0.5), temperature=1.0)


@pytest.mark.parametrize("at_once", [1, 2, 99])
@pytest.mark.parametrize(
    "texts", [["a", "b " * 21, "a zzz"], ["a zzz", "b " * 20 + "c", "b"], ["a zzz", "b"]]
)
def test_prompts_that_are_checked_in_parts_are_refused_as_together(
    texts: list[str], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tiny_policy()
    policy.tokenizer.add_tokens(["zzz"])
    monkeypatch.setattr("ppo_tune.models.answers.TEXTS_AT_ONCE", at_once)
    refused = []
    for check in (encode_checked, check_room):
        with pytest.raises((DataError, ModelError)) as caught:
            check(policy, texts, 12)
        refused.append(str(caught.value))

    assert refused[0] == refused[1]
    check_room(policy, ["a"], 12)
