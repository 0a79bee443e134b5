"""What k trials learn from one micro-batch: the gradient of their losses, and statistics of it.

The pass through model and losses may be compiled. It is then one flat program without Python and with its small
operations fused, for one shape of micro-batch: so micro-batches are padded to one width and one length, and whatever
has another shape, a pack that is not full or half of what did not fit into memory, goes through as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ppo_tune.config import PPOConfig
from ppo_tune.errors import ModelError
from ppo_tune.experience import Experience, column
from ppo_tune.models import Policy, Sequences
from ppo_tune.portions import Portions
from ppo_tune.ppo import clipped_policy_loss, clipped_value_loss, estimate_kl, is_clipped, masked_sum

STATISTICS = ("policy_loss", "value_loss", "approx_kl", "clip_fraction")

MOST_SHAPES = 4
"""Sizes of micro-batches that are compiled for one trainer; each takes its time once."""


@dataclass(frozen=True)
class Coefficients:
    """What the losses of k trials are made with, each of shape (k, 1, 1)."""

    clip_range: Tensor
    dual_clip: Tensor
    clip_range_value: Tensor
    vf_coef: Tensor
    ent_coef: Tensor

    @classmethod
    def of(cls, configs: Sequence[PPOConfig], score_std: Tensor) -> "Coefficients":
        """Those of k configs; the clip of the value in its unit, `score_std` of shape (k, 1, 1)."""
        columns = {
            name.name: column([getattr(config, name.name) for config in configs], score_std.device)
            for name in fields(cls)
        }
        return cls(**{**columns, "clip_range_value": columns["clip_range_value"] / score_std})

    def __getitem__(self, index: Any) -> "Coefficients":
        """The same trials of every field."""
        return Coefficients(*(getattr(self, name.name)[index] for name in fields(self)))


def require_compiler() -> None:
    """See that there is a C++ compiler.

    Raises:
        ModelError: If there is none.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler  # two seconds to import, for those who compile
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ModelError(
            "model.compile: a C++ compiler must be there to compile the learning pass, but none was found; install "
            "g++, name another by the environment variable CXX, or set compile: false"
        ) from error


class CompiledPass:
    """A policy's pass through model and losses for full packs, compiled when a size is first seen.

    Args:
        policy: Whose.
        width: Tokens that prompts are padded to.
        length: Tokens that responses are padded to.
    """

    def __init__(self, policy: Policy, width: int, length: int) -> None:
        self.policy = policy
        self.width = width
        self.length = length
        self._sizes: set[tuple[int, int]] = set()
        self._learn: Any = torch.compile(  # type: ignore[call-overload]
            gradients, fullgraph=True, dynamic=False, isolate_recompiles=True, recompile_limit=2 * MOST_SHAPES
        )

    def takes(self, k: int, rows: int, width: int, length: int) -> bool:
        """Whether a micro-batch of k trials with so many rows each, of these tokens at most, is to go through it.

        A size that was not seen before is taken on as long as they are few.
        """
        fits = k == self.policy.places and width <= self.width and length <= self.length
        if fits and len(self._sizes) < MOST_SHAPES:
            self._sizes.add((k, rows))
        return fits and (k, rows) in self._sizes

    def __call__(self, *args: Any, **settings: Any) -> tuple[tuple[Tensor | None, ...], Tensor]:
        """As `gradients`.

        Raises:
            ModelError: If the model's code cannot be compiled.
        """
        from torch._dynamo import config, exc  # two seconds to import, for those who compile

        try:
            with config.patch(trace_autograd_ops=True):  # forward and backward as one program
                found: tuple[tuple[Tensor | None, ...], Tensor] = self._learn(*args, **settings)
        except exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"model.compile: the learning pass of this model cannot be compiled ({reason}); set compile: false"
            ) from error
        return found


class Lesson:
    """What k trials learn from, laid out so that a micro-batch is cut from it with few operations.

    Args:
        policy: Whose gradients grow.
        experience: Of k trials, (k, B, ·).
        configs: Of the k trials.
        temperature: The one the responses were sampled with.
        compiled: The pass for those micro-batches that it takes; None has none.
    """

    def __init__(
        self,
        policy: Policy,
        experience: Experience,
        configs: Sequence[PPOConfig],
        temperature: float,
        compiled: CompiledPass | None = None,
    ) -> None:
        rollout = experience.rollout
        self.policy = policy
        self.places = experience.places
        self.temperature = temperature
        self.compiled = compiled
        self.sequences = rollout.sequences
        self.numbers = torch.stack(
            [rollout.old_logprobs, rollout.old_values, experience.advantages, experience.returns], dim=2
        )
        self.widths = rollout.sequences.prompts.mask.sum(-1).cpu()
        self.lengths = rollout.mask.sum(-1).cpu()
        if compiled is not None:
            self.sequences = self.sequences.widen(compiled.width, compiled.length)
            self.numbers = pad(
                self.numbers, (0, self.sequences.response_ids.shape[-1] - self.numbers.shape[-1])
            )
        self.coefficients = Coefficients.of(configs, experience.score_std)
        self.trainable = policy.trainable
        self.with_entropy = any(config.ent_coef for config in configs)

    def learn(
        self,
        learning: Sequence[int],
        rows: Tensor,
        tokens: Sequence[float],
        passes: Portions,
        sums: Mapping[int, Tensor],
    ) -> None:
        """Add the gradient of one micro-batch of each trial, as its share of that trial's mini-batch.

        Args:
            learning: Which of the k trials.
            rows: Which of their responses, shape (len(learning), b).
            tokens: Of the mini-batch that each trial's micro-batch is part of.
            passes: What fits into memory.
            sums: By place, tokens and sums of statistics; they grow.
        """
        weights = torch.tensor(tokens, device=self.policy.device)

        def work(trials: slice, part: slice) -> Tensor:
            return self._add_gradients(learning[trials], rows[trials, part], weights[trials])

        for trials, _, found in passes.run(work, trials=len(learning), rows=rows.shape[1]):
            for i, trial_sums in zip(learning[trials], found, strict=True):
                sums[self.places[i]].add_(trial_sums)

    def _add_gradients(self, learning: Sequence[int], rows: Tensor, tokens: Tensor) -> Tensor:
        """One pass; returns tokens and sums of statistics, shape (len(learning), 1 + len(STATISTICS)).

        Nothing is changed before all gradients are known, so that a pass without enough memory can be done again.
        """
        trial = torch.tensor(learning)[:, None]
        # Columns that are padding in every row of this micro-batch are left out.
        width, length = int(self.widths[trial, rows].max()), int(self.lengths[trial, rows].max())
        learn: Any = gradients
        k, b = rows.shape
        if self.compiled is not None and self.compiled.takes(k, b, width, length):
            learn, width, length = self.compiled, self.compiled.width, self.compiled.length
        device = self.policy.device
        batch = self.sequences[trial.to(device), rows.to(device)].cut(width, length)
        numbers = self.numbers[trial.to(device), rows.to(device)][..., :length]
        everybody = len(learning) == len(self.places)
        found: tuple[Tensor | None, ...]
        sums: Tensor
        found, sums = learn(
            self.policy,
            batch,
            numbers,
            self.coefficients if everybody else self.coefficients[learning],
            tokens,
            places=tuple(self.places[i] for i in learning),
            temperature=self.temperature,
            with_entropy=self.with_entropy,
        )
        with torch.no_grad():
            for parameter, gradient in zip(self.trainable, found, strict=True):
                if gradient is not None:
                    assert parameter.grad is not None
                    parameter.grad.add_(gradient)
        return sums


def gradients(
    policy: Policy,
    batch: Sequences,
    numbers: Tensor,
    coefficients: Coefficients,
    tokens: Tensor,
    *,
    places: Sequence[int],
    temperature: float,
    with_entropy: bool,
) -> tuple[tuple[Tensor | None, ...], Tensor]:
    """The gradient of the sum of k trials' losses on a micro-batch, and statistics.

    Args:
        policy: The policy.
        batch: The micro-batch, (k, b, ·).
        numbers: Old log-probabilities, old values, advantages and returns, shape (k, b, 4, T).
        coefficients: Of the k trials.
        tokens: Of each trial's mini-batch, shape (k,).
        places: Of the k trials.
        temperature: The one the responses were sampled with.
        with_entropy: Whether a trial has an entropy bonus.

    Returns:
        A gradient for each trainable parameter of the policy, None for one that is not used; and per trial the tokens
        and the sums of `STATISTICS` over them, shape (k, 1 + len(STATISTICS)).
    """
    old_logprobs, old_values, advantages, returns = numbers.unbind(2)
    mask, c = batch.response_mask, coefficients
    seen = policy.evaluate(batch, temperature=temperature, places=places, with_entropy=with_entropy)
    policy_loss = clipped_policy_loss(
        seen.logprobs, old_logprobs, advantages, mask, c.clip_range, c.dual_clip
    )
    value_loss = clipped_value_loss(seen.values, old_values, returns, mask, c.clip_range_value)
    loss = (policy_loss + c.vf_coef * value_loss).sum((-2, -1))
    if seen.entropy is not None:
        loss = loss - c.ent_coef[:, 0, 0] * masked_sum(seen.entropy, mask)
    with torch.no_grad():
        statistics = (
            torch.ones_like(policy_loss),
            policy_loss,
            value_loss,
            estimate_kl(old_logprobs, seen.logprobs, "k3"),
            is_clipped(seen.logprobs, old_logprobs, advantages, c.clip_range).to(policy_loss.dtype),
        )
        sums = masked_sum(torch.stack(statistics, 1), mask[:, None])
    return torch.autograd.grad((loss / tokens).sum(), policy.trainable, allow_unused=True), sums
