"""Workers as processes of this machine: fresh Pythons, each connected by a pipe, that end when their parent does.

A process whose worker's work is over waits for another worker, for what it imported takes seconds to import.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType

from ppo_tune.errors import ConfigError, Problem
from ppo_tune.search.workers import Channel, Ended, Message, T, Work, Worker, Workers, carry_out

START = multiprocessing.get_context("spawn")
"""How a process begins: as a fresh Python, which knows nothing of this one."""

STOP = "stop"
"""All that a parent sends beside work."""


@dataclass(frozen=True)
class _Process:
    """A worker's process and the parent's end of its pipe."""

    process: BaseProcess
    pipe: Connection


class LocalWorkers(Workers):
    """Processes of this machine."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._processes: dict[Worker, _Process] = {}
        self._idle: dict[int, _Process] = {}
        """By the index of the worker that each had, for on a GPU its place is there."""

    def start(self, worker: Worker) -> None:
        """Give the worker to a process, which gets it pickled."""
        process = self._idle.pop(worker.index, None) or _new_process(f"ppo-tune-worker-{worker.index}")
        with contextlib.suppress(OSError):  # it died while it waited, and `events` will say so
            process.pipe.send((self.work, worker))
        self._processes[worker] = process

    def beforehand(self, work: Callable[[T, Channel], None], given: T) -> list[Message]:
        """Have the process that will be the first worker's do something else before.

        Returns:
            All that it sent, how its work ended last; of a process that died only what came before, for the workers
            that follow will say why.
        """
        sent: list[Message] = []
        process = self._idle[0] = self._idle.get(0) or _new_process("ppo-tune-worker-0")
        with contextlib.suppress(EOFError, OSError):
            process.pipe.send((work, given))
            while not isinstance(message := process.pipe.recv(), Ended):
                sent.append(message)
            return sent
        del self._idle[0]
        process.process.join()
        return sent

    def events(self, timeout: float) -> Iterator[tuple[Worker, Message | Ended]]:
        """One message of each worker that sent any."""
        ready = wait([process.pipe for process in self._processes.values()], timeout)
        for worker, process in list(self._processes.items()):
            if process.pipe in ready:
                yield worker, self._receive(worker)

    def _receive(self, worker: Worker) -> Message | Ended:
        """A worker's next message; a pipe that was closed is the end of its process."""
        process = self._processes[worker]
        try:
            message: Message | Ended = process.pipe.recv()
        except (EOFError, ConnectionResetError):
            process.process.join()
            message = Ended(f"exit code {process.process.exitcode}")
        else:
            if isinstance(message, Ended):
                self._idle[worker.index] = process
        if isinstance(message, Ended):
            del self._processes[worker]
        return message

    def stop(self, worker: Worker) -> None:
        """Send the only message that a worker gets."""
        if worker in self._processes:
            with contextlib.suppress(OSError):  # it ended by itself just now
                self._processes[worker].pipe.send(STOP)

    def kill(self, worker: Worker) -> None:
        """Kill the process."""
        if worker in self._processes:
            process = self._processes[worker].process
            process.kill()
            process.join()

    def alive(self) -> Sequence[Worker]:
        """Those that have a process."""
        return list(self._processes)

    def close(self) -> None:
        """Kill the processes that wait for work."""
        for idle in self._idle.values():
            idle.process.kill()
            idle.process.join()
        self._idle.clear()


class _Pipe(Channel):
    """The worker's end of the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._stop = False

    def send(self, message: Message) -> None:
        """Send a message, an event as a plain dict."""
        with contextlib.suppress(OSError):  # nobody listens any more
            self._pipe.send(dict(message) if isinstance(message, Mapping) else message)

    def stop_requested(self) -> bool:
        """Whether the message ever came."""
        self._stop = self._stop or (self._pipe.poll() and self._pipe.recv() == STOP)
        return self._stop


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Within this block Ctrl-C waits, also in a process that is started, until that ignores it."""
    resource_tracker.ensure_running()  # would let Ctrl-C in if the first process started it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Within this block a process that is started does not begin with the script that runs here, nor look for it.

    Such a script would start the search once more, and that of a notebook or of the standard input is no file.
    """
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def _new_process(name: str) -> _Process:
    """Start a process that waits for work."""
    ours, theirs = START.Pipe()
    process = START.Process(target=_live, args=(theirs,), name=name)
    with _no_interrupts(), _no_main():
        process.start()
    theirs.close()
    return _Process(process, ours)


def _live(pipe: Connection) -> None:
    """What a worker's process does, for one worker after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # until nobody is there any more
        while True:
            told = pipe.recv()
            if told != STOP:  # which was for a worker whose work was over
                work, worker = told
                carry_out(work, worker, _Pipe(pipe))
                gc.collect()
                pipe.send(Ended("its work over"))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def number_of_workers(wanted: int | None) -> int:
    """So many workers as are wanted, or what suits this machine.

    Raises:
        ConfigError: If that cannot be a number of processes.
    """
    if wanted is None:
        return default_workers()
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        what = f"must be a whole number of at least 1, or None for one per GPU or core, but got {wanted!r}"
        raise ConfigError([Problem("workers", what)])
    return wanted


def default_workers() -> int:
    """One worker per GPU, or one per core of this machine."""
    if not version("torch").endswith("+cpu"):  # such a build knows no GPU and need not be loaded to say so
        import torch

        if torch.cuda.is_available():
            return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
