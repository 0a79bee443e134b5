"""The options of a target's released version, by name: checked-in facts, re-derived from its wheel by a test."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        type: `bool`, `int`, `float`, `str`, `list`, `dict`, `flag` (on a command line, without a value), or `any`.
        default: What the target does without it.
        choices: The only values, or None.
    """

    type: str
    default: Any = None
    choices: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Manifest:
    """What is known of a target.

    Attributes:
        package: Its name in the package index.
        version: The release.
        options: By name, as the target spells them.
    """

    package: str
    version: str
    options: Mapping[str, Option]


@cache
def load_manifest(target: str) -> Manifest:
    """The manifest of a foreign target."""
    text = files("ppo_tune.export").joinpath("manifests", f"{target}.json").read_text(encoding="utf-8")
    data = json.loads(text)
    options = {
        name: Option(
            option["type"], option["default"], tuple(option["choices"]) if "choices" in option else None
        )
        for name, option in data["options"].items()
    }
    return Manifest(data["package"], data["version"], options)
