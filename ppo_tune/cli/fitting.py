"""What a person sees of a fit: a bar on a terminal, lines from time to time in a log, and how good the result is."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ppo_tune.cli.progress import LINE_SECONDS, clock
from ppo_tune.cli.terminal import errors, say

if TYPE_CHECKING:  # it imports torch, which help need not wait for
    from ppo_tune.fitting.loop import Step


NO_MODEL = "No model was written."
"""What is left of a fit that was stopped."""


@contextmanager
def fit_progress(
    console: Console = errors, seconds: float = LINE_SECONDS
) -> Iterator[Callable[["Step"], None]]:
    """Show a fit within this block, to be told of its steps.

    Args:
        console: Where; on a terminal a bar that is gone at the end, anything else gets lines.
        seconds: How often there is a line.
    """
    if not console.is_terminal:
        yield _Log(console, seconds)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("fitting", total=1.0)
        yield lambda step: progress.update(task, completed=step.done, description=_where(step, step.loss))


class _Log:
    """A line from time to time: where the fit is, the mean loss since the last line, and how long it will take."""

    def __init__(self, console: Console, seconds: float) -> None:
        self.console = console
        self.seconds = seconds
        self._told = monotonic()
        self._losses: list[float] = []
        self._first: tuple[float, Step] | None = None

    def __call__(self, step: "Step") -> None:
        self._losses.append(step.loss)
        now = monotonic()
        if self._first is None:  # before it the model was loaded, which says nothing of a step's time
            self._first = now, step
            return
        if now - self._told < self.seconds or step.number == step.steps:
            return
        begun, first = self._first
        left = (now - begun) * (1 - step.done) / (step.done - first.done)
        mean = sum(self._losses) / len(self._losses)
        self.console.print(f"{_where(step, mean)}, {clock(left)} left", soft_wrap=True)
        self._told, self._losses = now, []


def _where(step: "Step", loss: float) -> str:
    return f"epoch {step.epoch} of {step.epochs}, step {step.number:,} of {step.steps:,}, loss {loss:.3f}"


def careful(warnings: Iterable[str]) -> None:
    """Say what is wrong with a result, which is part of it."""
    for text in warnings:
        say(f"careful: {text}", final=True)


def interval(ends: tuple[float, float] | None) -> str:
    """An interval's words, with a comma for what follows; nothing where there is none."""
    return "" if ends is None else f"95 % interval {ends[0]:.3f} to {ends[1]:.3f}, "
