"""Workers as processes of this machine: each is a fresh Python, connected by a pipe, and ends when its parent does."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from ppo_tune.search.workers import Channel, Ended, Message, Work, Worker, Workers, carry_out

STOP = "stop"
"""All that a parent ever sends."""


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

    def start(self, worker: Worker) -> None:
        """Start a process; what it is started with is pickled for it."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_live, args=(self.work, worker, theirs), name=f"ppo-tune-worker-{worker.index}"
        )
        with _no_interrupts():
            process.start()
        theirs.close()
        self._processes[worker] = _Process(process, ours)

    def events(self, timeout: float) -> Iterator[tuple[Worker, Message | Ended]]:
        """One message of each worker that sent any."""
        ready = wait([process.pipe for process in self._processes.values()], timeout)
        for worker, process in list(self._processes.items()):
            if process.pipe in ready:
                yield worker, self._receive(worker)

    def _receive(self, worker: Worker) -> Message | Ended:
        """A worker's next message; a pipe that was closed is the end of its process."""
        ended = self._processes[worker]
        try:
            message: Message = ended.pipe.recv()
            return message
        except (EOFError, ConnectionResetError):
            ended.process.join()
            del self._processes[worker]
            return Ended(f"exit code {ended.process.exitcode}")

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
        """Those whose pipe is open."""
        return list(self._processes)


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


def _live(work: Work, worker: Worker, pipe: Connection) -> None:
    """What a worker's process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    carry_out(work, worker, _Pipe(pipe))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def default_workers() -> int:
    """One worker per GPU, or one per core of this machine."""
    if not version("torch").endswith("+cpu"):  # such a build knows no GPU and need not be loaded to say so
        import torch

        if torch.cuda.is_available():
            return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
