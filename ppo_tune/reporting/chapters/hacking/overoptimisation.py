"""Score against gold in words: how many trials exploit the reward, which most, and where gold was highest."""

import math

import pandas as pd

from ppo_tune.reporting.analysis.overoptimisation import BELOW, BEST, PAST
from ppo_tune.reporting.record import to_records


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
