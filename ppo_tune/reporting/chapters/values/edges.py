"""Whether good values lie at the edge of a range, in words."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ppo_tune.reporting.analysis.edges import BEST
from ppo_tune.reporting.record import to_records
from ppo_tune.reporting.wording import join


def edges_reading(table: pd.DataFrame, n_best: int, best_role: str = "winner") -> str:
    """Which values stand at the edge of their range.

    Args:
        table: See `edges_table`.
        n_best: How many of the best trials there are.
        best_role: What the trial to go on with is called.
    """
    if not n_best:
        return "No trial was completed within the KL budget, so there are no good values to look at."
    if table.empty:
        return (
            f"Neither the {best_role} nor the best trials stand at the edge of a range that could be wider."
        )
    said = [
        f"{row['name']} ({row['end']} end, {row['limit']:.3g}: {_who(row, best_role)})"
        for row in to_records(table)
    ]
    plural = len(said) > 1
    return (
        f"At the edge of {'their ranges' if plural else 'its range'}: {join(said)}. Better values may lie outside; "
        f"widen {'them' if plural else 'it'} and search again."
    )


def _who(row: Mapping[str, Any], best_role: str) -> str:
    who = [f"the {best_role}"] if row["winner"] else []
    who += (
        [f"{row['near']} of the best {BEST} trials"]
        if row["best"] == BEST and row["near"] > row["winner"]
        else []
    )
    return " and ".join(who)
