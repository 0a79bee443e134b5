"""What each trial cost: episodes, tokens and seconds."""

import pandas as pd

from ppo_tune.reporting.record import StudyRecord, cost_of
from ppo_tune.search.endings import STATES, ending_of
from ppo_tune.search.facts import TrialFacts

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
