"""How trials ended and why, what each ending cost and stopping early spared, and how busy the workers were."""

import re
from datetime import timedelta

import pandas as pd
from optuna.trial import FrozenTrial

from ppo_tune.plurals import counted
from ppo_tune.reporting.analysis.spend import ORDER, busy_seconds, spend_table
from ppo_tune.reporting.record import StudyRecord, metrics_of, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import cut, duration, percent
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.results import LOST

MAX_REASONS = 3
"""Reasons that are told of each ending; the others are counted."""

MAX_LETTERS = 200
"""Of a reason, which may be a foreign error message."""

SPARING = {"pruned": "the pruner", "kl_limit": "the KL limit", "diverged": "divergence"}
"""Endings of trials that were stopped on purpose, and by what."""

REASONS = {
    "completed": "reached its budget",
    "running": "not over yet",
    "preempted": "stopped by the user; ran again under another number",
    "lost": "its worker died; ran again under another number",
    "complete": "told by something else than ppo-tune",
    "fail": "told by something else than ppo-tune",
}
"""Of endings whose trials note none."""

WORDS = {
    "kl_limit": "over the KL limit",
    "out_of_memory": "out of memory",
    "reward_error": "with a failing reward",
    "running": "still running",
}
"""Endings whose names are not words."""

MIN_PAUSE, MIN_PAUSE_SECONDS = 0.1, 60.0
"""A time in which no trial ran is a pause, and left out, if it is longer than this share of the time in which any did
and than these seconds: starting a worker may take as long."""

IDLE = 0.1
"""Share of its time without a trial from which on a worker is worth a table."""

SLOW, MIN_TRIALS = 1.5, 10
"""Times the median pace from which on a trial is called slow (equal work on one machine differs by less), and the
trials that a median needs."""


def chapter(record: StudyRecord) -> Chapter:
    """Endings with their reasons, their cost, and how busy the workers were."""
    return Chapter("health", "Run health", _sections(record), in_summary="reading", is_pictured=False)


def _sections(record: StudyRecord) -> tuple[Section, ...]:
    spend = spend_table(record)
    if spend.empty:
        return ()
    endings, ledger = endings_table(spend), ledger_table(spend, record.config.ppo.episodes)
    sections = (
        Section("endings", "How trials ended", endings_reading(spend), table=endings),
        Section("cost", "What it cost", ledger_reading(ledger), table=ledger),
    )
    return sections + workers_sections(record)


def endings_table(spend: pd.DataFrame) -> pd.DataFrame:
    """Endings by their reasons: ending, trials, share_of_seconds, example, reason (of the example).

    Two reasons are the same if they differ only in their numbers.
    """
    kinds = spend["reason"].map(kind_of)
    rows = []
    for ending, group in spend.groupby("ending"):
        counted = sorted(group.groupby(kinds), key=lambda item: (-len(item[1]), item[1]["number"].min()))
        parts = [part for _, part in counted]
        for part in parts[:MAX_REASONS]:
            first = part.iloc[0]
            reason = cut(first["reason"] or REASONS.get(str(ending), ""), MAX_LETTERS)
            rows.append((str(ending), part, f"trial {first['number']}", reason))
        if others := parts[MAX_REASONS:]:
            rows.append((str(ending), pd.concat(others), "", f"{len(others)} other reasons"))
    total = max(spend["seconds"].sum(), 1e-9)
    return pd.DataFrame(
        [
            (ending, len(part), round(part["seconds"].sum() / total, 3), example, reason)
            for ending, part, example, reason in sorted(rows, key=lambda row: ORDER[row[0]])
        ],
        columns=["ending", "trials", "share_of_seconds", "example", "reason"],
    )


def kind_of(reason: str) -> str:
    """A reason without its numbers, so that what failed in the same way is counted together."""
    return re.sub(r"0x[0-9a-f]+|-?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?", "#", reason, flags=re.IGNORECASE)


def endings_reading(spend: pd.DataFrame) -> str:
    """How many trials ended in which way, and how many had to run again."""
    begun = spend[~spend["ending"].isin(LOST)]
    counts = begun["ending"].value_counts()
    names = sorted(counts.index, key=ORDER.__getitem__)
    said = ", ".join(f"{counts[name]} {WORDS.get(name, name)}" for name in names)
    words = f"{counted(len(begun), 'trial')}: {said}." if len(begun) else "No trial was brought to an end."
    failed = sum(int(counts.get(name, 0)) for name in ("out_of_memory", "reward_error", "crashed", "fail"))
    if failed:
        words += f" {failed} failed, which teaches the sampler nothing; the table says why."
    again = spend[spend["ending"].isin(LOST)]["ending"].value_counts()
    if len(again):
        lost, stopped = again.get("lost", 0), again.get("preempted", 0)
        words += (
            f" Besides, {lost + stopped} were cut off ({lost} with their worker, {stopped} by the user) and ran "
            "again under other numbers."
        )
    return words


def ledger_table(spend: pd.DataFrame, budget: int) -> pd.DataFrame:
    """What each ending cost and spared, with a last row for the total.

    Columns: ending, trials, episodes, tokens, seconds, episodes_spared (what trials that were
    stopped on purpose lack of the budget), seconds_spared (the same, at each trial's own pace).

    Args:
        spend: One row per trial; see `spend_table`.
        budget: Episodes of a trial that runs to its end.
    """
    paces = (spend["seconds"] / spend["episodes"]).where(spend["episodes"] > 0)
    stopped = spend["ending"].isin(SPARING)
    rows = spend.assign(trials=1, episodes_spared=(budget - spend["episodes"]).clip(lower=0).where(stopped))
    rows["seconds_spared"] = rows["episodes_spared"] * paces.fillna(paces.median())
    sums = ["trials", "episodes", "tokens", "seconds", "episodes_spared", "seconds_spared"]
    ledger = rows.groupby("ending")[sums].sum(min_count=1).reset_index()
    ledger = ledger.sort_values("ending", key=lambda names: names.map(ORDER), ignore_index=True)
    total = pd.DataFrame([{"ending": "total", **ledger[sums].sum()}])
    ledger = pd.concat([ledger, total], ignore_index=True)
    whole = {name: int for name in ("trials", "episodes", "tokens")}
    return ledger.astype(whole)[["ending", *sums]]


def ledger_reading(ledger: pd.DataFrame) -> str:
    """What was spent, and what stopping early spared."""
    total = ledger.iloc[-1]
    cut_off = ", those cut off included," if ledger["ending"].isin(LOST).any() else ""
    words = (
        f"{total['trials']:,} trials{cut_off} used {total['episodes']:,} episodes, {total['tokens']:,} response "
        f"tokens and {duration(total['seconds'])} of trial time, in which trials that train side by side each count "
        "their own. "
    )
    spared = {row["ending"]: row["episodes_spared"] for row in to_records(ledger.iloc[:-1])}
    parts = [f"{spared[name]:,.0f} by {what}" for name, what in SPARING.items() if spared.get(name)]
    if not parts:
        return words + "No trial was stopped early, so nothing was spared."
    whole = total["episodes"] + total["episodes_spared"]
    words += (
        f"Stopping early spared {total['episodes_spared']:,.0f} of {whole:,.0f} episodes "
        f"({percent(total['episodes_spared'] / whole)}): {', '.join(parts)}."
    )
    if total["seconds_spared"] > 0:  # else no trial went far enough to have a pace
        words += f" At each trial's own pace that is {duration(total['seconds_spared'])} of trial time."
    return words


def workers_sections(record: StudyRecord) -> tuple[Section, ...]:
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
