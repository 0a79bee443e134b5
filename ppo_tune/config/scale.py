"""The scale of a range: where its values stand between its ends, and how they are written."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Log = bool | Literal["complement"]
"""What has its logarithm searched: the value (true), 1 − value (complement), or nothing (false)."""


@dataclass(frozen=True)
class Scale:
    """Numbers between two different ends as places from 0, the lower end, to 1.

    Attributes:
        low: The lower end.
        high: The upper end.
        log: Linear, logarithmic, or logarithmic in 1 − value, which tells 0.99 from 0.999 as it tells 0.9 from 0.99.
    """

    low: float
    high: float
    log: Log = False

    def places(self, values: Any) -> Any:
        """Where values, one or an array, stand."""
        low, high = self._stretched(self.low), self._stretched(self.high)
        return (self._stretched(values) - low) / (high - low)

    def values(self, places: Any) -> Any:
        """What stands at places, one or an array; up to rounding, which can carry it past an end."""
        low, high = self.low, self.high
        # Weighing both ends, unlike low + (high - low) * place, overflows for no two of them.
        if self.log == "complement":
            return 1.0 - (1.0 - low) ** (1 - places) * (1.0 - high) ** places
        if self.log:
            return low ** (1 - places) * high**places
        return low * (1 - places) + high * places

    def _stretched(self, values: Any) -> Any:
        if self.log == "complement":
            return -np.log1p(-np.asarray(values, dtype=float))
        return np.log(values) if self.log else values


def short(value: object, digits: int = 3) -> str:
    """A value with the digits that matter; close below 1, two of those of 1 − value: 0.9996 is not 1."""
    if not isinstance(value, float):
        return str(value)
    if 0.9 < value < 1:
        return f"{float(round(value, max(digits, 1 - math.floor(math.log10(1 - value))))):.12g}"
    return f"{value:.{digits}g}"
