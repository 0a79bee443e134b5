"""A search space as a unit cube: configs as points, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Numbers = NDArray[np.float64]


class Cube:
    """The unit cube of a space: a side for each hyperparameter, in the space's order.

    Args:
        distributions: The space as Optuna's distributions, by name.

    Attributes:
        unordered: Which sides are choices that are not all numbers, shape (D,): the index of the choice stands there,
            and only equal or not has a meaning.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self.sides = {name: _side(distribution) for name, distribution in distributions.items()}
        self.unordered = np.array(
            [isinstance(side, _Choices) and not side.ordered for side in self.sides.values()]
        )

    def points(self, configs: Sequence[Mapping[str, Any]]) -> Numbers:
        """Where configs stand, shape (N, D)."""
        return np.array(
            [[side.place(c[name]) for name, side in self.sides.items()] for c in configs], dtype=float
        )

    def legal(self, points: Numbers) -> Numbers:
        """The closest points that are configs, shape (N, D); beyond the cube, its border."""
        columns = zip(self.sides.values(), np.clip(points, 0, 1).T, strict=True)
        return np.stack([side.legal(column) for side, column in columns], axis=1)

    def config(self, point: Numbers) -> dict[str, Any]:
        """The config of a legal point, shape (D,)."""
        return {name: side.value(float(x)) for (name, side), x in zip(self.sides.items(), point, strict=True)}


@dataclass(frozen=True)
class _Range:
    """Numbers between two ends, perhaps on a logarithmic scale, perhaps in steps."""

    low: float
    high: float
    log: bool
    step: float | None

    def place(self, value: Any) -> float:
        if self.high == self.low:
            return 0.0
        if self.log:
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return float((value - self.low) / (self.high - self.low))

    def at(self, x: Numbers) -> Numbers:
        values = self.low ** (1 - x) * self.high**x if self.log else self.low + x * (self.high - self.low)
        if self.step is not None:
            values = self.low + np.round((values - self.low) / self.step) * self.step
        return np.clip(values, self.low, self.high)

    def legal(self, x: Numbers) -> Numbers:
        if self.step is None or self.high == self.low:
            return x
        values = self.at(x)
        if self.log:
            return np.asarray(np.log(values / self.low) / np.log(self.high / self.low))
        return (values - self.low) / (self.high - self.low)

    def value(self, x: float) -> float | int:
        value = float(self.at(np.array(x)))
        return value if self.step is None else round(value)


@dataclass(frozen=True)
class _Choices:
    """A list of values: numbers stand evenly in their order, as 8, 16, 32, 64 are meant; others have no order."""

    choices: tuple[Any, ...]
    ordered: bool

    def place(self, value: Any) -> float:
        index = next(i for i, choice in enumerate(self.choices) if repr(choice) == repr(value))
        return index / max(1, len(self.choices) - 1) if self.ordered else float(index)

    def legal(self, x: Numbers) -> Numbers:
        index = np.minimum(np.floor(x * len(self.choices)), len(self.choices) - 1)
        return index / max(1, len(self.choices) - 1) if self.ordered else index

    def value(self, x: float) -> Any:
        return self.choices[round(x * max(1, len(self.choices) - 1)) if self.ordered else round(x)]


def _side(distribution: BaseDistribution) -> _Range | _Choices:
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        ordered = all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)
        return _Choices(tuple(sorted(choices)) if ordered else choices, ordered)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    step = distribution.step if isinstance(distribution, IntDistribution) else None
    return _Range(float(distribution.low), float(distribution.high), distribution.log, step)
