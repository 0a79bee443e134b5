"""Whether short runs predict long ones: the trials' order early on against their order at the end."""

import pandas as pd

from ppo_tune.reporting.analysis.fidelity import MIN_TRIALS, fidelity_table
from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.reporting.section import Section
from ppo_tune.search.pruners import first_look
from ppo_tune.search.results import ending_of


def section(record: StudyRecord) -> Section:
    """Rank agreement with the end at the pruner's first look, in words."""
    reading = fidelity_reading(fidelity_table(record), record)
    return Section("fidelity", "Do short runs predict long ones?", reading)


def fidelity_reading(table: pd.DataFrame, record: StudyRecord) -> str:
    """Whether the order at the pruner's first look predicts the end, how sure that is, and what it leaves out."""
    marks = record.config.milestone_episodes()
    look = marks[first_look(len(marks)) - 1]
    reached = sum(ending_of(t) == "completed" for t in record.trials)
    if len(marks) < 2:
        return "Trials are scored only at their end (search.milestones is 1): nothing says what shorter ones are worth."
    if table.empty:
        return (f"Not enough trials to say whether short runs predict long ones: {MIN_TRIALS} must reach the end, and "
                f"{reached} of {len(record.trials)} did.")  # fmt: skip
    row = next(row for row in to_records(table) if row["episodes"] == look)
    place = f"After {look:,} of {marks[-1]:,} episodes ({100 * row['share']:.0f} %)"
    if row["tau"] is None:
        return f"{place} all {row['trials']} trials that reached the end had the same score: no order to compare."
    interval = (
        "no interval, for every pair agrees" if row["low"] is None
        else f"95 % interval {row['low']:+.2f} to {row['high']:+.2f}"
    )  # fmt: skip
    return (
        f"{place} the trial ahead of another was ahead at the end in {100 * row['same_order']:.0f} % of pairs; chance "
        f"gives 50 % (rank agreement τ {row['tau']:+.2f}, {interval}, {row['trials']} trials). "
        f"{_verdict(row['tau'], row['low'])} The best at the end was {_ordinal(row['best_stood'])} of "
        f"{row['trials']} then.{_selection(record, row['trials'])}"
    )


def _verdict(tau: float, low: float | None) -> str:
    """What the agreement is good for."""
    sure = tau if low is None else low
    if sure > 0.5:
        return "Short runs predict long ones here."
    if sure > 0:
        return "Short runs tell something about long ones here, but not their whole order."
    return "That cannot be told from chance: early scores may mislead the pruner (search.pruner none lets all run)."


def _selection(record: StudyRecord, reached: int) -> str:
    """That only those who reached the end are counted, and what that does."""
    endings = [ending_of(trial) for trial in record.trials]
    if reached == len(endings):
        return ""
    counted = f" Only the {reached} of {len(endings)} trials that reached the end are counted"
    if "pruned" not in endings:
        return f"{counted}."
    return f"{counted}; chosen by early scores, they are more alike than all trials were, which lowers the agreement."


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
