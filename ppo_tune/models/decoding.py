"""Token after token, until the last response ends; finished rows may leave on the way."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppo_tune.models.layout import DecodingState
from ppo_tune.models.stops import StopTexts
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


def decode_alive(
    speak: Speak,
    state: DecodingState,
    prompts: Prompts,
    uniforms: Tensor,
    *,
    temperature: float,
    stop_ids: Tensor,
    stop_texts: StopTexts | None,
    drops_rows: bool,
) -> tuple[Sequences, PolicyOutput]:
    """Sample a response to each of N = k·B prompts (k, B, P) until the last one ends, by uniforms (N, T) in (0, 1].

    Where `drops_rows`, rows that are finished leave. A product rounds by the number of its rows, so where trials share
    it, one of them would feel in the last bit when its neighbour's responses end.

    Returns:
        Sequences (k, B, ·), cut to the longest response, and what was said of their tokens; zeros at padding.
    """
    n_rows, length = uniforms.shape
    ids = torch.zeros_like(uniforms, dtype=torch.long)
    mask, ended = torch.zeros_like(ids, dtype=torch.bool), torch.zeros_like(ids[:, 0], dtype=torch.bool)
    logprobs, values, entropies = torch.zeros(3, n_rows, length, device=uniforms.device)
    drops_rows = drops_rows and state.keeps_rows_apart
    at = torch.arange(n_rows, device=uniforms.device)  # which row of the result each row at work is
    finished = torch.zeros_like(at, dtype=torch.bool)
    steps: list[tuple[Tensor, ...]] = []  # since rows were dropped last
    for t in range(length):
        logits, value = speak(state)
        token, logprob, spread = _sample(logits, uniforms[:, t], temperature)
        steps.append((token, ~finished, logprob, value, spread))
        finished = finished | torch.isin(token, stop_ids)
        if stop_texts is not None and len(rows := stop_texts.may_end(token)):
            since = torch.stack([said[rows] for said, *_ in steps], 1)
            finished[rows] |= stop_texts.ended(torch.cat((ids[at[rows], : t + 1 - len(steps)], since), 1))
        n_alive = len(at) - int(finished.sum())
        is_last = n_alive == 0 or t + 1 == length
        drops = not is_last and drops_rows and n_alive <= KEPT * len(at)
        if is_last or drops:
            columns = zip((ids, mask, logprobs, values, entropies), zip(*steps, strict=True), strict=True)
            for whole, said in columns:
                whole[at, t + 1 - len(steps) : t + 1] = torch.stack(said, 1)
            ended[at] = finished
        if is_last:
            break
        state.append(token)
        if drops:
            kept, steps = (~finished).nonzero()[:, 0], []
            at, uniforms, finished = at[kept], uniforms[kept], finished[kept]
            state.keep(kept)
    shape = (*prompts.ids.shape[:-1], t + 1)
    mask = mask[:, : t + 1].reshape(shape)
    ids, logprobs, values, entropies = (
        torch.where(mask, whole[:, : t + 1].reshape(shape), 0) for whole in (ids, logprobs, values, entropies)
    )
    return Sequences(prompts, ids, mask, ended.view(shape[:-1])), PolicyOutput(logprobs, values, entropies)


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
