"""Rows beyond a model's context: in which words they are refused or counted, and what is left of judged ones."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Generic, TypeVar

from transformers import PreTrainedTokenizerBase

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.config.tasks import TooLong
from ppo_tune.data.examples import text_file
from ppo_tune.data.row_file import RowFile, View
from ppo_tune.errors import DataError
from ppo_tune.models.chat import exchange, prompt_ids, shortened
from ppo_tune.rewards.preference import fill

Row = TypeVar("Row")

Texts = tuple[str, ...]
"""A prompt and its responses: of a pair the chosen one and the rejected one, else one."""

ROWS_AT_ONCE = 1024
"""Rows that are tokenized together."""


@dataclass(frozen=True)
class Words:
    """How messages speak of rows beyond a context.

    Attributes:
        limit: The context in tokens.
        rows: What the rows are called, in the plural.
        rule: For what the limit must hold, in words.
        way_out: What else may be done, after an `or`.
    """

    limit: int
    rows: str
    rule: str
    way_out: str = ""

    def refusal(self, n_tokens: int, n_longer: int, n_rows: int, first: str, place: str | None) -> DataError:
        """The mistake that rows are longer.

        Args:
            n_tokens: Of the first that is.
            n_longer: How many are.
            n_rows: Of how many.
            first: The prompt of the first.
            place: File and line of the first; None where that is not known.
        """
        where = f"{place}: " if place else ""
        begins = "" if place else f", the first begins {first[:40]!r}"
        return DataError(
            f"{where}`tokens <= {self.limit}`, the model's context, must hold for {self.rule}, but got {n_tokens}; "
            f"{n_longer:,} of {n_rows:,} {self.rows} are longer{begins}; take too_long: drop or cut (--too-long)"
            f"{self.way_out}"
        )

    def too_few(self, n_kept: int, n_rows: int) -> DataError:
        """The mistake that fewer than two rows are left."""
        return DataError(
            f"at least 2 {self.rows} within the model's context, {self.limit} tokens, are needed, but got {n_kept} of "
            f"{n_rows}; take shorter ones or a model with a longer context{self.way_out}"
        )

    def note(self, n_rows: int, n_kept: int, n_cut: int) -> str:
        """How many rows were longer, and what became of them."""
        counts = {"lost the beginning of their prompt": n_cut, "were dropped": n_rows - n_kept}
        done = " and ".join(f"{n:,} {what}" for what, n in counts.items() if n)
        return (
            f"{n_rows - n_kept + n_cut:,} of {n_rows:,} {self.rows} have more than {self.limit:,} tokens, the model's "
            f"context: {done}"
        )


@dataclass(frozen=True)
class Left(Generic[Row]):
    """What is left of rows of which some are beyond a context.

    Attributes:
        numbers: Which of them, in order.
        rows: They, as they stand or cut.
        note: How many were longer, and what became of them.
    """

    numbers: "array[int]"
    rows: Sequence[Row]
    note: str


def left_of(
    rows: Sequence[Row],
    prompts: Sequence[str],
    tokens: Sequence[int],
    words: Words,
    too_long: TooLong,
    cut: Callable[[int, Row], Row | None],
    kept_in: RowFile[Row],
    places: Sequence[str] = (),
) -> Left[Row]:
    """Drop or cut the rows that have more tokens than a limit, at least one.

    Args:
        rows: All of them.
        prompts: The prompt of each.
        tokens: How many each has.
        words: The limit, and how messages speak of it.
        too_long: What becomes of longer ones.
        cut: What is left of one, by its number, within the limit; None for nothing.
        kept_in: An empty file for those that are left.
        places: File and line of each, for messages.

    Raises:
        DataError: If they are to be refused, or fewer than two are left.
    """
    longer = [i for i, n in enumerate(tokens) if n > words.limit]
    if too_long == "refuse":
        place = places[longer[0]] if places else None
        raise words.refusal(tokens[longer[0]], len(longer), len(rows), prompts[longer[0]], place)
    numbers, n_cut = array("q"), 0
    for i, row in enumerate(rows):
        left: Row | None = row
        if tokens[i] > words.limit:
            left = cut(i, row) if too_long == "cut" else None
            n_cut += left is not None
        if left is not None:
            numbers.append(i)
            kept_in.append(left)
    if len(numbers) < 2:
        raise words.too_few(len(numbers), len(rows))
    return Left(numbers, kept_in, words.note(len(rows), len(numbers), n_cut))


@dataclass(frozen=True)
class TextsWithin:
    """Judged rows within a model's context.

    Attributes:
        numbers: Which of all rows.
        prompts: The prompt of each, as the user gave it.
        rows: They, some with the end of their prompt alone.
        notes: How many were longer, and what became of them.
    """

    numbers: Sequence[int]
    prompts: Sequence[str]
    rows: Sequence[Texts]
    notes: tuple[str, ...] = ()


class TextLengths:
    """How many tokens judged rows take: those that a reward model reads, or that the base needs to answer the prompt.

    Args:
        tokenizer: Of both models.
        config: The template, and the length of the base's responses.
        chat: Whether prompts are conversations.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, config: RewardTrainingConfig, *, chat: bool
    ) -> None:
        self._tokenizer, self._config, self._chat = tokenizer, config, chat

    def read(self, rows: Sequence[Texts]) -> list[int]:
        """Tokens of the longest text of each of some rows."""
        texts = [(prompt, response) for prompt, *responses in rows for response in responses]
        found = iter(self._tokens(texts))
        return [max(islice(found, len(row) - 1)) for row in rows]

    def answered(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of each of some prompts with a response of the base."""
        ids = prompt_ids(self._tokenizer, prompts, chat=self._chat)
        return [len(row) + self._config.max_new_tokens for row in ids]

    def needed(self, rows: Sequence[Texts]) -> list[int]:
        """The larger of both."""
        read, answered = self.read(rows), self.answered([prompt for prompt, *_ in rows])
        return [max(both) for both in zip(read, answered, strict=True)]

    def cut(self, row: Texts, limit: int) -> Texts | None:
        """A row with the end of its prompt, the same for all responses; None if none would be left."""
        prompt, *responses = row
        (ids,) = prompt_ids(self._tokenizer, [prompt], chat=self._chat)
        room, (needed,) = len(ids), self.needed([row])
        while needed > limit:  # once, but where a shorter text is of more tokens than was left of it
            room -= needed - limit
            found = shortened(self._tokenizer, prompt, room, chat=self._chat) if room > 0 else None
            if found is None:
                return None
            row = (found[0], *responses)
            (needed,) = self.needed([row])
        return row

    def _tokens(self, texts: Sequence[tuple[str, str]]) -> list[int]:
        if self._chat:
            whole = [exchange(self._tokenizer, p, r.removeprefix(" "), asked_by="reward") for p, r in texts]
        else:
            whole = [fill(self._config.template, *text) for text in texts]
        rows = self._tokenizer(whole, add_special_tokens=not self._chat)["input_ids"]
        end = not self._chat and self._tokenizer.eos_token_id is not None
        return [len(row) + end for row in rows]


def texts_within(
    rows: Sequence[Texts],
    lengths: TextLengths,
    limit: int | None,
    config: RewardTrainingConfig,
    places: Sequence[str] = (),
) -> TextsWithin:
    """Judged rows whose texts and whose prompt with an answer of the base have so many tokens at most.

    Args:
        rows: Some.
        lengths: Measures them.
        limit: The model's context; None where it has no limit.
        config: What becomes of longer ones. Cut, a prompt loses its beginning, a conversation its first turns, the same
            for both responses of a pair; where a response alone is too long, the row is dropped.
        places: File and line of each, for messages.

    Raises:
        DataError: If one is longer and is to be refused, or fewer than two are left.
    """
    prompts: Sequence[str] = View(rows, itemgetter(0))
    if limit is None:
        return TextsWithin(range(len(rows)), prompts, rows)
    needed = array("q", _in_parts(lengths.needed, rows))
    first = next((rows[i] for i, tokens in enumerate(needed) if tokens > limit), None)
    if first is None:
        return TextsWithin(range(len(rows)), prompts, rows)
    words = _words(lengths.read([first])[0] > limit, limit, config)
    left = left_of(
        rows, prompts, needed, words, config.too_long, lambda _, row: lengths.cut(row, limit), text_file(),
        places,
    )  # fmt: skip
    return TextsWithin(left.numbers, View(prompts, numbers=left.numbers), left.rows, (left.note,))


def _words(by_text: bool, limit: int, config: RewardTrainingConfig) -> Words:
    """How to speak of rows of which the first that is too long is so by its text, or by the base's answer."""
    if by_text:
        return Words(limit, "rows", "a prompt with each of its responses")
    answer = f"a prompt with an answer of the base, which has {config.max_new_tokens} max_new_tokens"
    return Words(limit, "rows", answer, ", or lower max_new_tokens (--max-new-tokens)")


def _in_parts(measure: Callable[[Sequence[Texts]], list[int]], rows: Sequence[Texts]) -> Iterator[int]:
    """The numbers of all rows, measured so many at once."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield from measure(rows[start : start + ROWS_AT_ONCE])
