"""Responses of a policy to prompts, for rollouts, evaluations, the scale of a reward model, and whoever else asks.

Knows nothing of rewards and references.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ppo_tune.errors import DataError, ModelError
from ppo_tune.models.chat import prompt_ids
from ppo_tune.models.context import problem_of_prompt
from ppo_tune.models.decoding import PolicyOutput
from ppo_tune.models.memory import MemoryChunks
from ppo_tune.models.policy import Policy
from ppo_tune.models.text import Prompts, Sequences, pad_left

TEXTS_AT_ONCE = 1024
"""That are tokenized together."""


@torch.no_grad()
def answer(
    policy: Policy,
    prompts: Prompts,
    uniforms: Tensor,
    *,
    temperature: float,
    places: Sequence[int],
    chunks: MemoryChunks | None = None,
) -> tuple[Sequences, PolicyOutput]:
    """Sample a response of k places to each of their prompts (k, B, P), at a temperature > 0.

    Uniforms, numbers in (0, 1] of shape (k, B, T), decide the samples; `chunks` is what fits into memory, None for all.

    Returns:
        Sequences of shape (k, B, ·) on the policy's device, cut to the longest response, and what the policy said of
        each token as it was sampled, (k, B, T).
    """
    prompts = prompts.to(policy.device)

    def sample(trials: slice, rows: slice) -> tuple[Sequences, PolicyOutput]:
        return policy.generate(
            prompts[trials, rows], uniforms[trials, rows], temperature=temperature, places=places[trials]
        )

    k, n_rows, length = uniforms.shape
    ids = torch.zeros(k, n_rows, length, dtype=torch.long, device=policy.device)
    mask, ended = torch.zeros_like(ids, dtype=torch.bool), torch.zeros_like(ids[..., 0], dtype=torch.bool)
    logprobs, values, entropy = torch.zeros(3, k, n_rows, length, device=policy.device)
    for trials, rows, (said, seen) in (chunks or MemoryChunks()).run(sample, trials=k, rows=n_rows):
        at = (trials, rows, slice(said.response_ids.shape[-1]))
        ids[at], mask[at], ended[trials, rows] = said.response_ids, said.response_mask, said.ended
        assert seen.entropy is not None
        logprobs[at], values[at], entropy[at] = seen.logprobs, seen.values, seen.entropy
    longest = int(mask.sum(-1).max())
    ids, mask, logprobs, values, entropy = (x[..., :longest] for x in (ids, mask, logprobs, values, entropy))
    return Sequences(prompts, ids, mask, ended), PolicyOutput(logprobs, values, entropy)


def answer_texts(
    policy: Policy,
    texts: Sequence[str],
    uniforms: Tensor,
    *,
    temperature: float,
    place: int = 0,
    chat: bool = False,
) -> list[str]:
    """Responses of one place to N texts, or conversations, decided by uniforms (N, T) in (0, 1].

    Raises:
        DataError: If a prompt leaves no room for a response in the model's context.
        ModelError: If the model does not know a token of one.
    """
    ids = encode_checked(policy, texts, uniforms.shape[-1], chat=chat)
    sequences, _ = answer(
        policy, pad_left(ids)[None], uniforms[None], temperature=temperature, places=[place]
    )
    return policy.layout.texts(sequences[0])


def encode_checked(
    policy: Policy, texts: Sequence[str], max_new_tokens: int, *, chat: bool = False
) -> list[list[int]]:
    """Token ids of prompts that all leave room for a response.

    Raises:
        DataError: If one does not.
        ModelError: If the model does not know a token of one, or has no chat template where one is needed.
    """
    ids = _encode(policy, texts, chat=chat)
    _check(policy, max(map(len, ids)), max_new_tokens)
    policy.check_readable(ids)
    return ids


def check_room(policy: Policy, texts: Sequence[str], max_new_tokens: int, *, chat: bool = False) -> None:
    """Do the same of any number of prompts, of which memory holds a part.

    Raises:
        DataError: If one leaves no room for a response.
        ModelError: If the model does not know a token of one, or has no chat template where one is needed.
    """
    longest, broken = 0, None
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        ids = _encode(policy, texts[start : start + TEXTS_AT_ONCE], chat=chat)
        longest = max(longest, *map(len, ids))
        try:
            policy.check_readable(ids)
        except ModelError as error:
            broken = broken or error
    _check(policy, longest, max_new_tokens)
    if broken is not None:
        raise broken


def _encode(policy: Policy, texts: Sequence[str], *, chat: bool) -> list[list[int]]:
    return prompt_ids(policy.tokenizer, texts, chat=chat, closed=policy.layout.closes_prompts)


def _check(policy: Policy, longest: int, max_new_tokens: int) -> None:
    """Refuse a longest prompt that leaves no room for a response.

    Raises:
        DataError: If it leaves none.
    """
    room, closed = policy.layout.room_for_prompts(max_new_tokens), policy.layout.closes_prompts
    if longest and (problem := problem_of_prompt(longest, room, closed=closed)):
        lower = "" if closed else ", lower max_new_tokens"
        raise DataError(f"{problem}; shorten it{lower}, or leave it out")


def draw_uniforms(n_rows: int, length: int, rng: torch.Generator) -> Tensor:
    """Numbers in (0, 1] that decide what is sampled, shape (n_rows, length)."""
    return 1 - torch.rand(n_rows, length, generator=rng)
