"""Between texts and tensors: padded prompts, prompts with their responses, and back to text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerBase


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
        left = max(0, width - self.prompts.ids.shape[-1])
        right = max(0, length - self.response_ids.shape[-1])
        prompts = Prompts(pad(self.prompts.ids, (left, 0)), pad(self.prompts.mask, (left, 0)))
        return Sequences(
            prompts, pad(self.response_ids, (0, right)), pad(self.response_mask, (0, right)), self.ended
        )

    def cut(self, width: int, length: int) -> "Sequences":
        """Without the columns beyond the longest prompt and the longest response."""
        prompts = self.prompts[..., self.prompts.ids.shape[-1] - width :]
        return Sequences(
            prompts, self.response_ids[..., :length], self.response_mask[..., :length], self.ended
        )


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without an end-of-sequence token: the model is to go on from here."""
    rows: list[list[int]] = tokenizer(list(texts))["input_ids"] if texts else []
    eos = tokenizer.eos_token_id
    return [
        row[:-1] if row and row[-1] == eos and not text.endswith(str(tokenizer.eos_token)) else row
        for row, text in zip(rows, texts, strict=True)
    ]


def pad_left(rows: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Prompts:
    """Stack token ids of different lengths, real tokens at the right end.

    Args:
        rows: Token ids of B prompts.
        device: Where the tensors go.

    Returns:
        Prompts of shape (B, P), P the longest row.
    """
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(width, device=device) >= width - lengths[:, None]
    return Prompts(ids, mask)


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], device: torch.device | str = "cpu"
) -> Prompts:
    """Tokenize and pad prompts: B texts -> shape (B, P)."""
    return pad_left(tokenize(tokenizer, texts), device)


def decode_responses(tokenizer: PreTrainedTokenizerBase, sequences: Sequences) -> list[str]:
    """The text of each response, without its stop token and without padding.

    A model's authors may name a stop token that their tokenizer takes for a word.

    Args:
        tokenizer: The policy's tokenizer.
        sequences: Responses of shape (B, T).

    Returns:
        B texts.
    """
    lengths = (sequences.response_mask.sum(-1) - sequences.ended.long()).tolist()
    rows = [row[:n] for row, n in zip(sequences.response_ids.tolist(), lengths, strict=True)]
    return list(tokenizer.batch_decode(rows, skip_special_tokens=True))
