"""What constraints leave of a space, seen by every cell of a grid or else by configs drawn at random."""

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ppo_tune.config.constraints import Rules
from ppo_tune.config.space import Space

DRAWS = 10_000
"""Random configs by which it is seen what the constraints leave."""


@dataclass(frozen=True)
class Room:
    """What constraints leave of some configs.

    Attributes:
        tried: How many configs were looked at.
        allowed: How many of them the constraints allow.
        others: How many of those are not the default config.
        only: Values of those hyperparameters that have one value alone in all that are allowed, and several in those
            looked at; None is off.
        off: For each constraint those of its names that are off in some config.
        silent: For each constraint in how many of those allowed one of its names is off, so that it asks nothing.
    """

    tried: int
    allowed: int
    others: int
    only: Mapping[str, Any]
    off: tuple[tuple[str, ...], ...]
    silent: tuple[int, ...]

    @classmethod
    def of(cls, rules: Rules, baseline: Mapping[str, Any], configs: Iterable[Mapping[str, Any]]) -> "Room":
        """What the constraints leave of configs, each the searched values of a trial; `baseline` is the default's."""
        tried = allowed = others = 0
        names = dict.fromkeys(name for constraint in rules.constraints for name in constraint.names)
        before, after = ({name: dict[str, Any]() for name in names} for _ in range(2))
        off = [dict[str, None]() for _ in rules.constraints]
        silent = [0 for _ in rules.constraints]
        for params in configs:
            values = {**rules.fixed, **params}
            holds, tried = rules.allow(params), tried + 1
            allowed, others = allowed + holds, others + (holds and params != baseline)
            for seen in (before, after) if holds else (before,):
                _note(seen, values)
            for i, constraint in enumerate(rules.constraints):
                missing = constraint.off(values)
                off[i].update(dict.fromkeys(missing))
                silent[i] += holds and bool(missing)
        only = {
            name: next(iter(seen.values()))
            for name, seen in after.items()
            if len(seen) == 1 < len(before[name])
        }
        return cls(tried, allowed, others, only, tuple(map(tuple, off)), tuple(silent))


def _note(seen: Mapping[str, dict[str, Any]], values: Mapping[str, Any]) -> None:
    """Keep the first two values of each hyperparameter, which say whether it has several."""
    for name, found in seen.items():
        if len(found) < 2:
            found[repr(values[name])] = values[name]  # True == 1, but they are different choices


def room(rules: Rules, space: Space, baseline: Mapping[str, Any], *, grid: bool) -> Room:
    """What constraints leave of a space.

    Args:
        rules: The constraints.
        space: What is searched.
        baseline: The searched values of the default config.
        grid: Whether the cells of the grid are all that is tried.
    """
    texts = tuple(constraint.text for constraint in rules.constraints)
    stored = (json.dumps(rules.fixed), json.dumps(dict(baseline)))
    return _room(space.model_dump_json(), texts, *stored, grid=grid)


@lru_cache(maxsize=8)
def _room(space: str, texts: tuple[str, ...], fixed: str, baseline: str, *, grid: bool) -> Room:
    """The same; asked often of the same study."""
    whole, rules = Space.model_validate_json(space), Rules.of(texts, json.loads(fixed))
    default, rng = json.loads(baseline), random.Random(0)
    if grid:
        return Room.of(rules, default, whole.grid_cells())
    part = _spoken_of(whole, rules)
    if len(part) < len(whole):
        default = {}  # the others tell every config from it
    return Room.of(rules, default, (part.draw(rng) for _ in range(DRAWS)))


def _spoken_of(space: Space, rules: Rules) -> Space:
    """The part of a space that decides whether constraints hold: what they name, and what their conditions ask for."""
    wanted: set[str] = set()
    names = [name for constraint in rules.constraints for name in constraint.names]
    while names:
        name = names.pop()
        if name in space.root and name not in wanted:
            wanted.add(name)
            names += space[name].when
    return Space({name: param for name, param in space.root.items() if name in wanted})
