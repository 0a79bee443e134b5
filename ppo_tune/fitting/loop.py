"""The loop by which a model is fitted, to responses or to preferences: AdamW on minibatches in a random order."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ppo_tune.config.fitting import RewardTrainingConfig, SFTConfig
from ppo_tune.errors import ModelError
from ppo_tune.fitting.weights import FittedWeights
from ppo_tune.models.memory import MemoryChunks, is_out_of_memory
from ppo_tune.seeding import generator

Row = TypeVar("Row")


@dataclass(frozen=True)
class Step:
    """How far a fit is, after an optimizer step.

    Attributes:
        epoch: The pass over the data, from 1.
        epochs: How many there are.
        number: The step, from 1, over all epochs.
        steps: How many there are.
        loss: The minibatch's mean loss, before the step.
    """

    epoch: int
    epochs: int
    number: int
    steps: int
    loss: float

    @property
    def done(self) -> float:
        """How much of the work is done, from 0 to 1."""
        return self.number / self.steps


Progress = Callable[[Step], None]
"""Told of every step."""

LARGEST_GRADIENT = 1.0
"""The norm that the gradient of a step is clipped to."""


@dataclass(frozen=True)
class Loss(Generic[Row]):
    """What is minimized: the mean over the terms of a minibatch's rows.

    Attributes:
        of: The loss of each of n rows, summed over its terms, (n,); differentiable.
        terms: How many terms a row has, such as tokens.
    """

    of: Callable[[list[Row]], Tensor]
    terms: Callable[[Row], int]


def fit(
    weights: FittedWeights,
    rows: Sequence[Row],
    loss: Loss[Row],
    schedule: Callable[[torch.optim.Optimizer, int], LRScheduler],
    config: SFTConfig | RewardTrainingConfig,
    *,
    kind: str,
    progress: Progress,
) -> None:
    """Fit a model in place, with dropout off.

    Args:
        weights: What is fitted.
        rows: What it learns from.
        loss: What is minimized.
        schedule: The learning rate's course over so many steps.
        config: Epochs, sizes of batches, learning rate and seed.
        kind: The fit's name in the seed of its order.
        progress: Told how far the fit is.

    Raises:
        ModelError: If there is no memory for a single row.
    """
    optimizer = torch.optim.AdamW(weights.parameters, lr=config.learning_rate, weight_decay=0.0, fused=True)
    n_steps = config.epochs * math.ceil(len(rows) / config.batch_size)
    course = schedule(optimizer, n_steps)
    step, at_once = 0, config.micro_batch_size or config.batch_size
    for epoch in range(config.epochs):
        order = torch.randperm(len(rows), generator=generator(config.seed, kind, "order", epoch))
        for start in range(0, len(order), config.batch_size):
            batch = [rows[i] for i in order[start : start + config.batch_size].tolist()]
            mean, at_once = add_gradients(weights, batch, loss, at_once)
            torch.nn.utils.clip_grad_norm_(weights.parameters, LARGEST_GRADIENT)
            optimizer.step()
            optimizer.zero_grad()
            course.step()
            step += 1
            progress(Step(epoch + 1, config.epochs, step, n_steps, mean))


def add_gradients(
    weights: FittedWeights, batch: Sequence[Row], loss: Loss[Row], at_once: int
) -> tuple[float, int]:
    """Have the gradient of a minibatch's mean loss in the weights, micro-batch by micro-batch.

    Where memory does not suffice it begins again with micro-batches of half as many rows.

    Args:
        weights: What is fitted, without gradients.
        batch: The minibatch.
        loss: What is minimized.
        at_once: Rows of a micro-batch.

    Returns:
        The mean loss, and how many rows fitted into memory.

    Raises:
        ModelError: If there is no memory for a single row.
    """
    n_terms = sum(map(loss.terms, batch))
    while True:
        try:
            mean = 0.0
            for start in range(0, len(batch), at_once):
                part = _sum(weights, loss, batch[start : start + at_once]) / n_terms
                part.backward()
                mean += part.item()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if at_once == 1:
                raise ModelError(
                    "there is no memory for the gradient of a single row; fit low-rank adapters (lora_rank: 16), in "
                    "dtype: bfloat16, or take shorter texts or a smaller model"
                ) from error
            at_once = min(at_once, len(batch)) // 2 or 1
            for parameter in weights.parameters:
                parameter.grad = None
        else:
            return mean, at_once


def _sum(weights: FittedWeights, loss: Loss[Row], rows: Sequence[Row]) -> Tensor:
    with weights.at_work():
        return loss.of(list(rows)).sum()


@torch.no_grad()
def measure(
    weights: FittedWeights, rows: Sequence[Row], of: Callable[[list[Row]], Tensor], at_once: int
) -> Tensor:
    """What a model in fit says of rows, (N, ...) on the CPU; so many at once, or fewer where memory is short."""

    def work(_: slice, part: slice) -> Tensor:
        with weights.at_work():
            return of(list(rows[part])).cpu()

    return torch.cat([said for *_, said in MemoryChunks(at_once).run(work, trials=1, rows=len(rows))])
