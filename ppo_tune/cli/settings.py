"""Flags that set values of a file: the fields of a block, one each, with their rules and words; and `--set`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml.error import YAMLError

from ppo_tune.config.block import Block
from ppo_tune.config.messages import SIGNS, mistakes
from ppo_tune.config.strict_yaml import Document
from ppo_tune.errors import ConfigError, Problem

T = TypeVar("T")


def with_blocks(command: Callable[..., T]) -> Callable[..., T]:
    """A command with flags in place of its arguments that are blocks; all are checked before the command begins."""
    parameters = inspect.signature(command).parameters.values()
    blocks = {
        p.name: p.annotation
        for p in parameters
        if inspect.isclass(p.annotation) and issubclass(p.annotation, Block)
    }
    fields = {name: field for block in blocks.values() for name, field in block.model_fields.items()}

    @wraps(command)
    def run(**given: Any) -> T:
        made = _read(blocks, {name: given.pop(name) for name in fields})
        return command(**given, **made)

    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters if p.name not in blocks]
    flags = [_parameter(name, field) for name, field in fields.items()]
    returned = inspect.signature(command).return_annotation
    run.__signature__ = inspect.Signature([*own, *flags], return_annotation=returned)  # type: ignore[attr-defined]
    return run


def _read(blocks: Mapping[str, type[Block]], given: Mapping[str, Any]) -> dict[str, Block]:
    """Blocks by the names of their arguments, made of values by field; no two blocks have a field in common.

    Raises:
        ConfigError: With every mistake, by its flag.
    """
    made: dict[str, Block] = {}
    problems: list[Problem] = []
    for name, block in blocks.items():
        values = {field: given[field] for field in block.model_fields}
        try:
            made[name] = block.model_validate(values)
        except ValidationError as error:
            problems += [Problem(flag(str(place[0])), what) for place, what in mistakes(error, block, values)]
    if problems:
        raise ConfigError(problems)
    return made


def flag(field: str) -> str:
    """The flag of a field."""
    return "--" + field.replace("_", "-")


ALSO: Mapping[str, str] = {"reference": "--response"}
"""Another flag of a field, by its name: what others call it."""


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    # A choice is read as text: the block knows the choices, and which of them was probably meant.
    kinds = [kind for kind in (get_args(field.annotation) or [field.annotation]) if kind is not NoneType]
    kind = kinds[0] if kinds[0] in (int, float, bool) else str
    choices = kinds if get_origin(field.annotation) is Literal else []
    rules = [
        f"{sign} {getattr(rule, key)}"
        for rule in field.metadata
        for sign, key in SIGNS.values()
        if hasattr(rule, key)
    ]
    allowed = ", ".join(rules) or " or ".join(map(repr, choices))
    said = (
        (field.description or "").removesuffix(".").replace("null = ", "default: ")
    )  # which no flag can say
    told = f"{said}{f'; {allowed}' if allowed else ''}."
    called = f"{flag(name)}/--no-{name.replace('_', '-')}" if field.default is True else flag(name)
    option = typer.Option(called, *([ALSO[name]] if name in ALSO else []), help=told)
    given: Any = kind if field.default is not None else kind | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[given, option]
    )


def read_settings(given: Sequence[str] | None) -> dict[str, Any]:
    """Values by their places, from `KEY=VALUE`; a value is read as YAML, as it would be in the file.

    Raises:
        ConfigError: If one is no such pair, or its value is no YAML.
    """
    found: dict[str, Any] = {}
    problems = []
    for pair in given or ():
        key, is_pair, value = pair.partition("=")
        if not is_pair or not key:
            problems.append(
                Problem("--set", f"must be KEY=VALUE, such as ppo.episodes=640, but got {pair!r}")
            )
            continue
        try:
            document = Document(f"value: {value}\n")
        except YAMLError as error:
            why = getattr(error, "problem", None) or "it cannot be read"
            problems.append(Problem(f"--set {key}", f"not valid YAML: {why}, in {value!r}"))
            continue
        problems += [Problem(f"--set {key}", problem.what) for problem in document.problems]
        found[key] = document.data["value"]
    if problems:
        raise ConfigError(problems)
    return found
