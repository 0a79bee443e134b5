"""Who is ahead of whom when both have spent the same, who reached which score first, and what that can show.

For studies whose scores can be compared; all of it is read from a table of progress.
"""

import math
from collections.abc import Sequence

import pandas as pd

from ppo_tune.reporting.comparison.comparability import Contender, groups
from ppo_tune.reporting.record import to_records
from ppo_tune.reporting.wording import join, percent

MOST_NAMED = 5
"""Studies that a sentence names, the best first; the table has all."""

MOST_LEVELS = 8
"""Round scores at which studies are timed."""


def at_equal_spend(contenders: Sequence[Contender], progress: pd.DataFrame) -> str:
    """Who stands where when all had spent as much as the one that spent least."""
    spent = totals(progress)
    if not spent:
        return "No trial has ended yet."
    spend = min(spent.values())
    ranges = ranges_at(contenders, progress, spend)
    episodes = f"the same {spend:,} episodes" + (
        " (all of the smallest study)" if len(set(spent.values())) > 1 else ""
    )
    if not ranges:
        return f"After {episodes} no study has a completed trial within the KL budget."
    ranked = sorted(ranges, key=lambda label: -sum(ranges[label]) / len(ranges[label]))
    said = [f"{_mean_and_range(ranges[label])} in {label}" for label in ranked[:MOST_NAMED]]
    others = [f"less in {len(ranked) - MOST_NAMED} others"] if len(ranked) > MOST_NAMED else []
    without = [label for label, best in best_at(progress, spend).items() if best is None]
    none_yet = f" {join(without)} had no completed trial within the KL budget by then." if without else ""
    return f"After {episodes} the best score is {join([*said, *others])}.{none_yet}"


def certainty(contenders: Sequence[Contender], progress: pd.DataFrame) -> str:
    """What scores at equal spend can show, given how many runs there are of each way of searching."""
    ranges = list(ranges_at(contenders, progress, min(totals(progress).values(), default=0)).values())
    if len(ranges) < 2:
        return "So there is nothing to compare but seeds." if len(groups(contenders)) < 2 else ""
    if min(map(len, ranges)) == 1:
        how = " Studies that differ in nothing but search.seed are shown as one, with their range."
        return (
            "A single run cannot show that one way of searching is better than another: another seed may turn the "
            f"order round.{how if max(map(len, ranges)) == 1 else ''}"
        )
    if len(ranges) > 2 or (min(ranges[0]) <= max(ranges[1]) and min(ranges[1]) <= max(ranges[0])):
        return "Where ranges overlap, these runs do not show which is better."
    n, m = map(len, ranges)
    chance = 2 / math.comb(n + m, n)
    return f"The ranges do not overlap; with {n} and {m} runs chance alone would do that in {percent(chance)} of cases."


def ranges_at(
    contenders: Sequence[Contender], progress: pd.DataFrame, episodes: float
) -> dict[str, list[float]]:
    """The bests of each group of studies that differ in nothing but the seed; groups without any are left out."""
    found = best_at(progress, episodes)
    ranges = {
        label: [best for member in members if (best := found.get(member.label)) is not None]
        for label, members in groups(contenders).items()
    }
    return {label: bests for label, bests in ranges.items() if bests}


def best_at(progress: pd.DataFrame, episodes: float) -> dict[str, float | None]:
    """The best of each study when it had spent so many episodes; None where it had none."""
    found: dict[str, float | None] = {}
    for label, part in progress.groupby("study", sort=False):
        known = part[(part["episodes"] <= episodes) & part["best_so_far"].notna()]
        found[str(label)] = None if known.empty else float(known["best_so_far"].iloc[-1])
    return found


def totals(progress: pd.DataFrame) -> dict[str, int]:
    """Episodes that each study spent in all; a study without a trial that ended is not there."""
    return {str(label): int(part.max()) for label, part in progress.groupby("study", sort=False)["episodes"]}


def reach_table(progress: pd.DataFrame) -> pd.DataFrame:
    """When each study first stood at each round score: level, study, episodes, seconds; missing where it never did."""
    rows = []
    for level in levels(progress):
        for label, part in progress.groupby("study", sort=False):
            there = part[part["best_so_far"] >= level - 1e-9].head(1)
            rows.append((level, label, there["episodes"].max(), there["seconds"].max()))  # NaN of nothing
    return pd.DataFrame(rows, columns=["level", "study", "episodes", "seconds"])


def levels(progress: pd.DataFrame) -> list[float]:
    """Round scores above where the studies began, up to the best of all, rising."""
    known = progress[progress["best_so_far"].notna()].groupby("study")["best_so_far"]
    start, end = known.first().max(), known.last().max()
    if known.ngroups == 0 or end <= start:
        return []
    step = round_step((end - start) / MOST_LEVELS)
    first, last = math.floor(start / step + 1e-9) + 1, math.floor(end / step + 1e-9)
    return [float(f"{i * step:.6g}") for i in range(first, last + 1)]


def round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    return min(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def reach_words(table: pd.DataFrame) -> pd.DataFrame:
    """One row per score and one column per study: `8,704 (12 s)`."""
    said = [
        "–" if row["episodes"] is None else f"{row['episodes']:,.0f} ({row['seconds']:,.0f} s)"
        for row in to_records(table)
    ]
    wide = table.assign(said=said).pivot(index="level", columns="study", values="said")
    wide = wide[list(table["study"].unique())].reset_index().rename_axis(columns=None)
    return wide.rename(columns={"level": "score"})


def reach_reading(table: pd.DataFrame) -> str:
    """Who came first to the highest round score that all studies reached, or else that at least half of them did."""
    reached = table.groupby("level")["episodes"].agg(lambda episodes: episodes.notna().mean())
    level = next(
        float(found.max()) for share in (1.0, 0.5, 0.0) if len(found := reached[reached >= share].index)
    )
    rows = to_records(table[table["level"] == level].sort_values("episodes", kind="stable"))
    there = [row for row in rows if row["episodes"] is not None]
    never = [row["study"] for row in rows if row["episodes"] is None]
    first = there[0]
    said = [
        f"{first['study']} reached {level:g} after {first['episodes']:,.0f} episodes ({first['seconds']:,.0f} s)"
    ]
    said += [f"{r['study']} after {r['episodes']:,.0f} ({r['seconds']:,.0f} s)" for r in there[1:MOST_NAMED]]
    others = f", {len(there) - MOST_NAMED} others later" if len(there) > MOST_NAMED else ""
    return f"{', '.join(said)}{others}{f'; {join(never)} did not' if never else ''}."


def _mean_and_range(scores: Sequence[float]) -> str:
    if len(scores) == 1:
        return f"{scores[0]:.3f}"
    mean = sum(scores) / len(scores)
    return f"{mean:.3f} ({min(scores):.3f} to {max(scores):.3f} over {len(scores)} runs)"
