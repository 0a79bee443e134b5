"""The share of a row's unit tests that a response passes, which is a program: run apart from ours, with limits."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from textwrap import dedent
from typing import Any

from ppo_tune.config.rewards import UnitTestsRewardConfig
from ppo_tune.data.prompts import Prompt
from ppo_tune.data.tables import DROP
from ppo_tune.errors import ConfigError, DataError, Problem, RewardError
from ppo_tune.plurals import counted
from ppo_tune.programs.cases import NoColumnError, UnitTests, is_empty, tests_of, together
from ppo_tune.programs.runners import runners
from ppo_tune.rewards.base import Columns, Reward, sample

FENCE = re.compile(r"(^[ \t]*)?```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
"""A block of code in Markdown, with its indentation and its language; one that was cut off goes on to the end."""

HEAD = re.compile(r"^(?:@.*\n)*(?:async +def|def|class) +(\w+) *[(:]", re.MULTILINE)
"""Where a function or class begins at the margin of a text."""

PYTHON = {"", "py", "python", "python3"}
"""What the language of a block with a program is called."""

SETUPS = ("test_setup_code", "test_imports")
"""What MBPP calls the columns of what runs before its tests."""

CHUNK = 64
"""Expressions that one process evaluates."""


def check_unit_tests(config: UnitTestsRewardConfig, place: str, prompts: Sequence[Prompt]) -> list[str]:
    """Make sure that this system can run programs and every prompt has tests that can be read.

    Args:
        config: Names the columns.
        place: Where the config stands, such as task.reward.
        prompts: Those that it will see.

    Returns:
        What programs are not kept from, how many tests every program passes, and what looks as if it were to run before
        them and is named by no option, one sentence each.

    Raises:
        ConfigError: If the system cannot run them.
        DataError: If a prompt has no tests, or they have another form.
    """
    if not hasattr(os, "fork"):
        what = (
            f"programs are run in forks of a process, which {sys.platform} does not make; search on Linux, such as in "
            "WSL or a container"
        )
        raise ConfigError([Problem(place, what)])
    empty: list[tuple[str, str]] = []
    for prompt in prompts:
        where = prompt.where or "prompt"
        try:
            empty += ((where, source) for source in tests_of(config, prompt.columns).empty)
        except ValueError as error:
            way_out = "" if isinstance(error, NoColumnError) else f"; mend the row, or {DROP}"
            raise DataError(f"{where}: {place}: {error}{way_out}") from None
    told = runners(config.memory_mb).protection.told
    found = [] if told is None else [f"unit tests: {told}"]
    if empty:
        where, source = empty[0]
        found.append(
            f"{place}: {counted(len(empty), 'test', 'name')} nothing, so every program that loads passes, the first "
            f"{source!r} ({where})"
        )
    setups = [name for name in SETUPS if any(not is_empty(prompt.columns.get(name)) for prompt in prompts)]
    if setups and config.setup is None and config.language == "python":
        found.append(
            f"{place}: rows have code in column {setups[0]!r}, which runs before the tests of MBPP, and not here; name "
            f"it by setup: {setups[0]}"
        )
    return found


def program_of(response: str, prefix: str) -> str:
    """The program of a response: its first block of Python in Markdown, or all of it, behind a prefix.

    Where such a block defines, at its margin, the last function or class that the prefix begins, only what stands above
    that in the prefix is kept.
    """
    block = next((block for block in FENCE.finditer(response) if block[2].lower() in PYTHON), None)
    if not prefix:
        program = response if block is None else dedent(block[3])
        return program.strip()  # tokenizers begin a response with a space
    if block is None:
        return prefix + response
    indent = block[1] or ""  # of a list; a body keeps its own
    program = re.sub(f"^{indent}", "", block[3], flags=re.MULTILINE)
    heads, defined = [*HEAD.finditer(prefix)], {head[1] for head in HEAD.finditer(program)}
    if heads and heads[-1][1] in defined:
        return f"{prefix[: heads[-1].start()]}\n{program}"
    return prefix + program


class UnitTestsReward(Reward):
    """The share of the row's tests that a program passes, 0 to 1; one that cannot be run passes none.

    Args:
        config: The language, the columns and the limits.
    """

    def __init__(self, config: UnitTestsRewardConfig) -> None:
        self.config = config
        self._tests: dict[str, UnitTests] = {}

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        """One share per response; programs that are the same and have the same tests run once."""
        wanted: dict[tuple[str, str], UnitTests] = {}
        keys = []
        for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            row = {name: values[i] for name, values in columns.items()}
            try:
                key, tests = self._tests_of(row)
            except ValueError as error:
                raise RewardError(f"{self}: {error}, for {sample(prompt, response)}") from None
            prefix = row[self.config.prefix] if self.config.prefix else ""
            keys.append((program_of(response, prefix), key))
            wanted.setdefault(keys[-1], tests)
        programs = [program for program, _ in wanted]
        shares = dict(zip(wanted, self._shares(programs, [*wanted.values()]), strict=True))
        return [shares[key] for key in keys]

    def _tests_of(self, row: Mapping[str, Any]) -> tuple[str, UnitTests]:
        """A row's tests, read once, with what they are known by."""
        named = {name: row.get(name) for name in self.config.columns.values()}
        key = json.dumps(named, sort_keys=True, default=str)
        if key not in self._tests:
            self._tests[key] = tests_of(self.config, row)
        return key, self._tests[key]

    def _shares(self, programs: Sequence[str], tests: Sequence[UnitTests]) -> list[float]:
        """What share of its tests each program passes."""
        jobs = [each.job(program, self.config.timeout) for program, each in zip(programs, tests, strict=True)]
        if self.config.language == "python":
            answers = runners(self.config.memory_mb).answers(jobs)
        else:
            chunks = [jobs[i : i + CHUNK] for i in range(0, len(jobs), CHUNK)]
            found = runners(self.config.memory_mb).answers([*map(together, chunks)])
            pairs = zip(found, chunks, strict=True)
            answers = [value for answer, chunk in pairs for value in answer or [None] * len(chunk)]
        return [
            0.0 if answer is None else each.passed(answer) / each.count
            for answer, each in zip(answers, tests, strict=True)
        ]

    def __str__(self) -> str:
        return "reward unit_tests"
