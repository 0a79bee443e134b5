"""Run programs against their tests, each in a process of its own, and say what came of it.

A test that is a statement runs beside the program, in its interpreter, and is passed when the process says a secret
word that was drawn for it. What a call returns and what a script prints come back as they are: whoever asks compares
them, so that what is expected is never within the program's reach.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.abc import InspectLoader
from types import CodeType, ModuleType
from typing import IO, Any

from ppo_tune.programs.expression import ProgramError, parse
from ppo_tune.programs.processes import Room, Say

Job = Mapping[str, Any]
"""What is asked for one program, or some expressions, as JSON holds it; its `kind` is one of `KINDS`."""


def statements(job: Job, room: Room) -> list[bool]:
    """Which tests of a program pass that are statements beside it.

    Args:
        job: Its `program`; `tests`, each a statement and whether it counts as a test; the name of a `function` that is
            called `candidate` by them, or null; `seconds`.
        room: What it runs in.
    """
    tests: Sequence[tuple[str, bool]] = job["tests"]
    words = [os.urandom(12).hex() for _ in tests]

    def work(say: Say) -> None:
        texts = [_Text(source) for source, _ in tests]
        solution = _load(job["program"], "solution")
        if job["function"] is not None:
            vars(solution)["candidate"] = getattr(solution, job["function"])
        for text, word in zip(texts, words, strict=True):
            with suppress(BaseException):  # whatever a program or its test raises: it did not pass
                text.exec_module(solution)
                say(word)

    said = {*room.run(work, job["seconds"]).output.splitlines()}
    return [word in said for word, (_, counts) in zip(words, tests, strict=True) if counts]


def calls(job: Job, room: Room) -> list[str | None]:
    """What a function of a program returns, as JSON; None for a call that raises or returns what JSON cannot hold.

    Args:
        job: The `program`; the `function`; the `inputs`, each a list of arguments or a dict of them by their names;
            `seconds` for all of them.
        room: What it runs in.
    """

    def work(say: Say) -> None:
        write = json.dumps
        function = getattr(_load(job["program"], "solution"), job["function"])
        for number, given in enumerate(job["inputs"]):
            with suppress(BaseException):  # as above
                value = function(**given) if isinstance(given, dict) else function(*given)
                say(f"{number} {write(value)}")

    return _numbered(room.run(work, job["seconds"]).output, len(job["inputs"]))


def scripts(job: Job, room: Room) -> list[str | None]:
    """What a program prints, run once for each input; None where it ends by an error or a limit.

    Args:
        job: The `program`; the `inputs`, texts for its standard input; `seconds` for all of them.
        room: What it runs in.
    """

    def work() -> None:
        try:
            _load(job["program"], "__main__")
        except SystemExit as leaving:
            if leaving.code not in (None, 0):
                raise

    found: list[str | None] = []
    left = float(job["seconds"])
    for text in job["inputs"]:
        if left <= 0:
            found.append(None)
            continue
        with _file_of(text) as stdin:
            ended = room.run_script(work, left, stdin.fileno())
        left = left - ended.seconds if ended.in_time else 0
        found.append(None if ended.status else ended.output)
    return found


def expressions(job: Job, room: Room) -> list[list[int | None]]:
    """The values of expressions, some in one process; None for one that has no value.

    Args:
        job: The `programs`; their `inputs`, for each a list of variables; `seconds` for all of them.
        room: What they run in.
    """

    def work(say: Say) -> None:
        for number, (program, inputs) in enumerate(zip(job["programs"], job["inputs"], strict=True)):
            say(f"{number} {json.dumps(_values(program, inputs))}")

    lines = _numbered(room.run(work, job["seconds"]).output, len(job["programs"]))
    return [
        [None] * len(inputs) if line is None else json.loads(line)
        for line, inputs in zip(lines, job["inputs"], strict=True)
    ]


KINDS = {"statements": statements, "calls": calls, "scripts": scripts, "expressions": expressions}
"""What can be asked, by its name."""


def _values(program: str, inputs: Sequence[Mapping[str, int]]) -> list[int | None]:
    try:
        expression = parse(program)
    except ProgramError:
        return [None] * len(inputs)
    found: list[int | None] = []
    for variables in inputs:
        try:
            found.append(expression(variables))
        except ProgramError:
            found.append(None)
    return found


class _Text(InspectLoader):
    """A text of Python that runs in a module, as its import would run it.

    Args:
        source: The text.

    Raises:
        SyntaxError: If it is no Python.
    """

    def __init__(self, source: str) -> None:
        self._code = compile(source, "<text>", "exec")

    def get_source(self, fullname: str) -> None:
        """What nobody asks for."""

    def get_code(self, fullname: str) -> CodeType:
        """The text as the interpreter runs it."""
        return self._code


def _load(program: str, name: str) -> ModuleType:
    """A program as a module."""
    module = sys.modules[name] = ModuleType(name)
    _Text(program).exec_module(module)
    return module


def _numbered(output: str, n: int) -> list[str | None]:
    """What was said of each number, the first time."""
    found: dict[str, str | None] = dict.fromkeys(map(str, range(n)))
    for line in output.splitlines():
        number, _, text = line.partition(" ")
        if number in found and found[number] is None:
            found[number] = text
    return list(found.values())


def _file_of(text: str) -> IO[bytes]:
    """A file that holds a text, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("stdin"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by whoever asks
    file.write(text.encode(errors="replace"))
    file.seek(0)
    return file
