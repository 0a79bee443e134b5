"""Which trials are compared at which milestone, and whether scores taken there say anything of the end."""

from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial

from ppo_tune.reporting.analysis.fidelity import fidelity_table
from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.reporting.wording import percent
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.pruners import first_look


def compared(record: StudyRecord) -> tuple[int, list[FrozenTrial]]:
    """At which milestone trials are compared, and all that have a score there, pruned ones too.

    It is the last one that all of them reached that got as far as the pruner's first look, running ones left aside.
    """
    look = first_look(len(record.config.milestone_episodes()))
    trials = [trial for trial in record.trials if _reached(record, trial, look)]
    look = min((len(TrialFacts(trial).curve) for trial in trials if trial.state.is_finished()), default=look)
    return look, [trial for trial in trials if _reached(record, trial, look)]


def _reached(record: StudyRecord, trial: FrozenTrial, milestone: int) -> bool:
    """Whether a trial has all values of the space and a score at a milestone."""
    curve = TrialFacts(trial).curve
    has_values = set(record.config.space) <= set(trial.params)
    return has_values and len(curve) >= milestone and bool(np.isfinite(curve[milestone - 1].score))


@dataclass(frozen=True)
class Foresight:
    """What the scores by which trials are compared say of the end.

    Attributes:
        episodes: When they were taken.
        share: Of a trial's budget.
        tells: Whether they are those of the end, or agree with it beyond chance.
        words: How they agree with it, as a sentence; empty where they are those of the end.
    """

    episodes: int
    share: float
    tells: bool
    words: str


def foresight(record: StudyRecord) -> Foresight:
    """Whether early scores can be taken for those of the end; not unless that can be told from chance."""
    marks, (look, _) = record.config.milestone_episodes(), compared(record)
    episodes = marks[look - 1]
    share = episodes / marks[-1]
    if look == len(marks):
        return Foresight(episodes, share, True, "")
    rows = [row for row in to_records(fidelity_table(record)) if row["episodes"] == episodes]
    if not rows or rows[0]["tau"] is None:
        return Foresight(
            episodes, share, False, "Too few trials reached the end to say whether such scores foretell it."
        )
    tau, low, high = (rows[0][name] for name in ("tau", "low", "high"))
    tells = (tau if low is None else low) > 0
    interval = "" if low is None else f", 95 % interval {low:+.2f} to {high:+.2f}"
    how = "agree with those of the end" if tells else "cannot be told from chance as a forecast of the end"
    return Foresight(episodes, share, tells, f"Such scores {how} (rank agreement τ {tau:+.2f}{interval}).")


def when_scored(record: StudyRecord) -> str:
    """When the scores were taken by which trials are compared: at the end, or after so many episodes."""
    seen = foresight(record)
    return "at the end" if seen.share == 1 else f"after {seen.episodes:,} episodes ({percent(seen.share)})"
