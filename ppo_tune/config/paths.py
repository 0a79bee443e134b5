"""From a name in a file to what it means: `~` and variables filled in, and where a relative path leads.

A relative path is looked up beside the file that names it, then where the command was started. Hub names stay as they
are: only what exists is taken for a path.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line fills in paths before anything heavy is loaded
    from ppo_tune.config.block import Named

_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{(\w+)\})", re.ASCII)

MODEL_FILES = ("config.json", "adapter_config.json")
"""A folder that holds one of them is a model."""


@dataclass(frozen=True)
class Located:
    """What a name in a file means.

    Attributes:
        value: The name as it is used: a path from where the command was started, or a whole one.
        told: Where it was found, as a sentence; empty where that is as written, or it is no path.
        surprises: Whether something else of that name was passed over.
    """

    value: str
    told: str = ""
    surprises: bool = False


def located(named: "Named", folder: Path | None, file: str = "the file that names it") -> Located:
    """What a name means in a file of a folder; without a folder, in none.

    Args:
        named: What is named, and where.
        folder: That of the file.
        file: How messages call the file.

    Raises:
        ValueError: If a variable is not set or a user not known; the message says the rule, the value and the way out.
    """
    if named.kind == "recipe" or Path(named.path).is_absolute():
        return Located(named.value)
    ending = named.value[len(named.path) :]
    path = filled_in(named.path, Path(), folder or Path())
    if folder is None or Path(path).is_absolute():
        return Located(path + ending)
    beside, here = Path(os.path.normpath(folder.resolve() / path)), Path(path)
    is_there = Path.exists if path.startswith(".") else _KINDS[named.kind]  # ./x and ../x are no hub names
    if not is_there(beside) or (here.exists() and here.samefile(beside)):
        return Located(path + ending)
    taken = _from_here(beside)
    told = f"{named.place}: {taken} is taken, which is beside {file}"
    if is_there(here):
        return Located(taken + ending, f"{told}; {here} is there too, where this was started", surprises=True)
    return Located(taken + ending, told)


def _is_model(path: Path) -> bool:
    return any((path / name).is_file() for name in MODEL_FILES)


def _is_data(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


_KINDS: dict[str, Callable[[Path], bool]] = {
    "file": _is_data,
    "function": Path.is_file,
    "model": _is_model,
    "judge": _is_model,
}
"""Whether a path is what a name of its kind means."""


def _from_here(path: Path) -> str:
    """A whole path as one writes it: from the working folder, if it is below that."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def filled_in(path: str, *folders: Path) -> str:
    """A path without `~`, `$VAR` and `${VAR}`, unless it leads to something as it is written, from one of the folders.

    Raises:
        ValueError: If a variable is not set or a user not known; the message says the rule, the value and the way out.
    """
    if any((folder / path).exists() for folder in folders):
        return path

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise ValueError(
                f"the variable {name} is not set, but got {path!r}; set it, or write the path out"
            )
        return os.environ[name]

    filled = _VARIABLE.sub(value, path)
    home = os.path.expanduser(filled)
    if home.startswith("~"):
        raise ValueError(f"there is no such user, but got {path!r}; write the path out, or ./~… for a file")
    return home


def seen_from(value: str, ending: str, folder: Path) -> str:
    """A name as a file in a folder has to say it: a relative path that leads somewhere, from there."""
    if Path(value).is_absolute() or not Path(value).exists():
        return value + ending
    return os.path.relpath(os.path.abspath(value), folder.resolve()) + ending
