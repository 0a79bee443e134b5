"""Token after token: one way for processors where every row costs, one for devices where every launch does.

`decode_alive` writes keys and values into buffers made once, stops at the last response's end, and may drop
finished rows on the way. `FixedDecoder` has the same shapes in every step and asks the device nothing, so
that on CUDA a step, sampling included, is captured once and replayed as a graph.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedConfig, StaticCache
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer, StaticLayer

from ppo_tune.models.text import Prompts
from ppo_tune.ppo import entropy

KEPT = 0.75
"""Rows are dropped when at most this share of them is still being written."""

Forward = Callable[[Tensor, Tensor, Tensor, Cache], tuple[Tensor, Tensor]]
"""From ids (N, Q), mask (N, S), positions (N, Q) and a cache to what is said at the last position: logits (N, V)
and values (N,)."""


@dataclass
class Decoded:
    """What was said, column by column.

    Attributes:
        ids: Tokens, shape (N, T).
        alive: True at real tokens, shape (N, T).
        logprobs: Of each token, shape (N, T).
        values: Before each token, shape (N, T).
        entropy: Of the distribution it was drawn from, shape (N, T).
        finished: Whether a stop token was said, shape (N,).
    """

    ids: Tensor
    alive: Tensor
    logprobs: Tensor
    values: Tensor
    entropy: Tensor
    finished: Tensor

    @property
    def _columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.ids, self.alive, self.logprobs, self.values, self.entropy

    @classmethod
    def nothing(cls, n_rows: int, length: int, device: torch.device) -> "Decoded":
        """Before the first token."""
        logprobs, values, entropies = torch.zeros(3, n_rows, length, device=device)
        ids = torch.zeros(n_rows, length, dtype=torch.long, device=device)
        finished = torch.zeros(n_rows, dtype=torch.bool, device=device)
        return cls(ids, torch.zeros_like(ids, dtype=torch.bool), logprobs, values, entropies, finished)

    def note(self, at: Tensor, end: int, steps: Sequence[tuple[Tensor, ...]], finished: Tensor) -> None:
        """Write what some rows said in the last few columns before `end`."""
        for whole, column in zip(self._columns, zip(*steps, strict=True), strict=True):
            whole[at, end - len(steps) : end] = torch.stack(column, 1)
        self.finished[at] = finished

    def cut(self, length: int) -> "Decoded":
        """A copy of the first columns, with zeros where nothing was said."""
        alive = self.alive[:, :length].clone()
        ids, _, logprobs, values, entropies = (
            torch.where(alive, column[:, :length], 0) for column in self._columns
        )
        return Decoded(ids, alive, logprobs, values, entropies, self.finished.clone())

    def view(self, k: int, rows: int) -> "Decoded":
        """The rows of k trials apart: (k·B, T) -> (k, B, T)."""
        ids, alive, logprobs, values, entropies = (column.view(k, rows, -1) for column in self._columns)
        return Decoded(ids, alive, logprobs, values, entropies, self.finished.view(k, rows))


def decode_alive(
    forward: Forward,
    config: PreTrainedConfig,
    prompts: Prompts,
    uniforms: Tensor,
    *,
    temperature: float,
    stop_ids: Tensor,
    drops_rows: bool,
) -> Decoded:
    """Sample responses until the last one ends.

    Args:
        forward: The model.
        config: The model's own.
        prompts: Of shape (N, P).
        uniforms: In (0, 1], shape (N, T).
        temperature: > 0.
        stop_ids: Tokens that end a response.
        drops_rows: Whether rows that are finished leave. A product rounds by the number of its rows, so where
            trials share it, one of them would feel in the last bit when its neighbour's responses end.

    Returns:
        What was said, cut to the longest response.
    """
    n_rows, length = uniforms.shape
    said = Decoded.nothing(n_rows, length, uniforms.device)
    cache = _growing_cache(config, prompts.ids.shape[-1] + length)
    drops_rows = drops_rows and all(type(layer) in _KEEP_ROWS_APART for layer in cache.layers)
    ids, mask, position = prompts.ids, prompts.mask, positions(prompts.mask)
    at = torch.arange(n_rows, device=uniforms.device)  # which row of the result each row at work is
    finished = torch.zeros_like(at, dtype=torch.bool)
    steps: list[tuple[Tensor, ...]] = []  # since rows were dropped last
    for t in range(length):
        logits, values = forward(ids, mask, position, cache)
        token, logprob, entropies = _sample(logits, uniforms[:, t], temperature)
        alive, finished = ~finished, finished | torch.isin(token, stop_ids)
        steps.append((token, alive, logprob, values, entropies))
        n_alive = len(at) - int(finished.sum())
        ids, position = token[:, None], position[:, -1:] + 1
        mask = pad(mask, (0, 1), value=True)  # what a finished row attends to does not matter
        is_last = n_alive == 0 or t + 1 == length
        if is_last or (drops_rows and n_alive <= KEPT * len(at)):
            said.note(at, t + 1, steps, finished)
            if is_last:
                break
            kept, steps = (~finished).nonzero()[:, 0], []
            at, ids, mask, position = at[kept], ids[kept], mask[kept], position[kept]
            uniforms, finished = uniforms[kept], finished[kept]
            cache.batch_select_indices(kept)
    return said.cut(t + 1)


class FixedDecoder:
    """Sampling of one shape, again and again.

    Args:
        forward: The model.
        config: The model's own.
        n_rows: N.
        width: P, of the prompts.
        length: T, of the longest response.
        temperature: > 0.
        stop_ids: Tokens that end a response; they decide where.
    """

    def __init__(
        self,
        forward: Forward,
        config: PreTrainedConfig,
        *,
        n_rows: int,
        width: int,
        length: int,
        temperature: float,
        stop_ids: Tensor,
    ) -> None:
        device = stop_ids.device
        self.forward = forward
        self.temperature = temperature
        self.stop_ids = stop_ids
        self.cache = StaticCache(config, max_cache_len=width + length)
        self.mask = torch.ones(n_rows, width + length, dtype=torch.bool, device=device)
        self.uniforms = torch.zeros(n_rows, length, device=device)
        self.said = Decoded.nothing(n_rows, length, device)
        self.ids = torch.zeros(n_rows, 1, dtype=torch.long, device=device)
        self.position = torch.zeros_like(self.ids)
        self.column = torch.zeros(1, dtype=torch.long, device=device)
        self.captures = device.type == "cuda"
        self.graph: torch.cuda.CUDAGraph | None = None

    @staticmethod
    def suits(config: PreTrainedConfig) -> bool:
        """Whether every layer's cache keeps count on the device; windows count in Python, which a graph freezes."""
        return all(type(layer) is StaticLayer for layer in StaticCache(config, max_cache_len=1).layers)

    def __call__(self, prompts: Prompts, uniforms: Tensor) -> Decoded:
        """Sample responses to prompts (N, P) by uniforms (N, T).

        The result is the decoder's own memory, good until the next call.
        """
        width, length = prompts.ids.shape[-1], uniforms.shape[-1]
        self.cache.reset()
        self.mask[:, :width] = prompts.mask
        self.uniforms.copy_(uniforms)
        self.said.finished.zero_()
        self.column.zero_()
        position = positions(prompts.mask)
        self.position.copy_(position[:, -1:])
        self._take_in(*self.forward(prompts.ids, self.mask, position, self.cache))
        for t in range(1, length):
            if self.graph is not None:
                self.graph.replay()
            else:
                self._step()
                if self.captures and t + 1 < length:  # libraries are warm now
                    self._capture()
        return self.said

    def _capture(self) -> None:
        """Record a step, which computes nothing; a model that asks the device something goes on unrecorded."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self.ids.device), torch.cuda.graph(graph):
                self._step()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            self.captures = False
        else:
            self.graph = graph

    def _step(self) -> None:
        self._take_in(*self.forward(self.ids, self.mask, self.position, self.cache))

    def _take_in(self, logits: Tensor, values: Tensor) -> None:
        """Sample a token of each row, note it in the present column, and make it the next input."""
        uniforms = self.uniforms.index_select(1, self.column)[:, 0]
        token, logprob, entropies = _sample(logits, uniforms, self.temperature)
        said, alive = self.said, ~self.said.finished
        for where, what in (
            (said.ids, token),
            (said.alive, alive),
            (said.logprobs, logprob),
            (said.values, values),
            (said.entropy, entropies),
        ):
            where.index_copy_(1, self.column, what[:, None])
        said.finished.logical_or_(torch.isin(token, self.stop_ids))
        self.ids.copy_(token[:, None])
        self.position.add_(1)
        self.column.add_(1)


def positions(mask: Tensor) -> Tensor:
    """Position of each token, counted from the first real one, shape of `mask`."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def sample_tokens(log_distribution: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the cumulative distribution reaches a uniform number.

    Args:
        log_distribution: Log-probabilities of every token, shape (N, V).
        uniforms: Numbers in (0, 1], shape (N,).

    Returns:
        Token ids, shape (N,); a token of probability 0 is never chosen.
    """
    cumulative = log_distribution.exp().cumsum(-1)
    index = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:])
    return index[:, 0].clamp(max=cumulative.shape[-1] - 1)  # NaN, a diverged trial, finds no place


def _sample(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, their log-probabilities and the entropies, each (N,), of softmax(logits / temperature)."""
    log_distribution = scaled_log_softmax(logits, temperature)
    token = sample_tokens(log_distribution, uniforms)
    return token, log_distribution.gather(-1, token[:, None])[:, 0], entropy(log_distribution)


def scaled_log_softmax(logits: Tensor, temperature: float) -> Tensor:
    """Log softmax(logits / temperature) in float32, any shape."""
    logits = logits.float()
    return torch.log_softmax(logits if temperature == 1 else logits / temperature, -1)


def _growing_cache(config: PreTrainedConfig, room: int) -> DynamicCache:
    """A cache whose ordinary layers never grow: their memory is taken once."""
    cache = DynamicCache(config=config)
    cache.layers = [_Roomy(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _Roomy(DynamicLayer):
    """Keys and values of up to `room` tokens as views into buffers, (N, heads, tokens, D)."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new tokens behind the others, and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            shape = (*key_states.shape[:2], self.room)
            self.key_buffer = key_states.new_empty((*shape, key_states.shape[-1]))
            self.value_buffer = value_states.new_empty((*shape, value_states.shape[-1]))
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        self.key_buffer[:, :, start:end] = key_states
        self.value_buffer[:, :, start:end] = value_states
        return self._show(end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        if not self.is_initialized:
            return
        length = self.get_seq_length()
        self.key_buffer, self.value_buffer = self.key_buffer[indices], self.value_buffer[indices]
        self._show(length)

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self.key_buffer[:, :, :length], self.value_buffer[:, :, :length]
        return self.keys, self.values


_KEEP_ROWS_APART = (_Roomy, DynamicSlidingWindowLayer)
"""Layers of a cache that hold keys and values and nothing else, so that rows can be taken out of them."""
