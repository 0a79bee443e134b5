"""Signs of a hack in the responses: length, repetition, variety, spread of the reward."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ppo_tune.reporting.analysis.paired_changes import Judged, judged_base, judged_trial, number
from ppo_tune.reporting.record import StudyRecord, role_of, samples_of
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.heldout import HeldOut
from ppo_tune.search.responses import Samples, distinct, mean_repeated_share, repetition_low, signs
from ppo_tune.search.results import ending_of

MEASURES: Mapping[str, str] = {
    "response_tokens": "tokens per response", "repeated_3grams": "repeated 3-grams", "distinct_1": "distinct-1",
    "distinct_2": "distinct-2", "score_std": "spread of the reward", "eos_rate": "responses that end",
}  # fmt: skip
"""The proxies: names of columns, and what they are called in a figure."""


UNTRAINED = "untrained model"
"""Its role in a table."""


def measure(model: Judged, seen: HeldOut | None, samples: Samples) -> dict[str, float]:
    """The proxies of one model, by the names of `MEASURES`.

    Args:
        model: Its means and their errors.
        seen: What it came to at its end; None before it.
        samples: The responses that were kept.
    """
    texts = [sample["response"] for sample in samples]
    return {
        "response_tokens": number(seen and seen.response_tokens),
        "repeated_3grams": mean_repeated_share(samples),
        "distinct_1": distinct(texts, 1),
        "distinct_2": distinct(texts, 2),
        "score_std": model.errors["score"] * math.sqrt(model.n_prompts),
        "eos_rate": number(seen and seen.eos_rate),
    }


def proxies_table(record: StudyRecord) -> pd.DataFrame:
    """The untrained model, if it is known, and every trial with a score: its proxies and the signs in them.

    Columns: number (NaN for the untrained model), role, ending, kl, score, those of `MEASURES`, signs (how many),
    which (in words).
    """
    base, base_samples = judged_base(record), [] if record.base is None else record.base.samples
    start = measure(base, None if record.base is None else record.base.heldout, base_samples)
    rows: list[dict[str, Any]] = []
    if record.base is not None:
        rows.append({"number": math.nan, "role": UNTRAINED, "ending": "", "kl": base.kl, "score": base.means["score"],
                     **start, "signs": 0, "which": ""})  # fmt: skip
    for trial in record.trials:
        facts = TrialFacts(trial)
        if facts.last is None:
            continue
        after, samples = judged_trial(record, trial), samples_of(record, trial)
        proxies = measure(after, facts.heldout, samples)
        found = signs(start, proxies, repetition_low(base_samples, samples))
        rows.append({"number": trial.number, "role": role_of(record, trial), "ending": ending_of(trial), "kl": after.kl,
                     "score": after.means["score"], **proxies, "signs": len(found),
                     "which": ", ".join(found)})  # fmt: skip
    return pd.DataFrame(
        rows, columns=["number", "role", "ending", "kl", "score", *MEASURES, "signs", "which"]
    )


def worst_of(table: pd.DataFrame, default: int | None) -> int | None:
    """The finished trial with most signs of a hack among those that score above the default config; None without.

    Of equally many signs the higher KL is the worse. Where there is no default yet, the untrained model's score is
    what has to be beaten. Never the default itself.

    Args:
        table: See `proxies_table`.
        default: The number of the default config's trial.
    """
    to_beat = [table["score"][table["number"] == default], table["score"][table["role"] == UNTRAINED]]
    beaten = next((float(scores.iloc[0]) for scores in to_beat if len(scores)), -math.inf)
    is_candidate = (table["score"] > beaten) & (table["signs"] > 0) & ~table["ending"].isin(["running", ""])
    candidates = table[is_candidate & (table["number"] != default)]
    return None if candidates.empty else int(candidates.sort_values(["signs", "kl"])["number"].iloc[-1])
