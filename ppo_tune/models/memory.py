"""How much goes through the model at once: as much as memory holds.

Work is a rectangle of trials × responses. What does not fit is halved, first the responses, then the trials,
and the size that fitted is kept for what follows. Neither changes a result beyond rounding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch

T = TypeVar("T")


SIGNS = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""In errors that say it in words: of the CPU's allocator, of the CUDA driver, of its libraries."""


@dataclass
class MemoryChunks:
    """Chunks of work that fit into memory: rectangles of trials × responses of this size at most.

    Attributes:
        rows: Responses of each trial; None for all.
        trials: Trials; None for all.
    """

    rows: int | None = None
    trials: int | None = None

    def run(
        self, work: Callable[[slice, slice], T], *, trials: int, rows: int
    ) -> Iterator[tuple[slice, slice, T]]:
        """Do all of the work, chunk by chunk; `work` that runs out of memory must have changed nothing.

        Yields:
            The trials and the rows of a chunk, and what the work gave.

        Raises:
            RuntimeError: If memory does not suffice for one response of one trial, or for another reason.
        """
        waiting = [(slice(0, trials), slice(0, rows))]
        while waiting:
            chunk = waiting.pop()
            if len(pieces := self._cut(*chunk)) > 1:
                waiting.extend(reversed(pieces))
                continue
            try:
                done = work(*chunk)
            except RuntimeError as error:
                if not is_out_of_memory(error) or not self._halve(*chunk):
                    raise
                waiting.append(chunk)
            else:
                yield *chunk, done

    def _cut(self, trials: slice, rows: slice) -> list[tuple[slice, slice]]:
        return [(some, part) for some in _split(trials, self.trials) for part in _split(rows, self.rows)]

    def _halve(self, trials: slice, rows: slice) -> bool:
        """Try less from now on; False if this was the least there is."""
        n_trials: int = trials.stop - trials.start
        n_rows: int = rows.stop - rows.start
        if n_rows > 1:
            self.rows = n_rows // 2
        elif n_trials > 1:
            self.trials = n_trials // 2
        return n_rows > 1 or n_trials > 1


@dataclass
class Memory:
    """What fits into memory, of each kind of work.

    Attributes:
        decoding: Sampling, a position at a time.
        passes: Whole responses at once, with or without gradients.
    """

    decoding: MemoryChunks = field(default_factory=MemoryChunks)
    passes: MemoryChunks = field(default_factory=MemoryChunks)

    @classmethod
    def with_rows(cls, micro_batch_size: int | None) -> "Memory":
        """Passes of so many responses at most."""
        return cls(passes=MemoryChunks(rows=micro_batch_size))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch found no memory, on whichever device."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)


def _split(whole: slice, size: int | None) -> list[slice]:
    step = size or max(1, whole.stop - whole.start)
    return [slice(i, min(whole.stop, i + step)) for i in range(whole.start, whole.stop, step)]
