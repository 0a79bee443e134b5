"""How values stand on a page: the digits that matter, under headings that people read."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppo_tune.config.scale import short
from ppo_tune.config.searchable import SEARCHABLE
from ppo_tune.config.space import Space

DECIMALS: Mapping[str, int] = {
    "score": 3, "score_error": 3, "best_so_far": 3, "kl": 2, "share": 2, "eos_rate": 2, "response_tokens": 1,
    "seconds": 1, "gain": 3, "gain_low": 3, "gain_high": 3, "score_change": 3,
}  # fmt: skip
"""Digits after the point by the name of a column, for those of several tables; other numbers get four that matter."""

HUGE = 1e5
"""From here on the digits after the point say nothing."""

LABELS = {
    "number": "trial", "score_error": "±", "kl": "KL", "eos_rate": "EOS rate",
    "kl_from": "KL from", "kl_to": "KL to", "repeated_3grams": "repeated 3-grams", "distinct_1": "distinct-1",
    "distinct_2": "distinct-2", "iqm": "interquartile mean",
}  # fmt: skip
"""Headings of columns that are not simply their names with spaces."""

SHARES = ("share_of_seconds",)
"""Columns that tell parts of a whole, in per cent."""

NAMES = ("number", "trial", "seed", "pid")
"""Columns whose whole numbers are names: they get no commas."""

MAX_LETTERS = 300
"""Of a text in a table on the page; the file of the table has the whole."""


def cell(value: Any, column: str = "", decimals: Mapping[str, int] = DECIMALS) -> str:
    """A value as it stands in a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if column in SHARES:
        return percent(value, 1)
    if isinstance(value, float) and column in decimals and abs(value) < HUGE:
        return f"{round(value, decimals[column]) + 0.0:,.{decimals[column]}f}"  # + 0.0 makes -0.0 a 0.0
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else short(float(value), 4)
    return f"{value:,}" if isinstance(value, int) and column not in NAMES else str(value)


def percent(share: float, digits: int = 0) -> str:
    """A part of a whole: 0.05 is `5 %`."""
    return f"{100 * share:.{digits}f} %"


def label(column: str) -> str:
    """The heading of a column; a hyperparameter is called as in the file."""
    return LABELS.get(column) or (column if column in SEARCHABLE else column.replace("_", " "))


def cut(text: str, letters: int = MAX_LETTERS) -> str:
    """The beginning of a text that is too long for its place."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def join(names: Sequence[str]) -> str:
    """Names as a sentence has them: a, b and c."""
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"


def conditions_reading(space: Space) -> str:
    """Which hyperparameters are not searched in every trial, as a sentence with a space before it; nothing if none."""
    said = [f"{name} is searched only where {condition}" for name, condition in space.conditions.items()]
    return f" {'; '.join(said)}: other trials say nothing of it." if said else ""


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for least, unit, name in ((172_800, 86_400, "days"), (7_200, 3_600, "hours"), (120, 60, "minutes")):
        if seconds >= least:
            return f"{seconds / unit:.{0 if seconds / unit >= 10 else 1}f} {name}"
    return f"{seconds:.{0 if seconds >= 10 else 1}f} seconds"
