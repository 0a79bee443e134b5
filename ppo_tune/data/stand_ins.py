"""The file that stands for an object which only a Python session has: it says what it was, and cannot be imported."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEXT = '''"""{label} is an object of the Python session that gave it to ppo-tune, and this file only stands for it.

In a study's folder it stays as it is. In the folder of an export put here, in place of all this, what scores:

    def score(prompts, responses, **columns):
        return [...]  # one number per response

Its code and the plain values that it uses: {content}
{source}"""

raise ImportError(
    "{label} is missing: put it here, in place of all this, as a function score(prompts, responses, **columns) that "
    "returns one number per response; ppo-tune had it from a Python session and has no file of it"
)
'''

SAYS_SO = re.compile(
    r'"""(.+) is an object of the Python session that gave it to ppo-tune, and this file only stands'
)
"""How such a file begins."""


def stand_in(value: Any, label: str, content: str) -> str:
    """The text of the file that stands for an object.

    Args:
        value: The object, whose source is quoted where it is known.
        label: What it is called.
        content: The hash of its code.
    """
    return TEXT.format(label=label, content=content, source=_source(value))


def stands_for(path: Path) -> str:
    """What a file stands for, by its label; empty if it is code, or there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    begins = SAYS_SO.match(text)
    return begins[1] if begins is not None and "\nraise ImportError(\n" in text else ""


def _source(value: Any) -> str:
    """The object's source as lines of a comment, where it is known."""
    of = value if hasattr(value, "__qualname__") else type(value)
    try:
        lines: Iterator[str] = iter(inspect.getsource(of).splitlines())
    except (OSError, TypeError):
        return ""
    return "".join(f"    {line}\n" for line in ("", *lines)).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
