"""A number with its noun: the words, and that nobody writes them by hand where there may be one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppo_tune.plurals import counted

PACKAGE = Path(__file__).parent.parent / "ppo_tune"

NOUNS = (
    "trials", "prompts", "examples", "runs", "rows", "pairs", "episodes", "things", "workers", "responses", "tokens",
    "seeds", "configs", "cells", "studies", "preferences", "milestones", "steps", "combinations", "processes", "judges",
    "lines", "files", "points", "columns", "parameters", "times", "iterations", "rollouts", "labels", "epochs",
)  # fmt: skip
"""Of what there may be one."""

_WORD = re.compile(r" (?:[a-z-]+ )?(" + "|".join(NOUNS) + r")\b")


@pytest.mark.parametrize(
    ("n", "noun", "said"),
    [
        (0, "trial", "0 trials"),
        (1, "trial", "1 trial"),
        (2, "trial", "2 trials"),
        (12345, "episode", "12,345 episodes"),
        (2, "study", "2 studies"),
        (2, "day", "2 days"),
        (3, "batch", "3 batches"),
        (3, "process", "3 processes"),
        (1, "different prompt", "1 different prompt"),
        (2, "different prompt", "2 different prompts"),
    ],
)
def test_a_noun_follows_its_number(n: int, noun: str, said: str) -> None:
    assert counted(n, noun) == said


def written_by_hand(path: Path) -> Iterator[str]:
    """Whole numbers of f-strings that a plural follows; `3 of 4 trials` and numbers with a fraction are none."""
    for string in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(string, ast.JoinedStr):
            continue
        before = ""
        for part, after in zip(string.values, [*string.values[1:], None], strict=True):
            if isinstance(part, ast.FormattedValue) and isinstance(after, ast.Constant):
                found = _WORD.match(str(after.value))
                spec = "" if part.format_spec is None else ast.unparse(part.format_spec)
                if found and not re.search(r"[\dg]'$|f'$", spec) and not before.endswith("of "):
                    yield f"{path.relative_to(PACKAGE)}:{part.lineno}: {ast.unparse(part.value)}{found[0]}"
            before = str(part.value) if isinstance(part, ast.Constant) else ""


SAID = ("cli", "config", "data", "drafting.py", "fitting", "tasks", "tuning")
"""What speaks of the user's own numbers, which may be small."""

ALWAYS_SEVERAL = {
    "result.parameters parameters", "search.max_episodes episodes", "LEAST.runs runs", "limit tokens",
    "context_length(self.weights.model) tokens", "max_prompt_tokens tokens", "n rows", "self.limit tokens",
}  # fmt: skip
"""Numbers that no file makes one."""

NO_NUMBERS = {
    "of trials", "split prompts", "_count(self.parameters) parameters",
    "', '.join((f'{e:,}' for e in config.milestone_episodes())) episodes",
}  # fmt: skip
"""Texts that stand before a noun."""


def test_no_plural_is_written_by_hand() -> None:
    paths = [path for place in SAID for path in [PACKAGE / place, *(PACKAGE / place).rglob("*.py")]]
    found = [one for path in sorted(paths) if path.is_file() for one in written_by_hand(path)]

    assert [one for one in found if one.partition(": ")[2] not in ALWAYS_SEVERAL | NO_NUMBERS] == []
