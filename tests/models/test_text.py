# mypy: ignore-errors
"""Between texts and tensors."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from ppo_tune.models import decode_responses
from ppo_tune.models.text import closing_token, pad_left, pad_right, tokenize
from tests.conftest import make_sequences, tiny_tokenizer
from tests.tokenizers_of import KINDS, TEXTS

BROKEN = "\N{REPLACEMENT CHARACTER}"
VISIBLE = st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"], exclude_characters=BROKEN)


@cache
def made(kind: str):
    return KINDS[kind]()


def ending_tokenizer():
    """One that adds a stop token to every text, as some do."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 0)]
    )
    return tokenizer


def test_prompts_are_padded_on_the_left():
    prompts = pad_left(tokenize(tiny_tokenizer(), ["d", "a b c"]))

    assert prompts.mask.tolist() == [[False, False, True], [True, True, True]]
    assert prompts.ids[prompts.mask].tolist() == [5, 2, 3, 4]


def test_padding_needs_no_pad_token():
    prompts = pad_left(tokenize(tiny_tokenizer(pad_token=None), ["d", "a b c"]))

    assert prompts.ids[prompts.mask].tolist() == [5, 2, 3, 4]


def test_a_row_of_the_longest_length_has_no_padding():
    prompts = pad_left([[7, 8], [9, 9]])

    assert prompts.ids.tolist() == [[7, 8], [9, 9]]
    assert prompts.mask.all()


def test_a_tokenizer_that_ends_every_text_does_not_end_a_prompt():
    assert tokenize(ending_tokenizer(), ["a b", "c"]) == [[2, 3], [4]]


def test_a_stop_token_that_the_user_wrote_stays_in_the_prompt():
    assert tokenize(tiny_tokenizer(), ["a <eos> b", "c <eos>"]) == [[2, 0, 3], [4, 0]]


def test_a_stop_token_that_the_user_wrote_stays_even_where_the_tokenizer_adds_one():
    rows = tokenize(ending_tokenizer(), ["c <eos>"])

    assert rows[0][:2] == [4, 0]


def test_what_an_encoder_reads_keeps_the_token_that_ends_it():
    assert tokenize(ending_tokenizer(), ["a b", "c"], closed=True) == [[2, 3, 0], [4, 0]]
    assert tokenize(tiny_tokenizer(), ["a b"], closed=True) == [[2, 3]]
    assert (closing_token(ending_tokenizer()), closing_token(tiny_tokenizer())) == (0, None)


def test_no_texts_are_no_rows():
    assert tokenize(tiny_tokenizer(), []) == []


@pytest.mark.parametrize("pad_token", ["<pad>", "<eos>", None])
def test_a_responses_text_has_neither_stop_token_nor_padding(pad_token):
    sequences = make_sequences([[5]] * 3, [[2, 3, 0], [4], [0]])[0]

    texts = decode_responses(tiny_tokenizer(pad_token=pad_token), sequences)

    assert texts == [" a b", " c", ""]


def test_what_stands_at_padding_is_not_decoded():
    sequences = make_sequences([[5]] * 2, [[2, 3, 4], [4, 0]])[0]
    sequences.response_ids[~sequences.response_mask] = 9

    assert decode_responses(tiny_tokenizer(), sequences) == [" a b c", " c"]


def test_a_stop_token_that_the_tokenizer_takes_for_a_word_is_not_part_of_the_text():
    cut_off = make_sequences([[5]], [[2, 3, 4]])[0]
    ended = replace(cut_off, ended=torch.tensor([True]))  # by token 4, which the model names as a stop token

    assert decode_responses(tiny_tokenizer(), ended) == [" a b"]
    assert decode_responses(tiny_tokenizer(), cut_off) == [" a b c"]


kinds = pytest.mark.parametrize("kind", KINDS)


def parted(tokenizer, text: str, n: int) -> tuple[str, str, list[int]]:
    """A text cut after n of its tokens: the prompt and the response as texts, and the response's tokens."""
    ids = tokenizer(text)["input_ids"]
    (response,) = decode_responses(tokenizer, make_sequences([ids[:n]], [ids[n:]])[0])
    return tokenizer.decode(ids[:n], skip_special_tokens=True), response, ids[n:]


@kinds
def test_prompt_and_response_joined_are_the_text_as_written(kind):
    tokenizer = KINDS[kind]()
    prompt, text = "where is my order ?", "where is my order ? sorry for the delay"

    _, response, _ = parted(tokenizer, text, len(tokenizer(prompt)["input_ids"]))

    assert prompt + response == text


words = st.lists(st.sampled_from(" ".join(TEXTS).split()), min_size=2, max_size=8).map(" ".join)


@kinds
@given(text=words, where=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_what_is_judged_becomes_the_tokens_that_were_sampled_again(kind, text, where):
    tokenizer = made(kind)
    n = 1 + round(where * (len(tokenizer(text)["input_ids"]) - 2))
    prompt, response, sampled = parted(tokenizer, text, n)

    judged = prompt.rstrip(BROKEN) + response
    assert judged == text
    assert tokenizer(judged)["input_ids"][n:] == sampled


@pytest.mark.parametrize("kind", ["byte level", "byte fallback"])
@given(text=st.text(VISIBLE, min_size=2))
@settings(max_examples=40, deadline=None)
def test_a_character_whose_bytes_stand_on_both_sides_is_the_responses(kind, text):
    tokenizer = made(kind)
    whole = tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)

    for n in range(1, len(tokenizer(text)["input_ids"])):
        prompt, response, _ = parted(tokenizer, text, n)
        assert prompt.rstrip(BROKEN) + response == whole


def test_each_row_is_decoded_after_its_own_prompt():
    tokenizer = KINDS["metaspace"]()
    rows = [tokenizer(text)["input_ids"] for text in ("ok .", "where is my order ?", "ok .")]
    answers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("sure", "call us", "late")]

    assert decode_responses(tokenizer, make_sequences(rows, answers)[0]) == [" sure", " call us", " late"]


def test_special_tokens_of_prompt_and_response_are_no_text():
    tokenizer = KINDS["byte level"]()
    prompt = tokenizer("<|im_start|>ok<|im_end|>")["input_ids"]
    response = tokenizer(" sure<|im_start|> late")["input_ids"]

    assert decode_responses(tokenizer, make_sequences([prompt], [response])[0]) == [" sure late"]


def test_a_prompt_that_writes_the_token_which_begins_a_text_gets_no_second_one():
    tokenizer = KINDS["metaspace"]()

    once, by_hand, twice = tokenize(tokenizer, ["ok .", "<s>ok .", "<s><s>ok ."])

    assert [row.count(tokenizer.bos_token_id) for row in (once, by_hand, twice)] == [1, 1, 3]
    assert tokenizer.decode(by_hand, skip_special_tokens=True) == "ok ."


def test_one_row_of_sequences_is_that_row_of_every_field():
    sequences = make_sequences([[5], [6, 7]], [[2, 0], [3, 4, 8]], places=2)

    row = sequences[1, 1]

    assert row.prompts.ids.tolist() == [6, 7]
    assert row.prompts.mask.tolist() == [True, True]
    assert row.response_ids.tolist() == [3, 4, 8]
    assert row.response_mask.tolist() == [True, True, True]
    assert not row.ended


def test_texts_are_padded_on_the_right_and_an_empty_one_is_a_token_of_padding() -> None:
    ids, mask = pad_right([[7, 8, 9], [], [5]], torch.device("cpu"), padding=3)

    assert ids.tolist() == [[7, 8, 9], [3, 3, 3], [5, 3, 3]]
    assert mask.sum(-1).tolist() == [3, 1, 1]
    assert mask[:, 0].all()
