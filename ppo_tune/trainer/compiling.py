"""The pass through model and losses, compiled.

It is then one flat program without Python and with its small operations fused, for one shape of micro-batch: so
micro-batches are padded to one width and one length, and whatever has another shape, a pack that is not full or half
of what did not fit into memory, goes through as it is. It only saves time: no result depends on it, and a trainer
knows it only as its `learn`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ppo_tune.errors import ModelError
from ppo_tune.models import Policy, Sequences
from ppo_tune.trainer.loss import Gradients, gradients
from ppo_tune.trainer.trainer import PPOTrainer

MOST_SHAPES = 4
"""Sizes of micro-batches that are compiled for one trainer; each takes its time once."""


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

    Prompts are padded to `width` tokens, and responses to `length`.
    """

    def __init__(self, policy: Policy, width: int, length: int) -> None:
        self.policy = policy
        self.width = width
        self.length = length
        self._sizes: set[tuple[int, int]] = set()
        self._learn: Any = torch.compile(  # type: ignore[call-overload]
            gradients, fullgraph=True, dynamic=False, isolate_recompiles=True, recompile_limit=2 * MOST_SHAPES
        )

    @classmethod
    def of(cls, trainer: PPOTrainer) -> "CompiledPass":
        """One for the prompts and responses of a trainer."""
        return cls(trainer.policy, trainer.prompts.longest, trainer.shared.max_new_tokens)

    def takes(self, k: int, rows: int, width: int, length: int) -> bool:
        """Whether a micro-batch of k trials with so many rows each, of these tokens at most, is to go through it.

        A size that was not seen before is taken on as long as they are few.
        """
        fits = k == self.policy.places and width <= self.width and length <= self.length
        if fits and len(self._sizes) < MOST_SHAPES:
            self._sizes.add((k, rows))
        return fits and (k, rows) in self._sizes

    def __call__(
        self, policy: Policy, batch: Sequences, numbers: Tensor, *others: Any, **settings: Any
    ) -> Gradients:
        """As `gradients`.

        Raises:
            ModelError: If the model's code cannot be compiled.
        """
        width, (k, rows, length) = batch.prompts.ids.shape[-1], batch.response_ids.shape
        if not self.takes(k, rows, width, length):
            return gradients(policy, batch, numbers, *others, **settings)
        batch = batch.widen(self.width, self.length)
        numbers = pad(numbers, (0, self.length - length))
        from torch._dynamo import config, exc  # two seconds to import, for those who compile

        try:
            with config.patch(trace_autograd_ops=True):  # forward and backward as one program
                found: Gradients = self._learn(policy, batch, numbers, *others, **settings)
        except exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"model.compile: the learning pass of this model cannot be compiled ({reason}); set compile: false"
            ) from error
        return found
