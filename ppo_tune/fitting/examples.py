"""Prompts with responses as the tokens that a language model learns from, and those that are beyond its context."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from transformers import PreTrainedTokenizerBase

from ppo_tune.config.tasks import TooLong
from ppo_tune.data.chats import Chat, has_turns
from ppo_tune.data.row_file import RowFile, View
from ppo_tune.fitting.lengths import Words
from ppo_tune.models.chat import learned_ids, prompt_ids, shortened
from ppo_tune.models.text import tokenize


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


def tokenize_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]) -> RowFile[Example]:
    """The tokens of prompts with their responses and the end after them; of all pairs or none a conversation.

    Raises:
        ModelError: If they are conversations, and there is no chat template, or it fails.
    """
    found = RowFile(Example.packed, Example.unpacked)
    chat = has_turns(prompt for prompt, _ in pairs)
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[start : start + PAIRS_AT_ONCE]
        for example in _conversations(tokenizer, part) if chat else _texts(tokenizer, part):
            found.append(example)
    return found


def _conversations(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]) -> Iterator[Example]:
    return (Example.of(*learned_ids(tokenizer, prompt, response)) for prompt, response in pairs)


def _texts(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]) -> Iterator[Example]:
    prompts = tokenize(tokenizer, [prompt for prompt, _ in pairs])
    responses = tokenizer([response for _, response in pairs], add_special_tokens=False)["input_ids"]
    for p, r in zip(prompts, responses, strict=True):
        yield Example.of([*p, *r, tokenizer.eos_token_id], [False] * len(p) + [True] * (len(r) + 1))


def within_context(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    examples: Sequence[Example],
    limit: int | None,
    too_long: TooLong,
    places: Sequence[str] = (),
) -> Within:
    """The examples of at most so many tokens, and what is left of the others.

    Args:
        tokenizer: The tokenizer of the pairs.
        pairs: Prompts with responses.
        examples: Their tokens.
        limit: The model's context; None where it has no limit.
        too_long: What becomes of longer ones. Cut, a text loses the beginning of its prompt, a conversation its first
            turns; where a response alone is too long, it is dropped.
        places: File and line of each pair, for messages.

    Raises:
        DataError: If one is longer and `too_long` says to refuse it, or fewer than two are left.
    """
    prompts = View(pairs, _prompt)
    lengths = array("q", (len(ids) for ids, _ in examples))
    longer = [i for i, length in enumerate(lengths) if limit is not None and length > limit]
    if limit is None or not longer:
        return Within(prompts, examples)
    first, words = longer[0], Words(limit, "examples", "a prompt with its response")
    if too_long == "refuse":
        place = places[first] if places else None
        raise words.refusal(lengths[first], len(longer), len(pairs), prompts[first], place)
    shorter: RowFile[Example] = RowFile(Example.packed, Example.unpacked)
    kept = array("q")
    n_cut = 0
    for i, example in enumerate(examples):
        if lengths[i] > limit:
            cut = _cut(tokenizer, *pairs[i], example, limit) if too_long == "cut" else None
            if cut is None:
                continue
            example, n_cut = cut, n_cut + 1
        kept.append(i)
        shorter.append(example)
    if len(kept) < 2:
        raise words.too_few(len(kept), len(pairs))
    note = words.note(len(pairs), len(kept), n_cut)
    return Within(View(pairs, _prompt, kept), shorter, (note,))


def _prompt(pair: tuple[str, str]) -> str:
    return pair[0]


def _cut(
    tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, example: Example, limit: int
) -> Example | None:
    """An example whose prompt has lost its beginning, of at most so many tokens; None if no prompt would be left."""
    if isinstance(prompt, Chat):
        room = limit - len(example.ids) + len(prompt_ids(tokenizer, [prompt], chat=True)[0])
        shorter = shortened(tokenizer, prompt, room, chat=True)
        cut = None if shorter is None else Example.of(*learned_ids(tokenizer, shorter[0], response))
        return cut if cut is not None and len(cut.ids) <= limit else None
    begin = example.ids[:1] == [tokenizer.bos_token_id]
    start = begin + len(example.ids) - limit
    if start >= example.learned.index(1):
        return None
    return Example(
        example.ids[:begin] + example.ids[start:], example.learned[:begin] + example.learned[start:]
    )
