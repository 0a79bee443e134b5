"""What a logger is: it hears the numbers of one training as they come, and how it ended."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppo_tune.config.space import Space


@dataclass(frozen=True)
class Tracked:
    """A training that is logged.

    Attributes:
        study: What it belongs to, with others.
        name: What it is called there, such as `0007`.
        folder: Gets the logger's own folder.
        config: Every hyperparameter that its trainer uses.
        space: What the study searches; None if nothing is.
        judges: Who scores it beside what trials are compared by.
    """

    study: str
    name: str
    folder: Path
    config: Mapping[str, Any]
    space: Space | None = None
    judges: tuple[str, ...] = ()


class Logger(ABC):
    """Hears of one training; made when it begins. Whatever it raises costs its training nothing."""

    @abstractmethod
    def log(self, episodes: int, numbers: Mapping[str, float]) -> None:
        """Take numbers, all finite, that were measured after so many episodes."""

    @abstractmethod
    def finish(self, ending: str, *, failed: bool) -> None:
        """Close; nothing is logged after it."""

    def forget_after(self, episodes: int) -> None:
        """Make void what an earlier part of the training logged after so many episodes: it comes again."""
        return
