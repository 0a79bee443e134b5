"""A search space as a unit cube: configs as points, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ppo_tune.config.ranges import CategoricalParam, IntParam, Param
from ppo_tune.config.scale import Scale
from ppo_tune.config.space import Space

Numbers = NDArray[np.float64]


class Cube:
    """The unit cube of a space: a side for each hyperparameter, in the space's order.

    Args:
        space: What is searched.

    Attributes:
        unordered: Which sides are choices that are not all numbers, shape (D,): the index of the choice stands there,
            and only equal or not has a meaning.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.sides = {name: _side(space[name]) for name in space}
        self.unordered = np.array(
            [isinstance(side, _Choices) and not side.ordered for side in self.sides.values()]
        )

    def points(self, configs: Sequence[Mapping[str, Any]]) -> Numbers:
        """Where configs stand, shape (N, D); what is not searched beside a config's other values stands at rest."""
        return np.array(
            [
                [side.place(c[name]) if name in c else side.rest for name, side in self.sides.items()]
                for c in configs
            ],
            dtype=float,
        )

    def legal(self, points: Numbers) -> Numbers:
        """The closest points whose values are in their ranges, shape (N, D); beyond the cube, its border."""
        columns = zip(self.sides.values(), np.clip(points, 0, 1).T, strict=True)
        return np.stack([side.legal(column) for side, column in columns], axis=1)

    def rested(self, points: Numbers) -> Numbers:
        """Legal points with what is not searched beside their other values put to rest, shape (N, D)."""
        column = {name: i for i, name in enumerate(self.sides)}
        is_active: dict[str, NDArray[np.bool_]] = {}
        found = points.copy()
        for name in self.space.order:
            active = np.ones(len(points), dtype=bool)
            for parent, wanted in self.space[name].when.items():
                places = [self.sides[parent].place(value) for value in wanted]
                is_wanted = np.isclose(points[:, [column[parent]]], places, atol=1e-9).any(axis=1)
                active &= is_active[parent] & is_wanted
            is_active[name] = active
            found[~active, column[name]] = self.sides[name].rest
        return found

    def config(self, point: Numbers) -> dict[str, Any]:
        """The config of a legal point, shape (D,): all values that are searched beside one another."""
        values = {
            name: side.value(float(x)) for (name, side), x in zip(self.sides.items(), point, strict=True)
        }
        return self.space.active_part(values)


@dataclass(frozen=True)
class _Range:
    """Numbers between two ends on a scale, perhaps in steps."""

    scale: Scale
    step: int | None
    rest: ClassVar[float] = 0.5

    def place(self, value: Any) -> float:
        return float(self.scale.places(value))

    def at(self, x: Numbers) -> Numbers:
        values, low, high = self.scale.values(x), self.scale.low, self.scale.high
        if self.step is not None:
            values = low + np.round((values - low) / self.step) * self.step
        return np.asarray(np.clip(values, low, high))

    def legal(self, x: Numbers) -> Numbers:
        return x if self.step is None else np.asarray(self.scale.places(self.at(x)))

    def value(self, x: float) -> float | int:
        value = float(self.at(np.array(x)))
        return value if self.step is None else round(value)


@dataclass(frozen=True)
class _Choices:
    """A list of values: numbers stand evenly in their order, as 8, 16, 32, 64 are meant; others have no order."""

    choices: tuple[Any, ...]
    ordered: bool

    @property
    def rest(self) -> float:
        return 0.5 if self.ordered else 0.0

    def place(self, value: Any) -> float:
        index = next(i for i, choice in enumerate(self.choices) if repr(choice) == repr(value))
        return index / max(1, len(self.choices) - 1) if self.ordered else float(index)

    def legal(self, x: Numbers) -> Numbers:
        index = np.minimum(np.floor(x * len(self.choices)), len(self.choices) - 1)
        return index / max(1, len(self.choices) - 1) if self.ordered else index

    def value(self, x: float) -> Any:
        return self.choices[round(x * max(1, len(self.choices) - 1)) if self.ordered else round(x)]


def _side(param: Param) -> _Range | _Choices:
    if isinstance(param, CategoricalParam):
        choices = param.choices
        ordered = all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)
        return _Choices(tuple(sorted(choices)) if ordered else choices, ordered)
    return _Range(param.scale, param.step if isinstance(param, IntParam) else None)
