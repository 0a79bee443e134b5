"""How busy the workers were, and whether a trial was slow."""

from datetime import timedelta

import pandas as pd
from optuna.trial import FrozenTrial

from ppo_tune.reporting.analysis.spend import busy_seconds
from ppo_tune.reporting.record import StudyRecord, metrics_of
from ppo_tune.reporting.section import Section
from ppo_tune.reporting.wording import duration, percent
from ppo_tune.search.facts import TrialFacts

MIN_PAUSE, MIN_PAUSE_SECONDS = 0.1, 60.0
"""A time in which no trial ran is a pause, and left out, if it is longer than this share of the time in which any did
and than these seconds: starting a worker may take as long."""

IDLE = 0.1
"""Share of its time without a trial from which on a worker is worth a table."""

SLOW, MIN_TRIALS = 1.5, 10
"""Times the median pace from which on a trial is called slow (equal work on one machine differs by less), and the
trials that a median needs."""


def sections(record: StudyRecord) -> tuple[Section, ...]:
    """How busy the workers were, with a table where one was idle; nothing before a trial began."""
    spans = spans_table(record)
    if spans.empty:
        return ()
    workers = workers_table(spans)
    reading = workers_reading(spans, workers) + slowest_reading(record.table)
    table = workers if workers["idle"].max() > IDLE else None
    return (Section("timeline", "Workers", reading, table=table, max_rows=60),)


def spans_table(record: StudyRecord) -> pd.DataFrame:
    """When each trial ran, lost ones too; pauses of the search are left out.

    Columns: number, host, pid, worker (counted from 1 by its first trial), start, end (seconds of searching since the
    first trial began), session (how many pauses came before it).
    """
    trials = [trial for trial in (*record.trials, *record.lost) if trial.datetime_start is not None]
    if not trials:
        return pd.DataFrame()
    spans = pd.DataFrame([_span(record, trial) for trial in trials])
    spans = spans.sort_values(["start", "number"], ignore_index=True)
    spans["worker"] = spans.groupby(["host", "pid"], sort=False).ngroup() + 1
    starts, ends = ((spans[name] - spans["start"].iloc[0]).dt.total_seconds() for name in ("start", "end"))
    gaps = (starts - ends.cummax().shift(fill_value=0.0)).clip(
        lower=0.0
    )  # in which none of the earlier ones ran
    least = max(MIN_PAUSE * (ends.max() - gaps.sum()), MIN_PAUSE_SECONDS)
    pauses = gaps.where(gaps > least, 0.0)
    left_out = pauses.cumsum()
    return spans.assign(start=starts - left_out, end=ends - left_out, session=(pauses > 0).cumsum())


def _span(record: StudyRecord, trial: FrozenTrial) -> dict[str, object]:
    """One trial by the clock; one that did not end by itself lasts to its last sign of life.

    That a trial was lost is noticed later, sometimes on the next day.
    """
    start, end, facts = trial.datetime_start, trial.datetime_complete, TrialFacts(trial)
    assert start is not None
    if end is None or facts.seconds is None:
        logged = (metrics_of(record, trial) or [{}])[-1]
        last = start + timedelta(seconds=logged.get("time/seconds") or 0.0)
        end = last if end is None else min(end, last)
    return {
        "number": trial.number,
        "host": facts.host or "–",
        "pid": facts.pid or 0,
        "start": start,
        "end": end,
    }


def workers_table(spans: pd.DataFrame) -> pd.DataFrame:
    """One row per worker: worker, host, pid, trials, seconds, idle, side_by_side.

    Seconds are those from the start of its first trial to the end of its last, idle is the share of them in which
    it trained nothing, and side_by_side is how many trials it trained at once, on average, when it did.
    """
    rows = []
    for (worker, host, pid), part in spans.groupby(["worker", "host", "pid"]):
        seconds = part["end"].max() - part["start"].min()
        busy = busy_seconds(part["start"].to_numpy(), part["end"].to_numpy()).max()
        rows.append({
            "worker": worker, "host": host, "pid": pid, "trials": len(part), "seconds": float(seconds),
            "idle": float(1 - busy / seconds) if seconds else 0.0,
            "side_by_side": float((part["end"] - part["start"]).sum() / busy) if busy else float(len(part)),
        })  # fmt: skip
    return pd.DataFrame(rows).round({"idle": 3, "side_by_side": 2})


def workers_reading(spans: pd.DataFrame, workers: pd.DataFrame) -> str:
    """How busy the workers were, and how often the search paused."""
    idle, together, pauses = workers["idle"], workers["side_by_side"], int(spans["session"].max())
    most = workers["worker"].iloc[int(idle.to_numpy().argmax())]
    many = "One worker" if len(workers) == 1 else f"{len(workers)} workers"
    words = (
        f"{many} searched for {duration(spans['end'].max())}. From its first trial to its last, a worker had nothing "
        f"to train in {percent(idle.mean())} of the time on average; worker {most} most, "
        f"in {percent(idle.max())}."
    )
    if together.max() > 1.05:
        words += f" While it trained, a worker had {together.mean():.1f} trials side by side on average."
    if pauses:
        words += f" The search was interrupted {pauses} time{'s' * (pauses > 1)}, which is left out."
    return words


def slowest_reading(trials: pd.DataFrame) -> str:
    """Which trial took longest for an episode and what may slow one down; nothing where all took about as long."""
    known = trials[(trials["episodes"] > 0) & (trials["seconds"] > 0) & (trials["ending"] != "running")]
    paces = (known["seconds"] / known["episodes"]).set_axis(known["number"])
    if len(paces) < MIN_TRIALS or paces.max() < SLOW * paces.median():
        return ""
    return (
        f" Trial {paces.idxmax()} took longest for an episode, {paces.max() / paces.median():,.1f} times the median: "
        "long responses, small batches, many epochs or company make a trial slow."
    )
