"""A process for one program, forked from this one: begun with limits, heard, and ended with all that it began."""

import gc
import os
import random
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from ppo_tune.programs.limits import CallFilter, limit

BY_THE_CLOCK = 10
"""How many times its processor time a program may last by the clock, which runs on while others compute."""

MOST_OUTPUT = 1_000_000
"""Bytes that are read of a process; one that says more is ended."""

LATE = (signal.SIGPROF, signal.SIGXCPU, signal.SIGKILL)
"""What ends a process whose time is up."""

Say = Callable[[str], None]
"""Says a line to whoever waits for a process."""


@dataclass(frozen=True)
class Ended:
    """What came of a process.

    Attributes:
        output: What it said or printed.
        seconds: Processor time that it took.
        status: How it ended, as the system says: 0 if by itself and without an error.
    """

    output: str
    seconds: float
    status: int

    @property
    def in_time(self) -> bool:
        """Whether it ended before it was ended."""
        return not os.WIFSIGNALED(self.status) or os.WTERMSIG(self.status) not in LATE


@dataclass(frozen=True)
class Room:
    """What programs run in.

    Attributes:
        memory_mb: Megabytes of address space of each.
        calls: The filter of kernel calls; None where there is none.
        alone: Whether this is the first process of a world of its own, where all others are a program's.
    """

    memory_mb: int
    calls: CallFilter | None
    alone: bool

    def run(self, work: Callable[[Say], None], seconds: float) -> Ended:
        """Do some work in a process of its own, which reads nothing and says lines."""

        def child(writing: int) -> None:
            os.dup2(writing, 3)
            os.closerange(4, 256)
            self._confine(seconds)
            write = os.write  # whatever a program makes of it later

            def say(line: str) -> None:
                data = f"{line}\n".encode(errors="replace")
                while data:
                    data = data[write(3, data) :]

            work(say)

        return self._fork(child, seconds)

    def run_script(self, work: Callable[[], None], seconds: float, stdin: int) -> Ended:
        """Do some work in a process of its own, which reads a file and prints."""

        def child(writing: int) -> None:
            os.dup2(stdin, 0)
            os.dup2(writing, 1)
            os.closerange(3, 256)
            self._confine(seconds)
            flush = sys.stdout.flush
            work()
            flush()

        return self._fork(child, seconds)

    def _fork(self, child: Callable[[int], None], seconds: float) -> Ended:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            _do(child, writing, os._exit)
        os.close(writing)
        try:
            output = _read(reading, time.monotonic() + BY_THE_CLOCK * seconds)
        finally:
            os.close(reading)
        return self._end(pid, output)

    def _confine(self, seconds: float) -> None:
        """Limit this process for good."""
        os.setsid()
        random.seed(0)
        gc.enable()
        limit(seconds, self.memory_mb)
        if self.calls is not None and not self.calls.apply():
            os._exit(1)

    def _end(self, pid: int, output: bytes) -> Ended:
        """End a process that says nothing more, with all that it began."""
        waited, status, used = _wait_a_moment(pid)
        if not waited:
            os.kill(pid, signal.SIGKILL)
        if self.calls is None:  # else it could begin none
            with suppress(OSError):
                os.kill(-1 if self.alone else -pid, signal.SIGKILL)
        if not waited:
            _, status, used = os.wait4(pid, 0)
        while self.calls is None and self.alone and _reaped():
            pass
        return Ended(output.decode(errors="replace"), used.ru_utime + used.ru_stime, status)


def _do(child: Callable[[int], None], writing: int, leave: Callable[[int], NoReturn]) -> NoReturn:
    """Do a child's work and leave, whatever a program raises or has made of `os` meanwhile."""
    try:
        child(writing)
    except BaseException:
        leave(1)
    leave(0)


def _read(reading: int, deadline: float) -> bytes:
    """What is written until nobody writes any more, the deadline has passed, or it is too much."""
    parts, size = [], 0
    while size <= MOST_OUTPUT:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready or not (part := os.read(reading, 65_536)):
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _wait_a_moment(pid: int) -> tuple[int, int, resource.struct_rusage]:
    """How a process ended that is about to; its number is 0 if it does not."""
    for seconds in (0.0, 0.0002, 0.001, 0.01, 0.1):
        time.sleep(seconds)
        waited = os.wait4(pid, os.WNOHANG)
        if waited[0]:
            return waited
    return waited


def _reaped() -> bool:
    """Take note of the end of a process that nobody else waits for; says whether there was one."""
    try:
        return os.waitpid(-1, 0)[0] > 0
    except ChildProcessError:
        return False
