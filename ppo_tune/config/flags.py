"""Blocks whose settings are given on a command line, one flag per field: read by the rules of a study file."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ppo_tune.config.block import Block
from ppo_tune.config.messages import SIGNS, mistakes
from ppo_tune.errors import ConfigError, Problem


def read_flags(blocks: Mapping[str, type[Block]], given: Mapping[str, Any]) -> dict[str, Block]:
    """Blocks made of flags, by any name; `given` has the values by field, and no two blocks have a field in common.

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


def help_of(field: FieldInfo) -> str:
    """What a flag's help says: the field's description with the values that are allowed."""
    allowed = ", ".join(_rules(field)) or " or ".join(map(repr, get_args(field.annotation)))
    return f"{(field.description or '').removesuffix('.')}{f'; {allowed}' if allowed else ''}."


def _rules(field: FieldInfo) -> Iterator[str]:
    for rule in field.metadata:
        for sign, key in SIGNS.values():
            if hasattr(rule, key):
                yield f"{sign} {getattr(rule, key)}"
