"""The process that runs programs: it reads a job a line, forks for each program, and answers with a line.

It is started by `ppo_tune.programs.runners` without our environment, and holds nothing of ours.
"""

import gc
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import TextIO

from ppo_tune.programs import namespaces
from ppo_tune.programs.limits import CALLS, CallFilter, filter_code
from ppo_tune.programs.processes import Room
from ppo_tune.programs.running import KINDS

OFTEN_IMPORTED = (
    "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "fractions", "functools", "heapq",
    "itertools", "math", "operator", "re", "statistics", "string", "typing",
)  # fmt: skip
"""Modules that programs find ready, for a fork has what its parent has."""

NOT_GRANTED = 77
"""How a process ends for which the system makes no world of its own."""


def main(memory_mb: int, ours: str, *, isolated: bool, filtered: bool) -> None:
    """Serve until whoever asks goes away; says first what programs are kept from.

    Args:
        memory_mb: Megabytes of address space of each program.
        ours: The folder that this package was imported from, where a program finds nothing.
        isolated: Whether to serve in a world of its own, if the system makes one.
        filtered: Whether to filter the calls of programs, if the system does.
    """
    sys.path.remove(ours)
    for name in [name for name in sys.modules if name.partition(".")[0] == __package__.partition(".")[0]]:
        del sys.modules[name]  # a program has the standard library, and would find these there
    jobs = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)

    def serve(*, alone: bool) -> None:
        try:
            _serve(jobs, answers, Room(memory_mb, _filter() if filtered else None, alone))
        except BaseException:  # a bug of ours, told by whoever asked
            answers.write(json.dumps({"bug": traceback.format_exc()}) + "\n")
            answers.flush()

    if not isolated or _forked(lambda: _isolated(lambda: serve(alone=True))) == NOT_GRANTED:
        serve(alone=False)


def _isolated(serve: Callable[[], None]) -> int:
    """Serve in a world of its own, if the system makes one."""

    def first() -> int:
        namespaces.settle()
        serve()
        return 0

    namespaces.leave()
    return _forked(first)


def _forked(work: Callable[[], int]) -> int:
    """Do some work in a child; how that ended."""
    pid = os.fork()
    if pid == 0:
        try:
            code = work()
        except OSError:
            code = NOT_GRANTED
        except BaseException:
            code = 1
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _filter() -> CallFilter | None:
    """The filter of calls; None where the system has none that is known here."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in CALLS:
        return None
    found = CallFilter(filter_code(machine))
    return None if _forked(lambda: int(not found.apply())) else found


def _serve(jobs: TextIO, answers: TextIO, room: Room) -> None:
    for name in OFTEN_IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what forks share is not looked at by each
    gc.disable()
    answer: object = {"isolated": room.alone, "filtered": room.calls is not None}
    while True:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        line = jobs.readline()
        if not line:
            return
        job = json.loads(line)
        answer = KINDS[job["kind"]](job, room)
