"""Where what trials are compared by rises and a judge, which the search never sees, falls.

Columns that begin with `judge_` are of the judge in question.
"""

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
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.heldout import CurvePoint
from ppo_tune.search.results import ending_of

PAST = "past its peak"
"""What a trial may be flagged with, besides `fell`: the judge fell from its own peak."""

BEST = ("winner", "best so far")
"""What the trial to go on with may be called, see `role_of`."""

CHANGES = (
    "number", "role", "ending", "flag", "kl", "score_change", "score_low", "score_high", "judge_change", "judge_low",
    "judge_high",
)  # fmt: skip
POINTS = (
    "number", "role", "ending", "episodes", "kl", "score_change", "judge_change", "score_error", "judge_error",
)  # fmt: skip


def fell(judge: str) -> str:
    """What a trial may be flagged with: the judge fell against the untrained model."""
    return f"{judge} fell"


def changes_table(record: StudyRecord, judge: str) -> pd.DataFrame:
    """One row per trial that a judge scored: how far score and judge moved from the untrained model, and a flag.

    A trial is flagged where its score rose and the judge fell against the untrained model, both beyond their
    95 % intervals; or where the judge fell from an earlier peak of its own while the score rose on.

    Columns: those of `CHANGES`; `low` and `high` are the ends of the 95 % interval.
    """
    base = judged_base(record)
    rows = []
    for trial in record.trials:
        after = judged_trial(record, trial)
        if math.isnan(after.means[judge]):
            continue
        score, judged = change(base, after, "score"), change(base, after, judge)
        has_fallen = score.low > 0 and judged.high < 0
        past = is_past_peak(curve_of(TrialFacts(trial).curve, base, judge))
        rows.append({
            "number": trial.number, "role": role_of(record, trial), "ending": ending_of(trial), "kl": after.kl,
            "score_change": score.value, "score_low": score.low, "score_high": score.high,
            "judge_change": judged.value, "judge_low": judged.low, "judge_high": judged.high,
            "flag": fell(judge) if has_fallen else PAST if past else "",
        })  # fmt: skip
    return pd.DataFrame(rows, columns=list(CHANGES))


def worst_of(changes: pd.DataFrame, default: int | None) -> int | None:
    """The number of the flagged trial whose judge ended lowest; None without one.

    Never the default config, which is shown anyway, nor a trial that still runs. The winner only if it is flagged
    itself and no other ended lower.

    Args:
        changes: See `changes_table`.
        default: The number of the default config's trial.
    """
    flagged = changes[
        (changes["flag"] != "") & (changes["number"] != default) & (changes["ending"] != "running")
    ]
    return None if flagged.empty else int(flagged.sort_values("judge_change")["number"].iloc[0])


def curves_table(record: StudyRecord, judge: str) -> pd.DataFrame:
    """One row per trial and milestone that a judge scored; changes are against the untrained model.

    Columns: those of `POINTS`; the errors are standard errors of score and judge.
    """
    base = judged_base(record)
    rows = []
    for trial in record.trials:
        curve = [point for point in TrialFacts(trial).curve if judge in point.judges]
        facts = {"number": trial.number, "role": role_of(record, trial), "ending": ending_of(trial)}
        rows += [{**facts, **point} for point in curve_of(curve, base, judge)[1:]]
    return pd.DataFrame(rows, columns=list(POINTS))


def curve_of(points: Sequence[CurvePoint], base: Judged, judge: str) -> list[dict[str, float]]:
    """A trial's milestones as changes against the untrained model, which is the first of them.

    Args:
        points: The trial's `curve`.
        base: The untrained model.
        judge: Its name.
    """
    start = {"episodes": 0, "kl": 0.0, "score_change": 0.0, "judge_change": 0.0,
             "score_error": base.errors["score"], "judge_error": base.errors[judge]}  # fmt: skip
    rest = [
        {
            "episodes": point.episodes,
            "kl": point.kl,
            "score_change": point.score - base.means["score"],
            "judge_change": point.by(judge).mean - base.means[judge],
            "score_error": point.score_error,
            "judge_error": number(point.by(judge).error),
        }
        for point in points
    ]
    return [start, *rest]


def is_past_peak(curve: Sequence[Mapping[str, float]]) -> bool:
    """Whether a judge fell from its peak to the end of a curve while the score rose, both beyond 95 %.

    The peak is the highest of several points, so its lead is partly luck: the interval is widened by Bonferroni's
    rule. The errors are added as if the milestones had nothing in common, which widens it further.

    Args:
        curve: See `curve_of`.
    """
    if len(curve) < 2 or any(math.isnan(point["judge_change"]) for point in curve):
        return False
    top, end = max(curve, key=lambda point: point["judge_change"]), curve[-1]
    reach = quantile(1 - 0.025 / (len(curve) - 1))
    has_fallen = top["judge_change"] - end["judge_change"] > reach * math.hypot(
        top["judge_error"], end["judge_error"]
    )
    rise, error = (
        end["score_change"] - top["score_change"],
        math.hypot(top["score_error"], end["score_error"]),
    )
    return has_fallen and rise > quantile(0.975) * error
