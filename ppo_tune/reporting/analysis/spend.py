"""The cost of trials: episodes, tokens and seconds."""

import numpy as np
import pandas as pd

from ppo_tune.reporting.record import StudyRecord, cost_of
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.results import STATES, ending_of

ORDER = {name: i for i, name in enumerate([*STATES, "running"])}
"""Where an ending stands among the others in tables and figures."""


def spend_table(record: StudyRecord) -> pd.DataFrame:
    """What each trial cost, lost ones too: number, ending, reason, episodes, tokens, seconds.

    Seconds are those of the trial by the clock. Trials that train side by side in one worker each count their own.
    """
    rows = []
    for trial in (*record.trials, *record.lost):
        rows.append({
            "number": trial.number, "ending": ending_of(trial), "reason": TrialFacts(trial).reason,
            **cost_of(record, trial),
        })  # fmt: skip
    columns = ["number", "ending", "reason", "episodes", "tokens", "seconds"]
    return pd.DataFrame(rows, columns=columns).astype({"seconds": float})


def busy_seconds(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Seconds in which at least one of several trials ran, up to the end of each or of one before it; shape (n,)."""
    blocks: list[list[float]] = []
    for start, end in sorted(zip(starts, ends, strict=True)):
        if blocks and start <= blocks[-1][1]:
            blocks[-1][1] = max(blocks[-1][1], end)
        else:
            blocks.append([start, end])
    if not blocks:
        return np.zeros(0)
    begin, stop = np.array(blocks).T
    busy = np.clip(ends[:, np.newaxis] - begin, 0.0, stop - begin).sum(axis=1)
    return np.asarray(np.maximum.accumulate(busy))
