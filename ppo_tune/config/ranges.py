"""One searched hyperparameter: its range or its choices, and how it becomes Optuna's own distribution."""

import json
import math
import operator
import random
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BeforeValidator, Discriminator, Field, PlainValidator, Tag, model_validator

from ppo_tune.config.block import FROM_LIST, Block
from ppo_tune.config.scale import Log, Scale


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"must be true or false, a finite number or text, but got {value!r}")
    return value


Choice = Annotated[bool | int | float | str | None, PlainValidator(_plain)]


def _listed(value: Any) -> tuple[Any, ...]:
    values = tuple(map(_plain, value)) if isinstance(value, list | tuple) else (_plain(value),)
    if not values:
        raise ValueError("must hold at least one value; leave `when` out if there is no condition")
    return values


class Searched(Block):
    """What all searched hyperparameters share."""

    when: dict[str, Annotated[tuple[Choice, ...], BeforeValidator(_listed)]] = Field(
        {},
        exclude_if=operator.not_,
        description="Searched only in trials in which these hyperparameters have this value, or one of a list; in the "
        "others the trainer's default is used.",
    )


_Count = Annotated[int, Field(ge=2), Tag("count")]
_List = Annotated[tuple[float, ...], Tag("list")]
Points = Annotated[
    _Count | _List, Discriminator(lambda value: "list" if isinstance(value, tuple) else "count")
]
"""How many values, or the values."""


def _check_ends(low: float, high: float, log: Log) -> None:
    if not low < high:
        raise ValueError(
            f"`low < high` must hold, but got low={low:g}, high={high:g}; a single value belongs in the ppo block"
        )
    if log == "complement" and not 0.5 < high < 1:
        way_out = (
            "take 0.9999, or choices if 1 itself is to be tried"
            if high >= 1
            else "low and high are values themselves, not 1 − value"
        )
        raise ValueError(f"`0.5 < high < 1` must hold with log: complement, but got high={high:g}; {way_out}")
    if log is True and low <= 0:
        raise ValueError(f"`low > 0` must hold with log: true, but got low={low:g}")


def _log(wanted: Any) -> Any:
    if wanted == "complement" or type(wanted) is bool:
        return wanted
    raise ValueError(f"must be true, false or complement, but got {wanted!r}")


def condition_text(when: Mapping[str, Sequence[Any]]) -> str:
    """A condition in words: `kl_target is 2.0 or 4.0 and whiten_rewards is true`."""
    return " and ".join(
        f"{parent} is {' or '.join(value if isinstance(value, str) else json.dumps(value) for value in values)}"
        for parent, values in when.items()
    )


class FloatParam(Searched):
    """A real number between two ends; a grid search takes its values from `points`."""

    type: Literal["float"]
    log: Annotated[Log, BeforeValidator(_log)] = Field(
        False,
        description="Search the logarithm of the value or, by `complement`, that of 1 − value, for what is close to 1, "
        "such as gamma.",
    )
    low: float | None = Field(
        None, description="Lower end, included; may be left out when `points` lists values."
    )
    high: float | None = Field(
        None, description="Upper end, included; may be left out when `points` lists values."
    )
    points: Annotated[Points | None, FROM_LIST] = Field(
        None,
        description="Values of a grid search: a list, or how many to space evenly (on the scale that `log` says).",
    )
    default: float | None = Field(None, description="The value of trial 0; left out: the trainer's default.")

    @model_validator(mode="after")
    def _check(self) -> "FloatParam":
        if isinstance(self.points, tuple) and len(set(self.points)) < max(2, len(self.points)):
            raise ValueError(f"`points` must list at least two different values, but got {list(self.points)}")
        if not isinstance(self.points, tuple) and (self.low is None or self.high is None):
            raise ValueError("`low` and `high` must be given unless `points` lists the values")
        low, high = self.ends
        _check_ends(low, high, self.log)
        if isinstance(self.points, tuple) and not low <= min(self.points) <= max(self.points) <= high:
            raise ValueError(
                f"`low <= points <= high` must hold, but got points={list(self.points)}, "
                f"low={low:g}, high={high:g}"
            )
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """Lower and upper end; those of `points` where they are not given."""
        points = self.points if isinstance(self.points, tuple) else (math.nan,)
        low = self.low if self.low is not None else min(points)
        high = self.high if self.high is not None else max(points)
        return low, high

    @property
    def extent(self) -> tuple[Any, ...]:
        """The ends, between which all values are."""
        return self.ends

    def distribution(self) -> BaseDistribution:
        """The range as Optuna's object."""
        low, high = self.ends
        return FloatDistribution(low=low, high=high, log=self.log is True)

    @property
    def scale(self) -> Scale:
        """Where values stand between the ends."""
        return Scale(*self.ends, self.log)

    def grid_size(self) -> int:
        """How many values a grid search has; 0 when the file does not state them."""
        return len(self.points) if isinstance(self.points, tuple) else self.points or 0

    def grid_values(self) -> tuple[float, ...]:
        """The values of a grid search; none when the file does not state them."""
        if not isinstance(self.points, int):
            return self.points or ()
        (low, high), steps = self.ends, self.points - 1
        inner = [self.scale.values(i / steps) for i in range(1, steps)]
        if self.log == "complement":
            inner = [round(value, 15) for value in inner]  # 0.99, not 0.9900000000000001
        # Rounding can carry a value past an end that is very close.
        return (low, *map(self.nearest, inner), high)

    def draw(self, rng: random.Random) -> float:
        """A random value."""
        return self.nearest(self.scale.values(rng.random()))

    def nearest(self, value: Any) -> float:
        """The legal value closest to `value`."""
        low, high = self.ends
        return float(min(max(value, low), high)) if isinstance(value, int | float) else low


class IntParam(Searched):
    """A whole number between two ends, in equal steps."""

    type: Literal["int"]
    log: bool = Field(False, description="Search the logarithm of the value.")
    low: int = Field(description="Lower end, included.")
    high: int = Field(description="Upper end, included.")
    step: int = Field(1, ge=1, description="Distance between two neighbouring values.")
    default: int | None = Field(None, description="The value of trial 0; left out: the trainer's default.")

    @model_validator(mode="after")
    def _check(self) -> "IntParam":
        _check_ends(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise ValueError(f"`step = 1` must hold with log: true, but got step={self.step}")
        if (self.high - self.low) % self.step:
            raise ValueError(
                f"`step` must divide `high - low`, but got step={self.step}, low={self.low}, high={self.high}"
            )
        return self

    def distribution(self) -> BaseDistribution:
        """The range as Optuna's object."""
        return IntDistribution(low=self.low, high=self.high, log=self.log, step=self.step)

    @property
    def ends(self) -> tuple[int, int]:
        """Lower and upper end."""
        return self.low, self.high

    @property
    def extent(self) -> tuple[Any, ...]:
        """The ends, between which all values are."""
        return self.ends

    @property
    def scale(self) -> Scale:
        """Where values stand between the ends."""
        return Scale(self.low, self.high, self.log)

    def grid_size(self) -> int:
        """How many values the range has."""
        return (self.high - self.low) // self.step + 1

    def grid_values(self) -> tuple[int, ...]:
        """Every value of the range."""
        return tuple(self._every)

    def draw(self, rng: random.Random) -> int:
        """A random value."""
        return self.nearest(self.scale.values(rng.random())) if self.log else rng.choice(self._every)

    @property
    def _every(self) -> range:
        return range(self.low, self.high + 1, self.step)

    def nearest(self, value: Any) -> int:
        """The legal value closest to `value`."""
        if not isinstance(value, int | float):
            return self.low
        inside = min(max(value, self.low), self.high)
        below = self.low + (math.floor(inside) - self.low) // self.step * self.step
        return min(below, min(below + self.step, self.high), key=lambda whole: abs(whole - inside))


class CategoricalParam(Searched):
    """One of a list of values."""

    type: Literal["categorical"]
    choices: Annotated[tuple[Choice, ...], Field(min_length=1), FROM_LIST] = Field(
        description="The values, in any order."
    )
    default: Choice = Field(None, description="The value of trial 0; left out: the trainer's default.")

    @model_validator(mode="after")
    def _check(self) -> "CategoricalParam":
        if len(set(map(repr, self.choices))) < len(self.choices):
            raise ValueError(f"`choices` must differ from one another, but got {list(self.choices)}")
        return self

    @property
    def extent(self) -> tuple[Any, ...]:
        """The choices."""
        return self.choices

    def distribution(self) -> BaseDistribution:
        """The choices as Optuna's object."""
        return CategoricalDistribution(choices=self.choices)

    def grid_size(self) -> int:
        """How many choices there are."""
        return len(self.choices)

    def grid_values(self) -> tuple[Choice, ...]:
        """Every choice."""
        return self.choices

    def draw(self, rng: random.Random) -> Choice:
        """A random choice."""
        return rng.choice(self.choices)

    def nearest(self, value: Any) -> Choice:
        """`value` where it is a choice; else the closest number among the choices; else the first."""
        # True == 1 and 8.0 == 8, but they are different choices: compared is how they are written.
        for choice in self.choices:
            if repr(choice) == repr(value):
                return choice
        numbers = [c for c in self.choices if isinstance(c, int | float) and not isinstance(c, bool)]
        if not numbers or isinstance(value, bool) or not isinstance(value, int | float):
            return self.choices[0]
        return min(numbers, key=lambda choice: abs(choice - value))


Param = Annotated[FloatParam | IntParam | CategoricalParam, Field(discriminator="type")]
