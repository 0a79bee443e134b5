"""Where a value of a searched hyperparameter stands between the ends of its range."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from ppo_tune.config.scale import Scale, short
from ppo_tune.config.space import Space
from ppo_tune.reporting.wording import cut

MOST_TICKS = 5


@dataclass(frozen=True)
class Axis:
    """One searched hyperparameter as a line from 0 to 1, on the scale that was searched.

    Attributes:
        name: Of the hyperparameter.
        distribution: Its range.
        is_complement: Whether the logarithm of 1 − value was searched, which Optuna's ranges cannot say.
    """

    name: str
    distribution: BaseDistribution
    is_complement: bool = False

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a categorical one in the order of the file; none for a number."""
        return getattr(self.distribution, "choices", ())

    @property
    def is_log(self) -> bool:
        """Whether its logarithm was searched."""
        return bool(getattr(self.distribution, "log", False))

    @property
    def scale(self) -> Scale:
        """Where numbers stand between the ends."""
        return Scale(*self.ends, "complement" if self.is_complement else self.is_log)

    @property
    def ends(self) -> tuple[float, float]:
        """Lower and upper end; of a categorical one, the numbers of the first and the last choice."""
        if self.choices:
            return 0.0, len(self.choices) - 1.0
        return float(self.distribution.low), float(self.distribution.high)  # type: ignore[attr-defined]

    @property
    def n_values(self) -> int:
        """How many values there are; 0 for a real number."""
        if isinstance(self.distribution, CategoricalDistribution):
            return len(self.distribution.choices)
        if isinstance(self.distribution, IntDistribution):
            return (self.distribution.high - self.distribution.low) // self.distribution.step + 1
        return 0

    def places(self, values: Iterable[Any]) -> np.ndarray:
        """Where values stand, from 0 at the lower end to 1 at the upper; NaN for a missing one."""
        numbers = np.array([self._number(value) for value in values])
        low, high = self.ends
        return np.clip(self.scale.places(numbers), 0.0, 1.0) if low < high else numbers * 0 + 0.5

    def spread(self, values: Iterable[Any], numbers: Iterable[int], width: float) -> np.ndarray:
        """Places for drawing: trials with the same one of a few values lie side by side, each always at its own place.

        Args:
            values: One for each trial.
            numbers: Of the trials.
            width: How far they lie apart at most; less where values are close to one another.
        """
        places = self.places(values)
        if not self.n_values:
            return places
        # Multiples of the golden ratio never come close to one another.
        apart = np.array([number * 0.618034 % 1 - 0.5 for number in numbers])
        return places + min(width, 0.5 / self.n_values) * apart

    def _number(self, value: Any) -> float:
        is_missing = value is None or value != value  # a table keeps None beside numbers as NaN
        if self.choices:
            known = not is_missing or None in self.choices
            return (
                float(self.distribution.to_internal_repr(None if is_missing else value))
                if known
                else math.nan
            )
        return math.nan if is_missing else float(value)

    def value_at(self, place: float) -> Any:
        """The value that stands at a place."""
        return self.choices[round(place * self.ends[1])] if self.choices else self.scale.values(place)

    def text_at(self, place: float) -> str:
        """The value at a place with the digits that matter; a whole number is one."""
        if math.isnan(place):
            return "–"
        value = self.value_at(place)
        return str(round(value)) if isinstance(self.distribution, IntDistribution) else short(value)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Places of round values with their texts; every value where they are few."""
        low, high = self.ends
        if self.choices or (0 < self.n_values <= MOST_TICKS and not self.is_log):
            places = [i / max(self.n_values - 1, 1) for i in range(self.n_values)] if low < high else [0.5]
            return places, [cut(self.text_at(place), 12) for place in places]
        if self.is_complement:
            values = [1 - rest for rest in _decades((1 - high) * (1 - 1e-9), (1 - low) * (1 + 1e-9))[::-1]]
        else:
            values = _decades(low, high) if self.is_log else _multiples(low, high)
        return [float(place) for place in self.places(values)], [short(float(value)) for value in values]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten between two numbers, not all if they are many; 1, 2 and 5 times them if they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [ten for power in powers if low <= (ten := 10.0**power) <= high]
    if len(tens) >= 3 or (len(tens) == 2 and math.log10(high / low) > 1.5):
        return tens[:: math.ceil(len(tens) / MOST_TICKS)]
    between = [times * 10.0**power for power in powers for times in (1, 2, 5)]
    return [value for value in between if low <= value <= high][:MOST_TICKS] or [low, high]


def _multiples(low: float, high: float) -> list[float]:
    """Multiples of a round number between two numbers."""
    power = 10.0 ** math.floor(math.log10((high - low) / MOST_TICKS))
    step = next(step for times in (1, 2, 5, 10) if (high - low) / (step := times * power) < MOST_TICKS)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def axes_of(space: Space) -> tuple[Axis, ...]:
    """One axis for each searched hyperparameter, in the order of the file."""
    return tuple(
        Axis(name, distribution, name in space.complements)
        for name, distribution in space.distributions().items()
    )
