"""How values and foreign texts stand on a page: digits that matter, control characters as symbols."""

import math
from typing import Any

import numpy as np

DECIMALS = {
    "score": 3, "score_error": 3, "gold": 3, "best_so_far": 3, "kl": 2, "importance": 2, "noise": 2, "share": 2,
    "eos_rate": 2, "response_tokens": 1, "seconds": 1,
}  # fmt: skip
"""Digits after the point by the name of a column; other numbers get four that matter."""


def cell(value: Any, column: str = "") -> str:
    """A value as it stands in a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float) and column in DECIMALS:
        return f"{round(value, DECIMALS[column]) + 0.0:,.{DECIMALS[column]}f}"  # + 0.0 makes -0.0 a 0.0
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def symbols(text: str) -> str:
    """Text with its control characters as visible symbols."""
    return "".join(
        chr(0x2400 + ord(c)) if ord(c) < 32 and c != "\n" else "␡" if ord(c) == 127 else c for c in text
    )
