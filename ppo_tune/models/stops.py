"""What ends a response besides the model's own tokens: a task's tokens, and its texts of several tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Stops:
    """What a task names.

    Attributes:
        ids: Tokens.
        texts: What takes several tokens, or one of many; none is empty.
    """

    ids: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.ids or self.texts)


NONE = Stops()


class StopTexts:
    """Knows of a response being written whether one of some texts stands in it.

    A tokenizer may write a text in many ways, so it is looked for in what a judge would read, where the last token may
    have ended it.

    Args:
        tokenizer: Its tokens.
        texts: At least one, none of them empty.
        n_tokens: Rows of the model's output.
        device: Where tokens are.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], n_tokens: int, device: torch.device
    ) -> None:
        self.texts = tuple(texts)
        self._tokenizer = tokenizer
        self._may_end = torch.zeros(n_tokens, dtype=torch.bool, device=device)
        self._may_end[[i for i in enders(tokenizer, texts) if i < n_tokens]] = True

    def may_end(self, tokens: Tensor) -> Tensor:
        """The numbers (n,) of those of N responses whose last tokens (N,) may have completed a text."""
        return self._may_end[tokens].nonzero()[:, 0]

    def ended(self, written: Tensor) -> Tensor:
        """Whether a text stands in each of n responses, by all their tokens so far, (n, t): (n,)."""
        said = self._tokenizer.batch_decode(written.tolist(), skip_special_tokens=True)
        found = [first_stop(text, self.texts) is not None for text in said]
        return torch.tensor(found, dtype=torch.bool, device=written.device)


def enders(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[int]:
    """Tokens that hold the last letter of one of some texts, or a part of a letter."""
    ends = {text[-1] for text in texts} | {"\ufffd"}
    before = tokenizer("a", add_special_tokens=False)["input_ids"][
        -1:
    ]  # a space is not seen at the beginning
    (head,) = tokenizer.batch_decode([before], skip_special_tokens=True)
    ids = sorted({*tokenizer.get_vocab().values()})
    said = tokenizer.batch_decode([[*before, i] for i in ids], skip_special_tokens=True)
    return [i for i, text in zip(ids, said, strict=True) if not ends.isdisjoint(text.removeprefix(head))]


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the first of some texts begins in a text; None where none stands in it."""
    return min((at for at in map(text.find, stops) if at >= 0), default=None)
