"""The workers of a study as their supervisor sees them: the interface that every kind of runner brings.

A member starts workers somewhere, passes on what they send, and says when one has ended. It knows nothing of trials:
what becomes of those of a worker that ended, and when a search stops, is `ppo_tune.search.supervisor`'s business; what
a worker does is handed in.
"""

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from ppo_tune.errors import PPOTuneError
from ppo_tune.events import Event
from ppo_tune.search.facts import Owner
from ppo_tune.search.plan import Plan

T = TypeVar("T")


@dataclass(frozen=True)
class Worker:
    """A worker, by what it is started with; it can be sent to another process.

    Attributes:
        owner: This worker and none that was ever started before it; its trials belong to it.
        index: Its place among those that share the plan, from 0; its successor gets the same.
        plan: What there is to do.
        url: Of the store.
        folder: Where trials' files go.
        trials: How many of the plan it can expect.
        pack: How many of them it trains side by side; None lets it find out.
    """

    owner: Owner
    index: int
    plan: Plan
    url: str
    folder: Path
    trials: int
    pack: int | None = None


@dataclass(frozen=True)
class Done:
    """A worker's last message: there is nothing left to do. Who ends without it has died."""


@dataclass(frozen=True)
class Refused:
    """A worker's last message: something cannot be used; `message` is the user's to read."""

    message: str


@dataclass(frozen=True)
class Failed:
    """A worker's last message: it met a bug of ours."""

    traceback: str


@dataclass(frozen=True)
class Ended:
    """A worker is gone; the last of it, after all that it sent. `reason` goes on "the worker died with"."""

    reason: str


Message = Event | Done | Refused | Failed
"""What a worker sends."""


class Channel(ABC):
    """A worker's connection to its supervisor."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send a message; does nothing when nobody listens any more."""

    @abstractmethod
    def stop_requested(self) -> bool:
        """Whether the supervisor ever asked this worker to stop."""


Work = Callable[[Worker, Channel], None]
"""What a worker does, from its start to its end; importable by name."""


class Workers(ABC):
    """A runner: workers, wherever they are. As a context it is closed at its end.

    All methods but `start` may be called from a signal's handler. What holds for every member is tested over every
    member (`tests/search/test_workers.py`).

    Args:
        work: What each worker does; a member calls it by `carry_out`.
    """

    def __init__(self, work: Work) -> None:
        self.work = work

    @abstractmethod
    def start(self, worker: Worker) -> None:
        """Start a worker; from now on it is `alive`."""

    @abstractmethod
    def events(self, timeout: float) -> Iterator[tuple[Worker, Message | Ended]]:
        """What workers sent, each worker's in its order; waits until there is something, or for `timeout` seconds.

        Exactly one `Ended` comes of every worker, after all that it sent; then it is no longer `alive`.
        """

    @abstractmethod
    def stop(self, worker: Worker) -> None:
        """Have `stop_requested` say so in a worker; nothing happens to one that has ended."""

    @abstractmethod
    def kill(self, worker: Worker) -> None:
        """End a worker whatever it does, and return when it is gone; nothing happens to one that has ended."""

    @abstractmethod
    def alive(self) -> Sequence[Worker]:
        """The workers that were started and of which no `Ended` has come yet."""

    @abstractmethod
    def close(self) -> None:
        """Free what is kept for later workers; none may be alive."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def carry_out(work: Callable[[T, Channel], None], given: T, channel: Channel) -> None:
    """Do a worker's work, or other work with what it is given, and send how that ended."""
    try:
        work(given, channel)
    except PPOTuneError as error:
        channel.send(Refused(str(error)))
    except Exception:
        channel.send(Failed(traceback.format_exc()))
    else:
        channel.send(Done())
