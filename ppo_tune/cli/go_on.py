"""How to go on with a study: the flags that another command about it needs."""

import shlex
from pathlib import Path

from ppo_tune.search.address import public


def flags_of(storage: str | None, out: Path) -> str:
    """The flags that another command about the same study needs; a password is left out."""
    given = [] if out == Path() else ["--out", str(out)]
    if storage is not None:
        given += ["--storage", public(storage)]
    return "".join(f" {shlex.quote(word)}" for word in given)
