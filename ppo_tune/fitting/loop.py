"""The loop by which a model is fitted, to responses or to preferences: AdamW on minibatches in a random order."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel

from ppo_tune.config.fitting import RewardTrainingConfig, SFTConfig
from ppo_tune.seeding import generator

Row = TypeVar("Row")

Progress = Callable[[float], None]
"""Told how much of the work is done, from 0 to 1."""

LARGEST_GRADIENT = 1.0
"""The norm that the gradient of a step is clipped to."""


def fit(
    model: PreTrainedModel,
    rows: Sequence[Row],
    loss: Callable[[list[Row]], Tensor],
    schedule: Callable[[torch.optim.Optimizer, int], LRScheduler],
    config: SFTConfig | RewardTrainingConfig,
    *,
    kind: str,
    progress: Progress,
) -> None:
    """Fit a model in place, with dropout off.

    Args:
        model: What is fitted, all of its weights.
        rows: What it learns from.
        loss: The mean loss of a minibatch, a scalar.
        schedule: The learning rate's course over so many steps.
        config: Epochs, batch size, learning rate and seed.
        kind: The fit's name in the seed of its order.
        progress: Told how far the fit is.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    n_steps = config.epochs * math.ceil(len(rows) / config.batch_size)
    course = schedule(optimizer, n_steps)
    model.train(False)  # dropout off: it draws from the global random numbers, and PPO has none either
    step = 0
    for epoch in range(config.epochs):
        order = torch.randperm(len(rows), generator=generator(config.seed, kind, "order", epoch)).tolist()
        for start in range(0, len(order), config.batch_size):
            loss([rows[i] for i in order[start : start + config.batch_size]]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            optimizer.zero_grad()
            course.step()
            step += 1
            progress(step / n_steps)
