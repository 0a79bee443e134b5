"""Token after token, until the last response ends; finished rows may leave on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppo_tune.models.layout import DecodingState
from ppo_tune.models.text import Prompts, Sequences
from ppo_tune.ppo import entropy

KEPT = 0.75
"""Rows are dropped when at most this share of them is still being written."""

Speak = Callable[[DecodingState], tuple[Tensor, Tensor]]
"""From N responses to what is said of the next token of each: logits (N, V) and values (N,)."""


@dataclass(frozen=True)
class PolicyOutput:
    """Log-probabilities, values and entropies of a policy at the tokens of responses.

    Attributes:
        logprobs: Log-probability of each response token, shape (k, B, T).
        values: Value estimate before each response token, shape (k, B, T).
        entropy: Entropy of the distribution at each response token, shape (k, B, T); None if not asked for.
    """

    logprobs: Tensor
    values: Tensor
    entropy: Tensor | None


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

    def to(self, prompts: Prompts) -> tuple[Sequences, PolicyOutput]:
        """The rows as responses to prompts (k, B, P), N = k·B, and what was said of their tokens."""
        shape = prompts.ids.shape[:-1]
        ids, alive, logprobs, values, entropies = (column.view(*shape, -1) for column in self._columns)
        sequences = Sequences(prompts, ids, alive, self.finished.view(shape))
        return sequences, PolicyOutput(logprobs, values, entropies)


def decode_alive(
    speak: Speak,
    state: DecodingState,
    uniforms: Tensor,
    *,
    temperature: float,
    stop_ids: Tensor,
    drops_rows: bool,
) -> Decoded:
    """Sample N responses until the last one ends, by uniforms (N, T) in (0, 1]; the result is cut to the longest.

    Where `drops_rows`, rows that are finished leave. A product rounds by the number of its rows, so where trials share
    it, one of them would feel in the last bit when its neighbour's responses end.
    """
    n_rows, length = uniforms.shape
    said = Decoded.nothing(n_rows, length, uniforms.device)
    drops_rows = drops_rows and state.keeps_rows_apart
    at = torch.arange(n_rows, device=uniforms.device)  # which row of the result each row at work is
    finished = torch.zeros_like(at, dtype=torch.bool)
    steps: list[tuple[Tensor, ...]] = []  # since rows were dropped last
    for t in range(length):
        logits, values = speak(state)
        token, logprob, entropies = _sample(logits, uniforms[:, t], temperature)
        alive, finished = ~finished, finished | torch.isin(token, stop_ids)
        steps.append((token, alive, logprob, values, entropies))
        n_alive = len(at) - int(finished.sum())
        is_last = n_alive == 0 or t + 1 == length
        drops = not is_last and drops_rows and n_alive <= KEPT * len(at)
        if is_last or drops:
            said.note(at, t + 1, steps, finished)
        if is_last:
            break
        state.append(token)
        if drops:
            kept, steps = (~finished).nonzero()[:, 0], []
            at, uniforms, finished = at[kept], uniforms[kept], finished[kept]
            state.keep(kept)
    return said.cut(t + 1)


def sample_tokens(log_distribution: Tensor, uniforms: Tensor) -> Tensor:
    """Token ids (N,) at which the cumulative distribution reaches uniforms (N,) in (0, 1].

    From log-probabilities (N, V); a token of probability 0 is never chosen.
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
