"""Between texts and tensors."""

from dataclasses import replace

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from ppo_tune.models import decode_responses, encode_prompts
from ppo_tune.models.text import pad_left, tokenize
from tests.conftest import make_sequences, tiny_tokenizer


def ending_tokenizer():
    """One that adds a stop token to every text, as some do."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 0)]
    )
    return tokenizer


def test_prompts_are_padded_on_the_left():
    prompts = encode_prompts(tiny_tokenizer(), ["d", "a b c"])

    assert prompts.mask.tolist() == [[False, False, True], [True, True, True]]
    assert prompts.ids[prompts.mask].tolist() == [5, 2, 3, 4]


def test_padding_needs_no_pad_token():
    prompts = encode_prompts(tiny_tokenizer(pad_token=None), ["d", "a b c"])

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


def test_no_texts_are_no_rows():
    assert tokenize(tiny_tokenizer(), []) == []


@pytest.mark.parametrize("pad_token", ["<pad>", "<eos>", None])
def test_a_responses_text_has_neither_stop_token_nor_padding(pad_token):
    sequences = make_sequences([[5]] * 3, [[2, 3, 0], [4], [0]])[0]

    texts = decode_responses(tiny_tokenizer(pad_token=pad_token), sequences)

    assert texts == ["a b", "c", ""]


def test_what_stands_at_padding_is_not_decoded():
    sequences = make_sequences([[5]] * 2, [[2, 3, 4], [4, 0]])[0]
    sequences.response_ids[~sequences.response_mask] = 9

    assert decode_responses(tiny_tokenizer(), sequences) == ["a b c", "c"]


def test_a_stop_token_that_the_tokenizer_takes_for_a_word_is_not_part_of_the_text():
    cut_off = make_sequences([[5]], [[2, 3, 4]])[0]
    ended = replace(cut_off, ended=torch.tensor([True]))  # by token 4, which the model names as a stop token

    assert decode_responses(tiny_tokenizer(), ended) == ["a b"]
    assert decode_responses(tiny_tokenizer(), cut_off) == ["a b c"]


def test_one_row_of_sequences_is_that_row_of_every_field():
    sequences = make_sequences([[5], [6, 7]], [[2, 0], [3, 4, 8]], places=2)

    row = sequences[1, 1]

    assert row.prompts.ids.tolist() == [6, 7]
    assert row.prompts.mask.tolist() == [True, True]
    assert row.response_ids.tolist() == [3, 4, 8]
    assert row.response_mask.tolist() == [True, True, True]
    assert not row.ended
