"""What each trial cost: episodes, tokens and seconds."""

import pandas as pd

from ppo_tune.reporting.record import StudyRecord, metrics_of
from ppo_tune.search.endings import ending_of


def spend_table(record: StudyRecord) -> pd.DataFrame:
    """What each trial cost, lost ones too: number, ending, reason, episodes, tokens, seconds.

    Seconds are those of the trial by the clock. Trials that train side by side in one worker each count their own.
    """
    rows = []
    for trial in (*record.trials, *record.lost):
        attrs = trial.user_attrs
        # Running, lost and crashed trials have not noted what they cost, but their logs have.
        logged = {} if "seconds" in attrs else (metrics_of(record, trial) or [{}])[-1]
        scored = (attrs.get("curve") or [{}])[-1]
        rows.append({
            "number": trial.number,
            "ending": ending_of(trial),
            "reason": attrs.get("reason", ""),
            "episodes": attrs.get("episodes", logged.get("episodes", scored.get("episodes", 0))),
            "tokens": attrs.get("tokens", logged.get("tokens", 0)),
            "seconds": attrs.get("seconds", logged.get("time/seconds", scored.get("seconds", 0.0))),
        })  # fmt: skip
    columns = ["number", "ending", "reason", "episodes", "tokens", "seconds"]
    return pd.DataFrame(rows, columns=columns).astype({"seconds": float})
