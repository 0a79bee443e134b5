"""Prefix tuning: keys and values of tokens that nobody wrote, before everything that a model writes.

A decoder-only model reads them before the prompt, the decoder of an encoder–decoder before its opening; they take
positions as tokens do. No ordinary model says what the model says behind them, so they are kept beside their base, and
no policy behind them is its reference: a place starts as the model that has read so many tokens which stand between
texts, and its KL is not 0 before it has learned anything.

Paper: Li and Liang, 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", arXiv:2101.00190. As there the
first numbers are those of real tokens; there is no network that makes them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ppo_tune.config.model import AdapterKind
from ppo_tune.models.adapters import Adapters
from ppo_tune.models.cache import Remembered
from ppo_tune.models.rows import ParameterRows

BLOCK = "prompt_embeddings"
"""PEFT's name for all numbers of a prefix."""


class Prefix(Adapters):
    """Prefixes of all places.

    Args:
        start: What a model remembers of the tokens that every place starts with; all layers alike in heads and D.
        submodules: PEFT's number of them: 2 of an encoder–decoder, else 1. Of 2, PEFT gives each layer's second keys
            and values to cross-attention, and then forgets them; zeros stand there.

    Attributes:
        length: How many tokens it stands for.
        width: Numbers of a token's key in one layer, of all heads.
    """

    peft_prefix = ""
    can_merge = False

    def __init__(self, start: Remembered, submodules: int) -> None:
        super().__init__()
        self._start = [(key.float(), value.float()) for key, value in start]
        self._submodules = submodules
        self._dtype = start[0][0].dtype
        heads, self.length, each = start[0][0].shape
        self.width: int = heads * each

    @property
    def remark(self) -> None:
        """Nothing: how far a place is from the reference at first is told when it was measured, by `starts_beside`."""

    @torch.no_grad()
    def hold(self, rows: ParameterRows) -> None:
        """Have the numbers of all places here, and let each of them start."""
        super().hold(rows)
        for place in range(len(rows.values)):
            self._begin_anew(place)

    def shapes(self) -> dict[str, torch.Size]:
        """Shape of the keys and of the values of each layer of one trial, (heads, n, D)."""
        return {name: tensor.shape for name, tensor in self._named(self._start).items()}

    @torch.no_grad()
    def reset(self, place: int, rng: torch.Generator, own: None = None) -> None:
        """Start a place afresh; nothing is drawn."""
        self._begin_anew(place)

    def do_nothing(self, place: int) -> bool:
        """Never."""
        return False

    def fill(self, cache: DynamicCache, n_rows: int) -> int:
        """Have an empty cache begin with the prefixes at work, for N rows of k places; says how many tokens that is."""
        if not self._count:
            return 0
        repeats = n_rows // self._count
        for i in range(len(self._start)):
            key, value = (
                self.of_those_at_work(name).to(self._dtype).repeat_interleave(repeats, 0)
                for name in _names(i)
            )
            cache.update(key, value, i)
        return self.length

    def to_peft(self, place: int) -> dict[str, Tensor]:
        """All numbers of a place, (n, 2 · layers · submodules · heads · D)."""
        assert self.rows is not None
        every = torch.stack([self.rows[name].detach()[place] for name in self.shapes()])
        pairs = every.unflatten(0, (-1, 1, 2))
        padded = torch.cat([pairs, *(self._submodules - 1) * [torch.zeros_like(pairs)]], 1)
        return {BLOCK: padded.flatten(0, 2).permute(2, 0, 1, 3).flatten(1)}

    def from_peft(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The keys and values of every layer.

        Those of an encoder–decoder of two submodules PEFT takes twice over, so that a layer's are the first of every
        second pair; of as many pairs as layers, which PEFT writes itself, some layers share theirs.

        Raises:
            ValueError: If they are of another model.
        """
        heads, length, each = next(iter(self.shapes().values()))
        n_layers = len(self._start)
        n_pairs, rest = divmod(tensors[BLOCK].shape[1], 2 * self.width)
        if rest or n_pairs not in (n_layers, n_layers * self._submodules):
            raise ValueError(f"{n_pairs} pairs of keys and values do not suit {n_layers} layers")
        pairs = tensors[BLOCK].view(length, n_pairs, 2, heads, each)
        own = [self._submodules * i % pairs.shape[1] for i in range(len(self._start))]
        return dict(zip(self.shapes(), pairs[:, own].flatten(1, 2).permute(1, 2, 0, 3), strict=True))

    def peft_config(self, place: int) -> dict[str, Any]:
        """Its shape, as PEFT cuts it."""
        heads, *_ = next(iter(self.shapes().values()))
        return {
            "peft_type": "PREFIX_TUNING",
            "num_virtual_tokens": self.length,
            "num_layers": len(self._start) * self._submodules,
            "num_attention_heads": heads,
            "token_dim": self.width,
            "num_transformer_submodules": self._submodules,
            "encoder_hidden_size": self.width,
            "prefix_projection": False,
        }

    def _begin_anew(self, place: int) -> None:
        assert self.rows is not None
        for name, tensor in self._named(self._start).items():
            self.rows[name][place].copy_(tensor)

    @staticmethod
    def _named(every: Remembered) -> dict[str, Tensor]:
        return {name: t for i, both in enumerate(every) for name, t in zip(_names(i), both, strict=True)}


def starts_beside(adapter: AdapterKind, kl: float) -> str | None:
    """That trials start so many nats per response from their reference; None of adapters that do nothing at first."""
    if adapter != "prefix":
        return None
    return (
        f"model.adapter: prefix: a trial starts {kl:.2g} nats per response from the reference, before it has learned "
        "anything, and what is called untrained is where it starts; a shorter prefix_length starts nearer"
    )


def _names(layer: int) -> tuple[str, str]:
    return f"prefix.{layer}.key", f"prefix.{layer}.value"
