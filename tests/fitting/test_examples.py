"""Examples beyond a model's context: refused with the ways out, dropped, or cut, and always counted."""

import math
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.config.fitting import SFTConfig
from ppo_tune.data.chats import Chat
from ppo_tune.errors import DataError
from ppo_tune.fitting.examples import parts_of, tokenize_pairs, whole, within_context
from ppo_tune.fitting.sft import fit_sft
from tests.conftest import save_tiny_model, tiny_model, tiny_tokenizer
from tests.tokenizers_of import CHATML, KINDS

PAIRS = [("a b c d e", "f g"), ("a b", "c"), ("a", "b c d e f g h i"), ("k l m a b c", "d")]
LIMIT = 6
"""Tokens, the end after the response included: of these pairs all but the second are longer."""


def test_what_is_within_stays_as_it_is() -> None:
    tokenizer = tiny_tokenizer()
    examples = tokenize_pairs(tokenizer, PAIRS)

    for limit in (10, None):
        found = within_context(tokenizer, PAIRS, examples, whole(limit), "refuse")

        assert (found.prompts, found.examples, found.notes) == ([p for p, _ in PAIRS], examples, ())


def test_cut_a_prompt_loses_its_beginning_and_a_response_that_is_too_long_alone_is_dropped() -> None:
    tokenizer = tiny_tokenizer()

    found = within_context(tokenizer, PAIRS, tokenize_pairs(tokenizer, PAIRS), whole(LIMIT), "cut")

    assert [tokenizer.decode([*ids]) for ids, _ in found.examples] == [
        "c d e f g <eos>",
        "a b c <eos>",
        "m a b c d <eos>",
    ]
    assert [sum(learned) for _, learned in found.examples] == [3, 2, 2]
    assert found.prompts == [PAIRS[0][0], PAIRS[1][0], PAIRS[3][0]]
    assert found.notes == (
        "3 of 4 examples have more than 6 tokens, the model's context: 2 lost the beginning of their prompt and 1 were "
        "dropped",
    )


def test_dropped_they_are_counted() -> None:
    tokenizer, pairs = tiny_tokenizer(), [*PAIRS, ("b", "c")]

    found = within_context(tokenizer, pairs, tokenize_pairs(tokenizer, pairs), whole(LIMIT), "drop")

    assert found.prompts == ["a b", "b"]
    assert found.notes == ("3 of 5 examples have more than 6 tokens, the model's context: 3 were dropped",)


def test_where_fewer_than_two_are_left_it_is_said() -> None:
    tokenizer = tiny_tokenizer()

    with pytest.raises(DataError) as caught:
        within_context(tokenizer, PAIRS, tokenize_pairs(tokenizer, PAIRS), whole(LIMIT), "drop")

    assert str(caught.value) == (
        "at least 2 examples within the model's context, 6 tokens, are needed, but got 1 of 4; take shorter ones "
        "or a model with a longer context"
    )


def test_refused_the_first_is_named_with_the_ways_out() -> None:
    tokenizer = tiny_tokenizer()

    with pytest.raises(DataError) as caught:
        within_context(tokenizer, PAIRS, tokenize_pairs(tokenizer, PAIRS), whole(LIMIT), "refuse")

    assert str(caught.value) == (
        "`tokens <= 6`, the model's context, must hold for a prompt with its response, but got 8; 3 of 4 examples are "
        "longer, the first begins 'a b c d e'; take too_long: drop or cut (--too-long)"
    )


def test_refused_the_first_is_named_by_its_place_where_that_is_known() -> None:
    tokenizer, places = tiny_tokenizer(), [f"a.jsonl:{line}" for line in range(1, 5)]

    with pytest.raises(
        DataError, match=r"^a.jsonl:2: .* but got 10; 2 of 3 examples are longer; take too_long"
    ):
        within_context(
            tokenizer, PAIRS[1:], tokenize_pairs(tokenizer, PAIRS[1:]), whole(LIMIT), "refuse", places
        )


def test_a_conversation_loses_its_first_turns_and_keeps_its_system_message() -> None:
    tokenizer = KINDS["byte level"]()
    tokenizer.chat_template = CHATML
    talk = [("system", "be kind"), ("user", "one " * 20), ("assistant", "two"), ("user", "three")]
    long = Chat([{"role": role, "content": text} for role, text in talk])
    short = Chat([talk_turn for talk_turn in long.turns if "one" not in talk_turn["content"]][-1:])
    pairs: list[tuple[str, str]] = [(long, "four"), (short, "four"), (short, "five " * 60)]
    examples = tokenize_pairs(tokenizer, pairs)
    limit = len(examples[0].ids) - 5

    found = within_context(tokenizer, pairs, examples, whole(limit), "cut")

    text = str(tokenizer.decode([*found.examples[0].ids]))
    assert "be kind" in text and "three" in text and "four" in text
    assert "one" not in text and "two" not in text
    assert len(found.examples) == 2
    assert all(len(ids) <= limit for ids, _ in found.examples)


@pytest.mark.parametrize(("too_long", "n"), [("drop", 20), ("cut", 21)])
def test_a_fit_learns_from_what_is_left_and_notes_it(too_long: str, n: int, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    pairs = [(f"a {word}", "b") for word in "cdefghijkl" * 2] + [(" ".join("a" * 31), "b c")]
    config = SFTConfig.model_validate({"too_long": too_long, "epochs": 1})

    result = fit_sft(pairs, tmp_path / "out", config, base=str(base))

    assert result.examples + result.heldout_examples == n
    assert result.notes[0].startswith("1 of 21 examples have more than 32 tokens, the model's context: 1 ")
    assert math.isfinite(result.heldout_nats_per_token)


def test_pairs_are_tokenized_in_parts_to_the_same_tokens_of_five_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = tiny_tokenizer()
    whole = tokenize_pairs(tokenizer, PAIRS)
    monkeypatch.setattr("ppo_tune.fitting.examples.PAIRS_AT_ONCE", 3)

    assert tokenize_pairs(tokenizer, PAIRS) == whole
    assert whole[1].ids.tolist() == [*tokenizer("a b c")["input_ids"], tokenizer.eos_token_id]
    assert whole[1].learned == bytes([0, 0, 1, 1])
    assert whole[1].ids.itemsize == 4


@pytest.fixture
def short() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder–decoder that reads five tokens and writes four, and a tokenizer that ends every text."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 0)])
    return tiny_model("bart", max_position_embeddings=5), tokenizer


def test_an_encoder_reads_the_prompt_with_its_end_and_the_decoder_learns_the_response(
    short: tuple[PreTrainedModel, PreTrainedTokenizerBase],
) -> None:
    (example,) = tokenize_pairs(short[1], [("a b", "c d")], closed=True)

    assert short[1].decode([*example.ids]) == "a b <eos> c d <eos>"
    assert [*example.learned] == [0, 0, 0, 1, 1, 1]


def test_prompt_and_response_have_a_context_each(
    short: tuple[PreTrainedModel, PreTrainedTokenizerBase],
) -> None:
    model, tokenizer = short
    pairs = [("a b c d e f", "g"), ("a", "b c d e f g"), ("k l", "m"), ("a b c d", "e f g h")]
    examples = tokenize_pairs(tokenizer, pairs, closed=True)

    found = within_context(tokenizer, pairs, examples, parts_of(model, tokenizer), "cut")

    assert [tokenizer.decode([*ids]) for ids, _ in found.examples] == [
        "c d e f <eos> g <eos>", "k l <eos> m <eos>", "a b c d <eos> e f g h <eos>"
    ]  # fmt: skip
    assert found.notes == (
        "1 of 4 examples have more than 5 tokens, the model's context: 1 lost the beginning of their prompt",
        "1 of 4 examples have more than 5 tokens, the model's context: 1 were dropped",
    )
    with pytest.raises(DataError, match=r"must hold for a prompt, but got 7; 1 of 4 examples"):
        within_context(tokenizer, pairs, examples, parts_of(model, tokenizer), "refuse")
    with pytest.raises(DataError, match=r"must hold for a response with the end after it, but got 7; 1 of 3"):
        within_context(tokenizer, pairs[1:], examples[1:], parts_of(model, tokenizer), "refuse")
