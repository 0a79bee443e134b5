"""Between texts and tensors: padded prompts, prompts with their responses, and back to text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.errors import ModelError


@dataclass(frozen=True)
class Prompts:
    """Tokenized prompts, padded on the left.

    Attributes:
        ids: Token ids, shape (..., B, P); what stands at padding does not matter.
        mask: True at real tokens, shape (..., B, P).
    """

    ids: Tensor
    mask: Tensor

    def __getitem__(self, index: Any) -> "Prompts":
        """The same rows of both fields, whatever indexes a tensor's leading axes."""
        return Prompts(self.ids[index], self.mask[index])

    def to(self, device: torch.device) -> "Prompts":
        """The same on a device."""
        return Prompts(self.ids.to(device), self.mask.to(device))


@dataclass(frozen=True)
class Sequences:
    """Prompts with their responses.

    Attributes:
        prompts: The prompts, (..., B, P).
        response_ids: Sampled token ids, shape (..., B, T); what stands at padding does not matter.
        response_mask: True at real tokens, the stop token included, shape (..., B, T); each row is True,
            at least once, then False.
        ended: True where the response holds a stop token, shape (..., B).
    """

    prompts: Prompts
    response_ids: Tensor
    response_mask: Tensor
    ended: Tensor

    def __getitem__(self, index: Any) -> "Sequences":
        """The same rows of every field, whatever indexes a tensor's leading axes."""
        return Sequences(
            self.prompts[index], self.response_ids[index], self.response_mask[index], self.ended[index]
        )

    def widen(self, width: int, length: int) -> "Sequences":
        """With more padding, where prompts or responses have fewer columns."""
        before = (max(0, width - self.prompts.ids.shape[-1]), 0)
        prompts = Prompts(pad(self.prompts.ids, before), pad(self.prompts.mask, before))
        behind = (0, max(0, length - self.response_ids.shape[-1]))
        return Sequences(prompts, pad(self.response_ids, behind), pad(self.response_mask, behind), self.ended)

    def cut(self, width: int, length: int) -> "Sequences":
        """Without the columns beyond the longest prompt and the longest response."""
        prompts = self.prompts[..., self.prompts.ids.shape[-1] - width :]
        ids, mask = self.response_ids[..., :length], self.response_mask[..., :length]
        return Sequences(prompts, ids, mask, self.ended)


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, closed: bool = False
) -> list[list[int]]:
    """Token ids of each text, without the end-of-sequence token that a tokenizer may write: a model is to go on there.

    Where the text is `closed` it stays, for an encoder is to know that this is all.
    """
    unread = {"return_attention_mask": False, "return_token_type_ids": False}  # a sixth of the time
    rows: list[list[int]] = tokenizer(list(texts), **unread)["input_ids"] if texts else []
    rows = begin_once(tokenizer, texts, rows)
    if closed:
        return rows
    eos = tokenizer.eos_token_id
    return [
        row[:-1] if row and row[-1] == eos and not text.endswith(str(tokenizer.eos_token)) else row
        for row, text in zip(rows, texts, strict=True)
    ]


def closing_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The end-of-sequence token, if the tokenizer writes it behind texts; an encoder reads it behind chats too."""
    (row,) = tokenizer(["a"])["input_ids"]
    return tokenizer.eos_token_id if row[-1:] == [tokenizer.eos_token_id] else None


def begin_once(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], rows: Sequence[list[int]]
) -> list[list[int]]:
    """Token ids in which a text that writes the beginning-of-sequence token itself gets no second one."""
    bos, word = tokenizer.bos_token_id, tokenizer.bos_token
    if bos is None:
        return list(rows)
    return [
        row[1:] if row[:2] == [bos, bos] and text.startswith(word) and not text.startswith(2 * word) else row
        for text, row in zip(texts, rows, strict=True)
    ]


def name_of(model: PreTrainedModel) -> str:
    """How messages call a model that was read: by its folder or hub name and its kind."""
    return f"model {model.name_or_path!r} ({type(model).__name__})"


def check_tokens(
    rows: Iterable[Sequence[int]], tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, name: str
) -> None:
    """Make sure that a model can read some texts. A tokenizer may know tokens beside them that no model ever saw.

    Raises:
        ModelError: If a token has no row in the model's input embedding.
    """
    embedding: Any = model.get_input_embeddings()
    number = max((max(row, default=0) for row in rows), default=0)
    if number >= len(embedding.weight):
        raise ModelError(
            f"{name}: a text holds {tokenizer.convert_ids_to_tokens(number)!r}, which its tokenizer knows as number "
            f"{number}, but its input embedding ends at {len(embedding.weight) - 1}; save the model after "
            "resize_token_embeddings(len(tokenizer)), or the tokenizer that it was trained with"
        )


def pad_left(rows: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Prompts:
    """Stack token ids of B texts, real tokens at the right end: prompts (B, P), P the longest."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(width, device=device) >= width - lengths[:, None]
    return Prompts(ids, mask)


def pad_right(
    rows: Sequence[Sequence[int]], device: torch.device, *, padding: int = 0
) -> tuple[Tensor, Tensor]:
    """Token ids of B texts, real tokens at the left end, (B, S); and True at them.

    An empty text counts as one token of padding.
    """
    width = max(1, max(map(len, rows)))
    ids = torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows], device=device)
    lengths = torch.tensor([max(1, len(row)) for row in rows], device=device)
    return ids, torch.arange(width, device=device) < lengths[:, None]


def decode_responses(tokenizer: PreTrainedTokenizerBase, sequences: Sequences) -> list[str]:
    """The text of each of B responses in its place, without its stop token and without padding.

    A response's text is what prompt and response say together less what the prompt says alone, so that both
    joined are the text as written: many tokenizers drop the space before the first word of what they decode, and
    bytes of one character may stand on both sides. A response that begins with a word so begins with its space.
    A model's authors may name a stop token that their tokenizer takes for a word.
    """
    widths = sequences.prompts.mask.sum(-1).tolist()
    padded = zip(sequences.prompts.ids.tolist(), widths, strict=True)
    prompts = [tuple(row[len(row) - n :]) for row, n in padded]
    lengths = (sequences.response_mask.sum(-1) - sequences.ended.long()).tolist()
    responses = zip(sequences.response_ids.tolist(), lengths, strict=True)
    wholes = [[*prompt, *row[:n]] for prompt, (row, n) in zip(prompts, responses, strict=True)]
    different = list(dict.fromkeys(prompts))
    heads = dict(zip(different, _texts(tokenizer, different), strict=True))
    return [
        _after(heads[prompt], whole) for prompt, whole in zip(prompts, _texts(tokenizer, wholes), strict=True)
    ]


def _after(head: str, whole: str) -> str:
    """What a text says after its beginning; a character whose bytes stand on both sides is of the end."""
    if whole.startswith(head):
        return whole[len(head) :]
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(head, whole, strict=False))
    return whole[sum(1 for _ in shared) :]


def _texts(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    """The text of each row of token ids, without special tokens."""
    return list(tokenizer.batch_decode([list(row) for row in rows], skip_special_tokens=True))
