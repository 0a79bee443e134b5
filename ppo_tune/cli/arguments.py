"""What is meant by the paths and studies that are typed: one rule for all commands."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from typer.models import ArgumentInfo, OptionInfo

from ppo_tune.config.paths import filled_in
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.search.folders import StudyFolder

SQLITE = "sqlite:///"


@dataclass(frozen=True)
class CanBePath:
    """Marks a text that can be a path, as that of a model can; it may begin with what no path begins with."""

    before: str = ""


@dataclass(frozen=True)
class IsStudy:
    """Marks a text that names a study."""


def meant(signature: inspect.Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a command as they are meant, from those that were typed.

    In paths `~` and variables of the environment are filled in. A study may be told by its file or its folder in
    `runs/`, which then says where it is.

    Raises:
        ConfigError: If a variable is not set, a user not known, or a study told to be in two places.
    """
    found: dict[str, Any] = {}
    problems = []
    for name, value in given.items():
        parameter = signature.parameters[name]
        try:
            found[name] = _filled_in(value, _marks(parameter.annotation))
        except ValueError as error:
            problems.append(Problem(_typed(parameter), str(error)))
    if problems:
        raise ConfigError(problems)
    for name, parameter in signature.parameters.items():
        if IsStudy() in _marks(parameter.annotation):
            found[name], found["out"] = study_at(found[name], found["out"])
    return found


def study_at(given: str, out: Path) -> tuple[str, Path]:
    """A study's name, and the folder that holds its `runs/`.

    Args:
        given: The name, the study's file, or its folder in `runs/`.
        out: The folder where that says none.

    Raises:
        ConfigError: If another folder was given than the study is in.
    """
    path = Path(os.path.abspath(given))
    is_file = path.suffix in (".yaml", ".yml")
    is_bare = given == path.name  # a name may hold dots, too
    if not given or (is_bare and (not is_file or StudyFolder.of(out, given).path.is_dir())):
        return given, out
    name, folder = (path.stem, path.parent) if is_file else (path.name, path)
    if folder.name != name or folder.parent.name != "runs":
        return (name if is_file else given), out
    there = folder.parent.parent
    if out != Path() and out.resolve() != there.resolve():
        what = f"is {out}, but {given} is in {there}; leave one of both out, or name the study by {name}"
        raise ConfigError([Problem("--out", what)])
    return name, out if out != Path() else Path(os.path.relpath(there))


def _filled_in(value: Any, marks: list[Any]) -> Any:
    """A value in which every path is filled in."""
    if isinstance(value, list):
        return [_filled_in(one, marks) for one in value]
    if isinstance(value, Path):
        return Path(filled_in(str(value), Path()))
    for mark in marks:
        if isinstance(mark, CanBePath) and isinstance(value, str) and value.startswith(mark.before):
            return mark.before + filled_in(value.removeprefix(mark.before), Path())
    return value


def _marks(annotation: Any) -> list[Any]:
    """What an annotation holds beside its type."""
    return list(get_args(annotation)[1:]) if get_origin(annotation) is Annotated else []


def _typed(parameter: inspect.Parameter) -> str:
    """How a parameter is called on the command line."""
    told = next(
        (mark for mark in _marks(parameter.annotation) if isinstance(mark, ArgumentInfo | OptionInfo)), None
    )
    if isinstance(told, ArgumentInfo):
        return (told.metavar or parameter.name).upper()
    named = [flag for flag in getattr(told, "param_decls", None) or () if flag.startswith("--")]
    return named[0] if named else "--" + parameter.name.replace("_", "-")
