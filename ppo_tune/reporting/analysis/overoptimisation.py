"""Where the trained reward rises and the gold score, which the search never sees, falls."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from ppo_tune.reporting.analysis.paired_changes import (
    Judged,
    change,
    judged_base,
    judged_trial,
    number,
    quantile,
)
from ppo_tune.reporting.record import StudyRecord, role_of
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
