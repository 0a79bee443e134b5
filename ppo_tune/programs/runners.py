"""The processes that run programs, as seen from here: started when they are first needed, started again if one dies."""

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from queue import LifoQueue
from typing import Any

from ppo_tune.errors import PPOTuneError

Job = Mapping[str, Any]

MOST = 16
"""Processes that run programs for one of ours: a search has several."""

OURS = str(Path(__file__).resolve().parents[2])

START = "import sys; sys.path.append({ours!r}); from ppo_tune.programs.runner import main; main({given})"


class RunnerError(PPOTuneError):
    """No process can be started that runs programs."""


@dataclass(frozen=True)
class Protection:
    """What programs are kept from on this system.

    Attributes:
        isolated: They see no network, no process and no file but Python's libraries.
        filtered: The kernel denies them to write, to fork and to connect.
    """

    isolated: bool
    filtered: bool

    @property
    def told(self) -> str | None:
        """What they are not kept from, as a sentence; None if nothing."""
        if self.isolated:
            return None
        if self.filtered:
            return (
                "programs can write no file, start no process and use no network, but read the files of this account, "
                "for this system grants it no namespaces"
            )
        return (
            "programs are limited in time and memory alone: they can change the files of this account and use the "
            "network, for this system grants it neither namespaces nor a filter of system calls; judge those that you "
            "do not trust in a container"
        )


class Runner:
    """One process that runs programs, one after the other.

    Args:
        memory_mb: Megabytes of address space of each program.
        most: What to keep programs from, where the system does.
    """

    def __init__(self, memory_mb: int, most: Protection = Protection(isolated=True, filtered=True)) -> None:
        given = f"{memory_mb}, {OURS!r}, isolated={most.isolated}, filtered={most.filtered}"
        code = START.format(ours=OURS, given=given)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-s",
                "-S",
                "-B",
                "-X",
                "utf8",
                "-c",
                code,
            ],  # with our environment: -I, and seeded
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
            cwd="/",
            encoding="utf-8",
            start_new_session=True,
        )
        self.close = weakref.finalize(self, _close, self._process)
        hello = self._heard()
        if hello is None:
            raise RunnerError("the process that runs programs ended as soon as it was started")
        self.protection = Protection(**hello)

    def answer(self, job: Job) -> Any:
        """What came of a job; None if the process died of it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        return self._heard()

    def _heard(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return None
        answer = json.loads(line)
        if isinstance(answer, dict) and "bug" in answer:
            raise AssertionError(answer["bug"])
        return answer


def _close(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    process.stdout.close()
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Runners:
    """As many processes that run programs as there are processors for this one, or `MOST`; started when needed.

    Args:
        memory_mb: Megabytes of address space of each program.
    """

    def __init__(self, memory_mb: int) -> None:
        self.memory_mb = memory_mb
        self._idle: LifoQueue[Runner | None] = LifoQueue()
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.size = min(processors, MOST)
        for _ in range(self.size):
            self._idle.put(None)

    def answers(self, jobs: Sequence[Job]) -> list[Any]:
        """What came of some jobs, in their order; None for one of which its process died twice."""
        if len(jobs) < 2:
            return [self._answer(job) for job in jobs]
        with ThreadPoolExecutor(min(self.size, len(jobs))) as pool:
            return list(pool.map(self._answer, jobs))

    @cached_property
    def protection(self) -> Protection:
        """What programs are kept from on this system.

        Raises:
            RunnerError: If no process can be started.
        """
        runner = self._idle.get() or Runner(self.memory_mb)
        self._idle.put(runner)
        return runner.protection

    def _answer(self, job: Job) -> Any:
        runner = self._idle.get()
        try:
            for _ in range(2):
                runner = runner or Runner(self.memory_mb)
                answer = runner.answer(job)
                if answer is not None:
                    return answer
                runner.close()
                runner = None
            return None
        finally:
            self._idle.put(runner)


@cache
def runners(memory_mb: int = 256) -> Runners:
    """The processes of this one that give each program so much memory; all rewards share them."""
    return Runners(memory_mb)
