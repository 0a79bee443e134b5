"""Flags of a command that are the fields of a block: one each, with its type, its default and its description."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from ppo_tune.config.block import Block
from ppo_tune.config.flags import flag, help_of, read_flags


def with_blocks(command: Callable[..., None]) -> Callable[..., None]:
    """A command with flags in place of its arguments that are blocks; all are checked before the command begins."""
    parameters = inspect.signature(command).parameters.values()
    blocks = {
        p.name: p.annotation
        for p in parameters
        if inspect.isclass(p.annotation) and issubclass(p.annotation, Block)
    }
    fields = {name: field for block in blocks.values() for name, field in block.model_fields.items()}

    @wraps(command)
    def run(**given: Any) -> None:
        made = read_flags(blocks, {name: given.pop(name) for name in fields})
        command(**given, **made)

    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters if p.name not in blocks]
    flags = [_parameter(name, field) for name, field in fields.items()]
    run.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    return run


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    # A choice is read as text: the block knows the choices, and which of them was probably meant.
    kind = field.annotation if field.annotation in (int, float, bool) else str
    option = typer.Option(flag(name), help=help_of(field))
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[kind, option]
    )
