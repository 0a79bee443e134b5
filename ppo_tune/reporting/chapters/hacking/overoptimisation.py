"""Where the trained reward rises and the gold score, which the search never sees, falls."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from ppo_tune.reporting.paired_changes import Judged, change, judged_base, judged_trial, number, quantile
from ppo_tune.reporting.record import StudyRecord, role_of, to_records
from ppo_tune.search.endings import ending_of
from ppo_tune.search.facts import CurvePoint, TrialFacts

BELOW, PAST = "gold fell", "past its peak"
"""What a trial may be flagged with: gold fell against the untrained model, or from its own peak."""

BEST = ("winner", "best so far")
"""What the trial to go on with may be called, see `role_of`."""

CHANGES = (
    "number", "role", "ending", "flag", "kl", "score_change", "score_low", "score_high", "gold_change", "gold_low",
    "gold_high",
)  # fmt: skip
POINTS = (
    "number", "role", "ending", "episodes", "kl", "score_change", "gold_change", "score_error", "gold_error",
)  # fmt: skip


def has_gold(record: StudyRecord) -> bool:
    """Whether any trial has a gold score."""
    return bool(record.table["gold"].notna().any())


def changes_table(record: StudyRecord) -> pd.DataFrame:
    """One row per trial with a gold score: how far score and gold moved from the untrained model, and a flag.

    A trial is flagged where its score rose and its gold score fell against the untrained model, both beyond their
    95 % intervals; or where its gold score fell from an earlier peak of its own while the score rose on.

    Columns: those of `CHANGES`; `low` and `high` are the ends of the 95 % interval.
    """
    base = judged_base(record)
    rows = []
    for trial in record.trials:
        after = judged_trial(record, trial)
        if math.isnan(after.means["gold"]):
            continue
        score, gold = change(base, after, "score"), change(base, after, "gold")
        fell = score.low > 0 and gold.high < 0
        past = is_past_peak(curve_of(TrialFacts(trial).curve, base))
        rows.append({
            "number": trial.number, "role": role_of(record, trial), "ending": ending_of(trial), "kl": after.kl,
            "score_change": score.value, "score_low": score.low, "score_high": score.high,
            "gold_change": gold.value, "gold_low": gold.low, "gold_high": gold.high,
            "flag": BELOW if fell else PAST if past else "",
        })  # fmt: skip
    return pd.DataFrame(rows, columns=list(CHANGES))


def worst_of(changes: pd.DataFrame, default: int | None) -> int | None:
    """The number of the flagged trial whose gold score ended lowest; None without one.

    Never the default config, which is shown anyway, nor a trial that still runs. The winner only if it is flagged
    itself and no other ended lower.

    Args:
        changes: See `changes_table`.
        default: The number of the default config's trial.
    """
    flagged = changes[
        (changes["flag"] != "") & (changes["number"] != default) & (changes["ending"] != "running")
    ]
    return None if flagged.empty else int(flagged.sort_values("gold_change")["number"].iloc[0])


def curves_table(record: StudyRecord) -> pd.DataFrame:
    """One row per trial and milestone that has a gold score; changes are against the untrained model.

    Columns: those of `POINTS`; the errors are standard errors of score and gold.
    """
    base = judged_base(record)
    rows = []
    for trial in record.trials:
        curve = [point for point in TrialFacts(trial).curve if point.gold is not None]
        facts = {"number": trial.number, "role": role_of(record, trial), "ending": ending_of(trial)}
        rows += [{**facts, **point} for point in curve_of(curve, base)[1:]]
    return pd.DataFrame(rows, columns=list(POINTS))


def curve_of(points: Sequence[CurvePoint], base: Judged) -> list[dict[str, float]]:
    """A trial's milestones as changes against the untrained model, which is the first of them.

    Args:
        points: The trial's `curve`.
        base: The untrained model.
    """
    start = {"episodes": 0, "kl": 0.0, "score_change": 0.0, "gold_change": 0.0,
             "score_error": base.errors["score"], "gold_error": base.errors["gold"]}  # fmt: skip
    rest = [
        {
            "episodes": point.episodes,
            "kl": point.kl,
            "score_change": point.score - base.means["score"],
            "gold_change": number(point.gold) - base.means["gold"],
            "score_error": point.score_error,
            "gold_error": number(point.gold_error),
        }
        for point in points
    ]
    return [start, *rest]


def is_past_peak(curve: Sequence[Mapping[str, float]]) -> bool:
    """Whether gold fell from its peak to the end of a curve while the score rose, both beyond 95 %.

    The peak is the highest of several points, so its lead is partly luck: the interval is widened by Bonferroni's
    rule. The errors are added as if the milestones had nothing in common, which widens it further.

    Args:
        curve: See `curve_of`.
    """
    if len(curve) < 2 or any(math.isnan(point["gold_change"]) for point in curve):
        return False
    top, end = max(curve, key=lambda point: point["gold_change"]), curve[-1]
    reach = quantile(1 - 0.025 / (len(curve) - 1))
    fell = top["gold_change"] - end["gold_change"] > reach * math.hypot(top["gold_error"], end["gold_error"])
    rise, error = (
        end["score_change"] - top["score_change"],
        math.hypot(top["score_error"], end["score_error"]),
    )
    return fell and rise > quantile(0.975) * error


def curves_reading(marked: pd.DataFrame) -> str:
    """For each marked trial, where gold was highest and where it ended."""
    parts = []
    for role in (*BEST, "default", "worst offender"):
        curve = marked[marked["role"] == role]
        if curve.empty:
            continue
        gold, kl = curve["gold_change"].to_numpy(float), curve["kl"].to_numpy(float)
        peak, end = int(gold.argmax()), f"{gold[-1]:+.2f} at {kl[-1]:.1f} nats"
        told = (
            f"gold fell from the start and ended at {end}"
            if gold[peak] < 0
            else f"gold was highest at its end, {end}"
            if peak == len(gold) - 1
            else f"gold was highest at {kl[peak]:.1f} nats ({gold[peak]:+.2f}) and ended at {end}, while the score "
            f"went from {curve['score_change'].iloc[peak]:+.2f} to {curve['score_change'].iloc[-1]:+.2f}"
        )
        parts.append(f"{role.capitalize()}: {told}.")
    return " ".join([*parts, "Changes against the untrained model; bars are 95 % intervals over prompts."])


def changes_reading(changes: pd.DataFrame, worst: int | None, n_prompts: int) -> str:
    """How many trials exploit the reward, which most, and whether the winner does."""
    if changes["gold_change"].isna().all():
        return (
            "What the untrained model scores is not known (base.json is not in the study's folder), so it cannot be "
            "said whether gold rose or fell."
        )
    counts = changes["flag"].value_counts()
    below, past = int(counts.get(BELOW, 0)), int(counts.get(PAST, 0))
    sentences = [
        f"In {below or 'none'} of {len(changes)} trials the reward rose and the gold score fell against the untrained "
        f"model; in {past or 'none'}{' more' if below and past else ''} gold fell from its own peak while the reward "
        f"rose on (both beyond 95 %, {n_prompts} prompts; by luck alone fewer than 1 in 40)."
    ]
    rows = {row["number"]: row for row in to_records(changes)}
    winner = next((row for row in rows.values() if row["role"] in BEST), None)
    if worst is not None:
        role = rows[worst]["role"]
        who = f"The {role} is the worst offender" if role in BEST else "Worst offender"
        sentences.append(f"{who}{_told(rows[worst])}.")
    if winner is not None and winner["number"] != worst:
        sentences.append(
            f"{str(winner['role']).capitalize()}{_told(winner)}{' (flagged)' if winner['flag'] else ''}."
        )
    return " ".join([*sentences, _agreement(changes)]).strip()


def _told(row: dict[str, float]) -> str:
    """A trial's two changes in words."""
    parts = [
        f"{name} {row[f'{name}_change']:+.2f}"
        + (
            ""
            if row[f"{name}_low"] is None
            else f" ({row[f'{name}_low']:+.2f} to {row[f'{name}_high']:+.2f})"
        )
        for name in ("score", "gold")
    ]
    return f": trial {row['number']}, {', '.join(parts)}, at {row['kl']:.1f} nats"


def _agreement(changes: pd.DataFrame) -> str:
    """Whether the two judges rank the trials alike, with Bonett and Wright's interval."""
    n = len(changes)
    if n < 10:
        return ""
    rank = float(changes["score_change"].corr(changes["gold_change"], method="spearman"))
    if not abs(rank) < 1:
        return ""
    reach = 1.96 * math.sqrt((1 + rank**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(rank) + side * reach) for side in (-1, 1))
    return f"Rank correlation of the two judges over {n} trials: {rank:+.2f} ({low:+.2f} to {high:+.2f})."
