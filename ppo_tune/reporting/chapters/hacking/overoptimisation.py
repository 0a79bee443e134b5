"""Score against a judge in words: how many trials exploit the reward, which most, and where the judge was highest."""

import math

import pandas as pd

from ppo_tune.reporting.analysis.overoptimisation import BEST, PAST, fell
from ppo_tune.reporting.record import to_records


def curves_reading(marked: pd.DataFrame, judge: str) -> str:
    """For each marked trial, where the judge was highest and where it ended."""
    parts = []
    for role in (*BEST, "default", "worst offender"):
        curve = marked[marked["role"] == role]
        if curve.empty:
            continue
        judged, kl = curve["judge_change"].to_numpy(float), curve["kl"].to_numpy(float)
        peak, end = int(judged.argmax()), f"{judged[-1]:+.2f} at {kl[-1]:.1f} nats"
        told = (
            f"{judge} fell from the start and ended at {end}"
            if judged[peak] < 0
            else f"{judge} was highest at its end, {end}"
            if peak == len(judged) - 1
            else f"{judge} was highest at {kl[peak]:.1f} nats ({judged[peak]:+.2f}) and ended at {end}, while the "
            f"score went from {curve['score_change'].iloc[peak]:+.2f} to {curve['score_change'].iloc[-1]:+.2f}"
        )
        parts.append(f"{role.capitalize()}: {told}.")
    return " ".join([*parts, "Changes against the untrained model; bars are 95 % intervals over prompts."])


def changes_reading(
    changes: pd.DataFrame, worst: int | None, n_prompts: int, judge: str, compared_by: str
) -> str:
    """How many trials exploit the reward, which most, and whether the winner does."""
    if changes["judge_change"].isna().all():
        return (
            "What the untrained model scores is not known (base.json is not in the study's folder), so it cannot be "
            f"said whether {judge} rose or fell."
        )
    counts = changes["flag"].value_counts()
    below, past = int(counts.get(fell(judge), 0)), int(counts.get(PAST, 0))
    sentences = [
        f"In {below or 'none'} of {len(changes)} trials the {compared_by} rose and the {judge} score fell against the "
        f"untrained model; in {past or 'none'}{' more' if below and past else ''} {judge} fell from its own peak while "
        f"the {compared_by} rose on (both beyond 95 %, {n_prompts} prompts; by luck alone fewer than 1 in 40)."
    ]
    rows = {row["number"]: row for row in to_records(changes)}
    winner = next((row for row in rows.values() if row["role"] in BEST), None)
    if worst is not None:
        role = rows[worst]["role"]
        who = f"The {role} is the worst offender" if role in BEST else "Worst offender"
        sentences.append(f"{who}{_told(rows[worst], judge)}.")
    if winner is not None and winner["number"] != worst:
        sentences.append(
            f"{str(winner['role']).capitalize()}{_told(winner, judge)}{' (flagged)' if winner['flag'] else ''}."
        )
    unknown = int(changes["judge_low"].isna().sum())
    if unknown:
        sentences.append(f"{unknown} trials cannot be judged: {judge}'s standard error is not known.")
    return " ".join([*sentences, _agreement(changes)]).strip()


def _told(row: dict[str, float], judge: str) -> str:
    """A trial's two changes in words."""
    parts = [
        f"{name} {row[f'{key}_change']:+.2f}"
        + ("" if row[f"{key}_low"] is None else f" ({row[f'{key}_low']:+.2f} to {row[f'{key}_high']:+.2f})")
        for name, key in (("score", "score"), (judge, "judge"))
    ]
    return f": trial {row['number']}, {', '.join(parts)}, at {row['kl']:.1f} nats"


def _agreement(changes: pd.DataFrame) -> str:
    """Whether the two judges rank the trials alike, with Bonett and Wright's interval."""
    n = len(changes)
    if n < 10 or min(changes["score_change"].nunique(), changes["judge_change"].nunique()) < 2:
        return ""
    rank = float(changes["score_change"].corr(changes["judge_change"], method="spearman"))
    if not abs(rank) < 1:
        return ""
    reach = 1.96 * math.sqrt((1 + rank**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(rank) + side * reach) for side in (-1, 1))
    return f"Rank correlation of the two judges over {n} trials: {rank:+.2f} ({low:+.2f} to {high:+.2f})."
