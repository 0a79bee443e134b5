"""How trials ended and why, what each ending cost, and what stopping early spared."""

import re

import pandas as pd

from ppo_tune.reporting.analysis.spend import ORDER, spend_table
from ppo_tune.reporting.chapters.health import timeline
from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import cut, duration, percent
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
}
"""Of endings whose trials note none."""

WORDS = {
    "kl_limit": "over the KL limit",
    "out_of_memory": "out of memory",
    "reward_error": "with a failing reward",
    "running": "still running",
}
"""Endings whose names are not words."""


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
    return sections + timeline.sections(record)


def endings_table(spend: pd.DataFrame) -> pd.DataFrame:
    """Endings by their reasons: ending, trials, share_of_seconds, example, reason (of the example).

    Two reasons are the same if they differ only in their numbers.
    """
    kinds = spend["reason"].map(kind_of)
    total = max(spend["seconds"].sum(), 1e-9)
    rows = []
    for ending, group in spend.groupby("ending"):
        counted = sorted(group.groupby(kinds), key=lambda item: (-len(item[1]), item[1]["number"].min()))
        parts = [part for _, part in counted]
        for part in parts[:MAX_REASONS]:
            first = part.iloc[0]
            reason = first["reason"] or REASONS.get(str(ending), "")
            rows.append(
                {
                    "ending": ending,
                    "reason": cut(reason, MAX_LETTERS),
                    "part": part,
                    "example": f"trial {first['number']}",
                }
            )
        if parts[MAX_REASONS:]:
            others = f"{len(parts) - MAX_REASONS} other reasons"
            rows.append(
                {"ending": ending, "reason": others, "part": pd.concat(parts[MAX_REASONS:]), "example": ""}
            )
    table = pd.DataFrame(rows).sort_values("ending", key=lambda names: names.map(ORDER), kind="stable")
    table["trials"] = table["part"].map(len)
    table["share_of_seconds"] = table["part"].map(lambda part: round(part["seconds"].sum() / total, 3))
    return table[["ending", "trials", "share_of_seconds", "example", "reason"]].reset_index(drop=True)


def kind_of(reason: str) -> str:
    """A reason without its numbers, so that what failed in the same way is counted together."""
    return re.sub(r"0x[0-9a-f]+|-?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?", "#", reason, flags=re.IGNORECASE)


def endings_reading(spend: pd.DataFrame) -> str:
    """How many trials ended in which way, and how many had to run again."""
    begun = spend[~spend["ending"].isin(LOST)]
    counts = begun["ending"].value_counts()
    names = sorted(counts.index, key=ORDER.__getitem__)
    said = ", ".join(f"{counts[name]} {WORDS.get(name, name)}" for name in names)
    words = f"{len(begun)} trials: {said}." if len(begun) else "No trial was brought to an end."
    failed = sum(int(counts.get(name, 0)) for name in ("out_of_memory", "reward_error", "crashed"))
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
