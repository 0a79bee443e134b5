"""Figures of replayed studies: means over repetitions with their intervals, as a table and as one line of JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.worlds.replayed import Named

RESAMPLES = 2_000


@dataclass(frozen=True)
class Row:
    """One replayed study: in which world, for which total, which repetition, and what it named."""

    world: str
    total: int
    repetition: int
    named: Named
    seconds: float


COLUMNS = {
    "value": "tolerant", "strict": "strict", "truly_better": "truly better", "beyond_budget": "beyond budget",
    "unconfirmed": "unconfirmed", "trials": "trials", "candidates": "candidates", "search_cost": "search",
    "confirmation_cost": "confirmation",
}  # fmt: skip
"""Columns of the table, by the fields of `Named`."""

DIFFERENCES = ("value", "strict", "truly_better", "beyond_budget")
"""Fields in which two studies are compared."""

TOLD = ("value", "truly_better", "beyond_budget", "strict", "unconfirmed")
"""Fields of the line of JSON."""


def values_of(rows: Iterable[Row], field: str) -> NDArray[np.float64]:
    """A field of `Named`, in the order of the repetitions."""
    ordered = sorted(rows, key=lambda row: row.repetition)
    return np.array([getattr(row.named, field) for row in ordered], dtype=float)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean over repetitions."""
    picks = np.random.default_rng(1).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(1), (0.025, 0.975))
    return float(low), float(high)


def cells(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    """The rows of each world and total, in the order in which these first occur."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row.world, row.total), []).append(row)
    return found


def table(rows: Sequence[Row]) -> str:
    """A line per world and total: values with their interval, the other means, and seconds of one core."""
    head = ("world", "total", "repetitions", *COLUMNS.values(), "seconds")
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for (world, total), own in cells(rows).items():
        shown = [_shown(field, values_of(own, field)) for field in COLUMNS]
        seconds = f"{np.mean([row.seconds for row in own]):.2f}"
        lines.append("| " + " | ".join([world, str(total), str(len(own)), *shown, seconds]) + " |")
    return "\n".join(lines)


def differences(rows: Sequence[Row], rivals: Sequence[Row]) -> str:
    """How much more one study's values are than another's, on the repetitions that both have had."""
    known = {(rival.world, rival.total, rival.repetition): rival for rival in rivals}
    head = ("world", "total", "repetitions", *DIFFERENCES)
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for (world, total), own in cells(rows).items():
        both = [row for row in own if (world, total, row.repetition) in known]
        if not both:
            continue
        against = [known[world, total, row.repetition] for row in both]
        gains = [values_of(both, field) - values_of(against, field) for field in DIFFERENCES]
        shown = ["{:+.3f} [{:+.3f}, {:+.3f}]".format(gain.mean(), *interval(gain)) for gain in gains]
        lines.append("| " + " | ".join([world, str(total), str(len(both)), *shown]) + " |")
    return "\n".join(lines)


def _shown(field: str, values: NDArray[np.float64]) -> str:
    if field in ("value", "strict", "unconfirmed"):
        low, high = interval(values)
        return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"
    if field in ("truly_better", "beyond_budget"):
        return f"{values.mean():.1%}"
    return f"{values.mean():.1f}"


def json_line(rows: Sequence[Row]) -> str:
    """Means by total: of the first world at the top, of every other one below its name."""
    by_cell = cells(rows)
    worlds = list(dict.fromkeys(world for world, _ in by_cell))
    told = {
        world: {
            field: {
                str(total): round(float(values_of(own, field).mean()), 4)
                for (where, total), own in by_cell.items()
                if where == world
            }
            for field in TOLD
        }
        for world in worlds
    }
    first, *others = worlds
    repetitions = min(len(own) for own in by_cell.values())
    return json.dumps({
        **told[first], "world": first, "repetitions": repetitions, **{name: told[name] for name in others}
    })  # fmt: skip
