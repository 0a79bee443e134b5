"""Whether good values lie at the edge of a range, so that better ones may lie outside."""

import math
from typing import Any

import pandas as pd
from scipy.stats import binom

from ppo_tune.config.searchable import SEARCHABLE
from ppo_tune.reporting.axes import Axis, axes_of
from ppo_tune.reporting.record import StudyRecord

EDGE = 0.02
"""The winner's value is at the edge within this share of the range."""

NEAR = 0.05
"""A good trial's value is near the edge within this share of the range."""

BEST = 5
"""How many good trials are asked."""

LEVEL = 0.01
"""More of them near an edge than values drawn evenly would put there less often than this are a crowd."""


def at_edge(record: StudyRecord) -> list[str]:
    """Names of the winner's values at the end of a range that could be wider."""
    table = edges_table(record)
    return list(table[table["winner"]]["name"])


def edges_table(record: StudyRecord) -> pd.DataFrame:
    """Ends of ranges that could be wider, where the winner stands or where the best trials crowd.

    Columns: name, end ("lower" or "upper"), limit (the value there), winner (whether it stands there), near (how
    many of the best trials are near), best (how many there are).
    """
    columns = ["name", "end", "limit", "winner", "near", "best"]
    rows = []
    best = best_values(record)
    for axis in axes_of(record.config.space):
        if axis.choices:
            continue
        places = axis.places(params[axis.name] for params in best if axis.name in params)
        won = {} if record.winner is None else record.winner.params
        winner = [won[axis.name]] if axis.name in won else []
        for end, place, limit in zip(("lower", "upper"), (0.0, 1.0), axis.ends, strict=True):
            if is_natural(axis, end):
                continue
            is_there = bool((abs(axis.places(winner) - place) < edge_of(axis, EDGE)).any())
            near = int((abs(places - place) < edge_of(axis, NEAR)).sum())
            chance = 1 / axis.n_values if axis.n_values else NEAR
            if is_there or (len(places) == BEST and binom.sf(near - 1, BEST, chance) < LEVEL):
                rows.append((axis.name, end, limit, is_there, near, len(places)))
    return pd.DataFrame(rows, columns=columns).astype({"winner": bool})


def best_values(record: StudyRecord) -> list[dict[str, Any]]:
    """The values of the best few completed trials within the KL budget."""
    table = record.table
    good = table[(table["ending"] == "completed") & table["feasible"].astype(bool)]
    numbers = set(good.nlargest(BEST, "score")["number"])
    return [trial.params for trial in record.trials if trial.number in numbers]


def edge_of(axis: Axis, share: float) -> float:
    """How far from an end a value may be: a share of the range, and less than a step between whole numbers."""
    return min(share, 0.5 / (axis.n_values - 1)) if axis.n_values > 1 else share


def is_natural(axis: Axis, end: str) -> bool:
    """Whether no value beyond an end would be legal for the trainer."""
    low, high = axis.ends
    lowest, highest = legal_ends(axis.name)
    step = getattr(axis.distribution, "step", None) or 0
    return (
        low - step < lowest or low <= lowest if end == "lower" else high + step > highest or high >= highest
    )


def legal_ends(name: str) -> tuple[float, float]:
    """Between which values the trainer takes a hyperparameter; infinite where it does not say."""
    field = SEARCHABLE.get(name)
    rules = {} if field is None else {
        rule: getattr(item, rule) for item in field.metadata for rule in ("ge", "gt", "le", "lt") if hasattr(item, rule)
    }  # fmt: skip
    return rules.get("ge", rules.get("gt", -math.inf)), rules.get("le", rules.get("lt", math.inf))
