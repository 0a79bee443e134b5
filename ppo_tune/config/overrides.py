"""Values of the command line in place of a file's, by their places: `--set ppo.episodes=64`."""

from collections.abc import Collection, Mapping
from typing import Any

from ppo_tune.config.block import Block
from ppo_tune.config.messages import unknown
from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.strict_yaml import Path_, dotted

KEYS: Mapping[str, type[Block]] = {"ppo": PPOConfig, "search": SearchConfig, "model": ModelConfig}
"""Blocks that always have the same keys."""


def put(data: dict[str, Any], place: Path_, value: Any, allowed: Collection[str]) -> str | None:
    """Put a value at its place in the data of a file, in blocks that are made where there are none.

    Args:
        data: What the file holds; changed in place.
        place: Where the value goes.
        value: The value.
        allowed: The blocks that such a file may have.

    Returns:
        What is wrong with the place, and then nothing is changed; None if nothing is.
    """
    *blocks, key = map(str, place)
    if str(place[0]) not in allowed:
        return _unknown_block(str(place[0]), allowed, is_alone=not blocks)
    found = data
    for i, block in enumerate(blocks):
        inner = found.setdefault(block, {})
        if not isinstance(inner, dict):
            where = dotted(place[: i + 1])
            return f"{where} is {inner!r}, which has no {key}; set {where} itself"
        found = inner
    found[key] = value
    return None


def _unknown_block(name: str, allowed: Collection[str], *, is_alone: bool) -> str:
    """The message for a block that there is not; a key that stands alone may be meant as that of a block."""
    homes = [f"{block}.{name}" for block, kind in KEYS.items() if is_alone and name in kind.model_fields]
    if homes:
        return f"unknown block {name!r}; did you mean {' or '.join(homes)}?"
    return unknown(name, allowed, kind="block")
