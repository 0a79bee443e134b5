"""Prompts with responses as the tokens that a language model learns from, and those that are beyond its context."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Self

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.config.tasks import TooLong
from ppo_tune.data.chats import Chat, has_turns
from ppo_tune.data.row_file import RowFile, View
from ppo_tune.fitting.lengths import Words, left_of
from ppo_tune.models.chat import learned_ids, prompt_ids, shortened
from ppo_tune.models.kinds import layout_of


class Example(NamedTuple):
    """A text to learn from, in five bytes a token: a list of numbers takes more than ten times as many.

    Attributes:
        ids: Its tokens.
        learned: 1 at those of the response, in a conversation of all that the assistant says; 0 at the others.
    """

    ids: "array[int]"
    learned: bytes

    @classmethod
    def of(cls, ids: Sequence[int], learned: Sequence[bool]) -> Self:
        """An example of these tokens."""
        return cls(array("i", ids), bytes(learned))

    def packed(self) -> bytes:
        """Its bytes, as a file holds them."""
        return self.ids.tobytes() + self.learned

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """The example again."""
        n = len(packed) // 5
        return cls(array("i", packed[: 4 * n]), packed[4 * n :])


PAIRS_AT_ONCE = 1024
"""Pairs that are tokenized together."""


@dataclass(frozen=True)
class Within:
    """Examples within a model's context.

    Attributes:
        prompts: The prompt of each, as the user gave it.
        examples: Their tokens.
        notes: How many were longer, and what became of them.
    """

    prompts: Sequence[str]
    examples: Sequence[Example]
    notes: tuple[str, ...] = ()


def tokenize_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], *, closed: bool = False
) -> RowFile[Example]:
    """The tokens of prompts with their responses and the end after them; of all pairs or none a conversation.

    Where prompts are `closed`, as encoders read them, a conversation is the prompt of its last answer.

    Raises:
        ModelError: If they are conversations, and there is no chat template, or it fails.
    """
    found = RowFile(Example.packed, Example.unpacked)
    chat = has_turns(prompt for prompt, _ in pairs)
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[start : start + PAIRS_AT_ONCE]
        if chat and not closed:
            made = _conversations(tokenizer, part)
        else:
            made = _responses(tokenizer, part, chat=chat, closed=closed)
        for example in made:
            found.append(example)
    return found


def _conversations(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]) -> Iterator[Example]:
    return (Example.of(*learned_ids(tokenizer, prompt, response)) for prompt, response in pairs)


def _responses(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], *, chat: bool, closed: bool
) -> Iterator[Example]:
    prompts = prompt_ids(tokenizer, [prompt for prompt, _ in pairs], chat=chat, closed=closed)
    responses = tokenizer([response for _, response in pairs], add_special_tokens=False)["input_ids"]
    for p, r in zip(prompts, responses, strict=True):
        yield Example.of([*p, *r, tokenizer.eos_token_id], [False] * len(p) + [True] * (len(r) + 1))


@dataclass(frozen=True)
class Part:
    """What a model's context bounds of an example.

    Attributes:
        limit: The most tokens; None for no limit.
        rule: What has so many, in words.
        tokens: How many an example has.
        closed: Whether it is the prompt alone, as an encoder reads it, or the response alone.
    """

    limit: int | None
    rule: str
    tokens: Callable[[Example], int]
    closed: bool = False


def parts_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[Part, ...]:
    """The parts of examples that a model's context bounds: the whole, or prompt and response for themselves."""
    layout = layout_of(model.config)(model, tokenizer, model.dtype)
    if not layout.closes_prompts:
        return whole(layout.room_for_responses)
    said = "a response with the end after it"
    return (
        Part(layout.room_for_prompts(1), "a prompt", lambda example: example.learned.index(1), closed=True),
        Part(layout.room_for_responses, said, lambda example: sum(example.learned), closed=True),
    )


def whole(limit: int | None) -> tuple[Part, ...]:
    """One part, prompt with response, of so many tokens at most."""
    return (Part(limit, "a prompt with its response", lambda example: len(example.ids)),)


def within_context(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    examples: Sequence[Example],
    parts: Sequence[Part],
    too_long: TooLong,
    places: Sequence[str] = (),
) -> Within:
    """The examples that a model's context bounds in no part, and what is left of the others.

    Args:
        tokenizer: The tokenizer of the pairs.
        pairs: Prompts with responses.
        examples: Their tokens.
        parts: What is bounded.
        too_long: What becomes of longer ones. Cut, a text loses the beginning of its prompt, a conversation its first
            turns; where a response alone is too long, it is dropped.
        places: File and line of each pair, for messages.

    Raises:
        DataError: If one is longer and `too_long` says to refuse it, or fewer than two are left.
    """
    found = Within(View(pairs, _prompt), examples)
    for part in parts:
        tokens = array("q", map(part.tokens, found.examples))
        if part.limit is None or max(tokens) <= part.limit:
            continue
        left = left_of(
            found.examples, found.prompts, tokens, Words(part.limit, "examples", part.rule), too_long,
            partial(_cut, tokenizer, pairs, part), RowFile(Example.packed, Example.unpacked), places,
        )  # fmt: skip
        pairs = View(pairs, numbers=left.numbers)
        places = View(places, numbers=left.numbers) if places else places
        found = Within(View(pairs, _prompt), left.rows, (*found.notes, left.note))
    return found


def _prompt(pair: tuple[str, str]) -> str:
    return pair[0]


def _cut(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    part: Part,
    number: int,
    example: Example,
) -> Example | None:
    """An example whose prompt has lost its beginning, within a part's limit; None if no prompt would be left."""
    assert part.limit is not None
    prompt, response = pairs[number]
    excess = part.tokens(example) - part.limit
    if isinstance(prompt, Chat):
        (ids,) = prompt_ids(tokenizer, [prompt], chat=True, closed=part.closed)
        shorter = shortened(tokenizer, prompt, len(ids) - excess, chat=True, closed=part.closed)
        if shorter is None:
            return None
        if part.closed:
            said = example.ids[example.learned.index(1) :]
            cut = Example.of([*shorter[1], *said], [False] * len(shorter[1]) + [True] * len(said))
        else:
            cut = Example.of(*learned_ids(tokenizer, shorter[0], response))
        return cut if part.tokens(cut) <= part.limit else None
    begin = example.ids[:1] == [tokenizer.bos_token_id]
    start = begin + excess
    if start >= example.learned.index(1):
        return None
    cut = Example(
        example.ids[:begin] + example.ids[start:], example.learned[:begin] + example.learned[start:]
    )
    return cut if part.tokens(cut) <= part.limit else None
