"""The family of loggers: who gets the numbers of metrics.jsonl as well.

They get a copy, so none is worth a trial: one that fails is told about once, and the training goes on without.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ppo_tune.config.messages import unknown
from ppo_tune.config.methods import Loggers
from ppo_tune.errors import ConfigError, Problem, TrialError
from ppo_tune.tracking.base import Logger, Tracked

__all__ = ["LOGGERS", "Logger", "Tracked", "Tracking"]

LOGGERS = {"tensorboard": "TensorBoard", "wandb": "WandB"}
"""The class of each logger, in the module of the logger's name."""

WENT_WELL = ("completed", "pruned")
"""Endings that a logger does not show as a failure."""


class Tracking:
    """The loggers of one training, as one.

    Args:
        names: Which; none is fine.
        tracked: The training.
        warn: Told in words of a logger that failed and gets nothing more.

    Raises:
        ConfigError: If there is no logger of such a name.
    """

    def __init__(self, names: Loggers, tracked: Tracked, warn: Callable[[str], None]) -> None:
        self._name = tracked.name
        self._warn = warn
        self._loggers: dict[str, Logger] = {}
        for name in dict.fromkeys(names):
            if name not in LOGGERS:
                raise ConfigError([Problem("log", unknown(name, LOGGERS))])
            with self._forgiven(name):
                self._loggers[name] = _make(name, tracked)

    def log(self, line: Mapping[str, Any]) -> None:
        """Pass on a line of metrics.jsonl: `episodes`, and whatever is a finite number."""
        numbers = {
            name: float(value)
            for name, value in line.items()
            if name != "episodes" and isinstance(value, int | float) and math.isfinite(value)
        }
        self._each(lambda logger: logger.log(int(line["episodes"]), numbers))

    def forget_after(self, episodes: int) -> None:
        """Make void what an earlier part of the training logged after so many episodes: it comes again."""
        self._each(lambda logger: logger.forget_after(episodes))

    def finish(self, ending: str) -> None:
        """Say how the training ended, and close."""
        self._each(lambda logger: logger.finish(ending, failed=ending not in WENT_WELL))
        self._loggers.clear()

    @contextmanager
    def finished_after(self) -> Iterator[None]:
        """This block is the training, and its ending is the training's."""
        try:
            yield
        except BaseException as error:
            self.finish(error.ending if isinstance(error, TrialError) else "stopped")
            raise
        self.finish("completed")

    def _each(self, tell: Callable[[Logger], None]) -> None:
        for name, logger in list(self._loggers.items()):
            with self._forgiven(name):
                tell(logger)

    @contextmanager
    def _forgiven(self, name: str) -> Iterator[None]:
        """Drop a logger that raises, whatever it is: its library is not ours, and its numbers are a copy."""
        try:
            yield
        except Exception as error:
            self._loggers.pop(name, None)
            why = str(error) or type(error).__name__
            self._warn(f"{name} failed and gets nothing more of {self._name}, which goes on: {why}")


def _make(name: str, tracked: Tracked) -> Logger:
    """A logger; its library, an extra, is loaded now."""
    made: Logger = getattr(import_module(f"ppo_tune.tracking.{name}"), LOGGERS[name])(tracked)
    return made
