"""Experience: responses of k trials with everything that is needed to learn from them.

Knows how to sample and score; nothing of advantages, losses or optimizers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ppo_tune.models import Policy, Prompts, Sequences
from ppo_tune.models.answers import answer
from ppo_tune.models.memory import Memory
from ppo_tune.rewards import Reward
from ppo_tune.tasks import PromptSet
from ppo_tune.trainer.processes import ProcessGroup


@dataclass(frozen=True)
class Rollout:
    """Responses of k trials, B each.

    Attributes:
        sequences: Prompts with responses, (k, B, ·).
        old_logprobs: Under the policy that sampled them, shape (k, B, T).
        ref_logprobs: Under the reference, shape (k, B, T).
        old_values: Values at sampling time, shape (k, B, T).
        entropy: Entropy of the sampling distribution at each token, shape (k, B, T).
    """

    sequences: Sequences
    old_logprobs: Tensor
    ref_logprobs: Tensor
    old_values: Tensor
    entropy: Tensor

    @property
    def mask(self) -> Tensor:
        """True at real response tokens, shape (k, B, T)."""
        return self.sequences.response_mask

    def __getitem__(self, index: Any) -> "Rollout":
        """The same trials, or the same rows of each trial, of every field."""
        return Rollout(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def gathered(self, processes: ProcessGroup, length: int) -> "Rollout":
        """The rows of all processes, in their order; `length` is the longest a response may be."""
        if processes.size == 1:
            return self

        def rows(tensor: Tensor, width: int | None = None) -> Tensor:
            wide = tensor if width is None else pad(tensor, (0, width - tensor.shape[-1]))
            return processes.gather(wide.transpose(0, 1)).transpose(0, 1)

        mask = rows(self.mask, length)
        longest = int(mask.sum(-1).max())
        prompts = Prompts(rows(self.sequences.prompts.ids), rows(self.sequences.prompts.mask))
        ids, ended = rows(self.sequences.response_ids, length), rows(self.sequences.ended)
        per_token = (self.old_logprobs, self.ref_logprobs, self.old_values, self.entropy)
        return Rollout(
            Sequences(prompts, ids[..., :longest], mask[..., :longest], ended),
            *(rows(tensor, length)[..., :longest] for tensor in per_token),
        )


@torch.no_grad()
def collect(
    policy: Policy,
    prompts: Prompts,
    uniforms: Tensor,
    *,
    temperature: float,
    places: Sequence[int],
    memory: Memory | None = None,
    reference: Policy | None = None,
) -> Rollout:
    """Sample a response of k places to each of their prompts (k, B, P), and evaluate it under policy and reference.

    Uniforms (k, B, T) in (0, 1] decide the samples. In float32 the log-probabilities of sampling agree with those of
    the training pass to 1e-6 and are used as they are; in a shorter format they do not, and the responses are evaluated
    again. `memory` is what fits, None for all; `reference` is whose reference they are compared with, None for the
    policy's own.
    """
    memory = memory or Memory()
    sequences, said = answer(
        policy, prompts, uniforms, temperature=temperature, places=places, chunks=memory.decoding
    )
    assert said.entropy is not None
    logprobs, values, ref_logprobs = said.logprobs, said.values, torch.zeros_like(said.logprobs)

    def judge(trials: slice, rows: slice) -> tuple[Tensor, ...]:
        part = sequences[trials, rows]
        reference_says = (reference or policy).reference(part, temperature=temperature)
        if policy.is_exact:
            return (reference_says,)
        seen = policy.evaluate(part, temperature=temperature, places=places[trials])
        return reference_says, seen.logprobs, seen.values

    k, n_rows, _ = uniforms.shape
    for trials, rows, judged in memory.passes.run(judge, trials=k, rows=n_rows):
        for whole, part in zip((ref_logprobs, logprobs, values), judged, strict=False):
            whole[trials, rows] = part
    return Rollout(sequences, logprobs, ref_logprobs, values, said.entropy)


def score(
    reward: Reward, policy: Policy, prompts: PromptSet, rows: Sequence[int], sequences: Sequences
) -> tuple[Tensor, list[str]]:
    """Scores of one trial's responses (B, ·) to these rows of a split: (B,) on the policy's device; and the B texts.

    Raises:
        RewardError: If the reward fails.
    """
    responses = policy.decode(sequences)
    texts, columns = prompts.texts(rows)
    return reward(texts, responses, columns).to(policy.device), responses
