"""Prompts with responses as the tokens that a language model learns from, and those that are beyond its context."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple, Self

from transformers import PreTrainedTokenizerBase

from ppo_tune.config.tasks import TooLong
from ppo_tune.data.chats import Chat, has_turns
from ppo_tune.errors import DataError
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

    prompts: list[str]
    examples: list[Example]
    notes: tuple[str, ...] = ()


def tokenize_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]) -> list[Example]:
    """The tokens of prompts with their responses and the end after them; of all pairs or none a conversation.

    Raises:
        ModelError: If they are conversations, and there is no chat template, or it fails.
    """
    if has_turns(prompt for prompt, _ in pairs):
        return [Example.of(*learned_ids(tokenizer, prompt, response)) for prompt, response in pairs]
    found: list[Example] = []
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[start : start + PAIRS_AT_ONCE]
        prompts = tokenize(tokenizer, [prompt for prompt, _ in part])
        responses = tokenizer([response for _, response in part], add_special_tokens=False)["input_ids"]
        found += [
            Example.of([*p, *r, tokenizer.eos_token_id], [False] * len(p) + [True] * (len(r) + 1))
            for p, r in zip(prompts, responses, strict=True)
        ]
    return found


def within_context(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    examples: Sequence[Example],
    limit: int | None,
    too_long: TooLong,
) -> Within:
    """The examples of at most so many tokens, and what is left of the others.

    Args:
        tokenizer: The tokenizer of the pairs.
        pairs: Prompts with responses.
        examples: Their tokens.
        limit: The model's context; None where it has no limit.
        too_long: What becomes of longer ones. Cut, a text loses the beginning of its prompt, a conversation its first
            turns; where a response alone is too long, it is dropped.

    Raises:
        DataError: If one is longer and `too_long` says to refuse it, or fewer than two are left.
    """
    prompts = [prompt for prompt, _ in pairs]
    longer = [limit is not None and len(example.ids) > limit for example in examples]
    if limit is None or not any(longer):
        return Within(prompts, list(examples))
    n_longer, first = sum(longer), next(compress(prompts, longer))
    if too_long == "refuse":
        raise DataError(
            f"`tokens <= {limit}`, the model's context, must hold for a prompt with its response, but got "
            f"{max(len(ids) for ids, _ in examples)}; {n_longer:,} of {len(pairs):,} examples are longer, the first "
            f"begins {first[:40]!r}; take too_long: drop or cut"
        )
    kept: dict[int, Example] = {i: example for i, example in enumerate(examples) if not longer[i]}
    n_whole = len(kept)
    for i in compress(range(len(pairs)), longer):
        cut = _cut(tokenizer, *pairs[i], examples[i], limit) if too_long == "cut" else None
        if cut is not None:
            kept[i] = cut
    if len(kept) < 2:
        raise DataError(
            f"at least 2 prompts with responses within the model's context, {limit} tokens, are needed, but got "
            f"{len(kept)} of {len(pairs)}; take shorter ones or a model with a longer context"
        )
    counts = {
        "lost the beginning of their prompt": len(kept) - n_whole,
        "were dropped": len(pairs) - len(kept),
    }
    done = " and ".join(f"{n:,} {what}" for what, n in counts.items() if n)
    note = f"{n_longer:,} of {len(pairs):,} examples have more than {limit:,} tokens, the model's context: {done}"
    order = sorted(kept)
    return Within([prompts[i] for i in order], [kept[i] for i in order], (note,))


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
