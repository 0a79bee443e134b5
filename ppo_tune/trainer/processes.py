"""The processes that train one policy together, each with its share of the rows; alone by default.

Every process holds the whole policy and the whole experience. Sampling, scoring and the forward and
backward passes are shared out row by row; gradients are added up before each optimizer step. A micro-batch
never changes a gradient, so neither does the number of processes.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppo_tune.errors import ConfigError, Problem

if TYPE_CHECKING:
    from accelerate import Accelerator


class ProcessGroup:
    """Processes that train together: one on its own; `AcceleratedProcesses` are many.

    Attributes:
        rank: This process among all, from 0.
        size: How many there are.
    """

    rank = 0
    size = 1

    def gather(self, rows: Tensor) -> Tensor:
        """All processes' rows in their order, (b, ...) -> (B, ...); this process has every size-th one."""
        return rows

    def add_up(self, tensor: Tensor) -> None:
        """Replace the tensor by its sum over all processes."""

    def check_divides(self, name: str, rows: int) -> None:
        """Refuse a number of rows that cannot be shared out evenly.

        Raises:
            ConfigError: If it cannot.
        """
        if rows % self.size:
            what = f"must be a multiple of the {self.size} processes, but got {rows}"
            raise ConfigError([Problem(name, what)])


class AcceleratedProcesses(ProcessGroup):
    """Processes started by `accelerate launch`, which know by its `Accelerator` how to talk to each other."""

    def __init__(self, accelerator: "Accelerator") -> None:
        self.accelerator = accelerator
        self.rank = accelerator.process_index
        self.size = accelerator.num_processes

    def gather(self, rows: Tensor) -> Tensor:
        """All processes' rows in their order; process r holds rows r, r + size, r + 2·size, ..."""
        stacked: Tensor = self.accelerator.gather(rows.contiguous())
        return stacked.view(self.size, len(rows), *rows.shape[1:]).transpose(0, 1).flatten(0, 1)

    def add_up(self, tensor: Tensor) -> None:
        """Replace the tensor by its sum over all processes."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
