"""Several studies beside each other: what each spent, its best trial, and how its trials ended."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from ppo_tune.reporting.analysis.paired_changes import judged_config
from ppo_tune.reporting.analysis.spend import ORDER, spend_table
from ppo_tune.reporting.comparison.comparability import Contender, obstacles
from ppo_tune.reporting.comparison.standing import MOST_NAMED
from ppo_tune.reporting.section import Section
from ppo_tune.reporting.wording import join, percent
from ppo_tune.search.results import LOST


def summary(contenders: Sequence[Contender], progress: pd.DataFrame) -> Section:
    """One row per study."""
    reading = (
        "The best is the winner that fresh seeds confirmed or, before that, the completed trial with the highest "
        "held-out score within the KL budget, which is partly luck: more trials, more luck. Scores are those of the "
        "search; gain is over the study's own default config."
    )
    units = " Scores of different studies do not compare; each gain is in its own study's units."
    reading += units if obstacles(contenders) else ""
    table, decimals = summary_table(contenders, progress), {"default_score": 3, "untrained_score": 3}
    for contender in contenders:
        decimals |= contender.record.judge_decimals(table)
    return Section("summary", "", reading, table=table, decimals=decimals)


def summary_table(contenders: Sequence[Contender], progress: pd.DataFrame) -> pd.DataFrame:
    """What each study spent and found.

    Columns: study, score (of the best trial), score_error (its standard error over prompts), gain (over the default),
    default_score, untrained_score, kl, the judges, best_trial, confirmed (whether fresh seeds chose it), sampler,
    trials, episodes, seconds (see `progress_table`).
    """
    named = dict.fromkeys(name for contender in contenders for name in contender.record.judges)
    judges, rows = tuple(named) or ("gold",), list[dict[str, Any]]()
    for contender in contenders:
        part = progress[progress["study"] == contender.label]
        best = best_of(contender, progress)
        found = (
            None
            if best is None
            else judged_config(contender.record, contender.record.configs[best.number].trials)
        )
        rows.append({
            "study": contender.label,
            "score": found and found.means["score"],
            "score_error": found and found.errors["score"],
            "gain": gain_of(contender, best),
            "default_score": contender.default,
            "untrained_score": contender.untrained,
            "kl": found and found.kl,
            **{name: found and found.means.get(name) for name in judges},
            "best_trial": "–" if best is None else f"trial {best.number}",
            "confirmed": best is not None and contender.record.verdict.confirmed
            and best.number == contender.record.verdict.trial,
            "sampler": str(contender.config.search.sampler),
            "trials": len(contender.record.trials),
            "episodes": part["episodes"].max() if len(part) else 0,
            "seconds": part["seconds"].max() if len(part) else 0.0,
        })  # fmt: skip
    numbers = ["seconds", "untrained_score", "default_score", "score", "score_error", "gain", *judges, "kl"]
    frame = pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))
    return frame.round({"untrained_score": 3, "default_score": 3, "gain": 3})


def best_of(contender: Contender, progress: pd.DataFrame) -> FrozenTrial | None:
    """The trial a study goes on with, which is its confirmed winner; before a confirmation where its best so far ends.

    A winner beyond the KL budget that holds for all studies is not the best here. None if nothing was completed within
    that budget, or nothing held on fresh seeds.
    """
    trials = {trial.number: trial for trial in contender.record.trials}
    rows = progress[progress["study"] == contender.label]
    counted = set(rows[rows["counts"]]["trial"])
    verdict = contender.record.verdict
    if verdict.confirmed and (verdict.trial is None or verdict.trial in counted):
        return None if verdict.trial is None else trials[verdict.trial]
    part = rows[rows["best_so_far"].notna()]
    if part.empty:
        return None
    return trials[part[part["best_so_far"] == part["best_so_far"].iloc[-1]]["trial"].iloc[0]]


def gain_of(contender: Contender, best: FrozenTrial | None) -> float | None:
    """How much more a trial scored in the search than the study's own default config; None where one did not."""
    if best is None or contender.default is None:
        return None
    return contender.record.configs[best.number].score - contender.default


def endings(contenders: Sequence[Contender]) -> Section | None:
    """How the trials of each study ended, and what went into those that did not reach the end."""
    table = endings_table(contenders)
    if table.empty:
        return None
    return Section("endings", "", endings_reading(table), table=table)


def endings_table(contenders: Sequence[Contender]) -> pd.DataFrame:
    """What went into each ending: study, ending, trials, episodes, tokens, seconds, share (of the study's episodes).

    Seconds are those of the trials: each of several side by side counts its own.
    """
    parts = []
    for contender in contenders:
        spend = spend_table(contender.record).assign(trials=1)
        sums = spend.groupby("ending")[["trials", "episodes", "tokens", "seconds"]].sum().reset_index()
        sums.insert(0, "study", contender.label)
        sums["share"] = sums["episodes"] / max(int(sums["episodes"].sum()), 1)
        parts.append(sums.sort_values("ending", key=lambda names: names.map(ORDER)))
    return pd.concat(parts, ignore_index=True)


def endings_reading(table: pd.DataFrame) -> str:
    """How much of each study's episodes went into trials that reached the end."""
    said = []
    for label, part in table.groupby("study", sort=False):
        done = part[part["ending"] == "completed"]
        began = int(part[~part["ending"].isin(LOST)]["trials"].sum())
        said.append((float(done["share"].sum()), f"{label} ({done['trials'].sum()} of {began} trials)"))
    if len(said) > MOST_NAMED:
        said = [min(said), max(said)]
    shares = [f"{percent(share)} in {label}" for share, label in said]
    many = len(said) < table["study"].nunique()
    return f"Episodes spent on trials that reached the end: {' to '.join(shares) if many else join(shares)}."
