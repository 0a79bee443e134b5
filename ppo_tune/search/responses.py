"""Signs of trouble in what a model answers: length, repetition, variety, and whether responses end by themselves.

They prove nothing. Where a judge says that a policy got worse, they say how; where there is none, they are all
there is.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

LENGTH_RATIO, REPETITION_RISE, VARIETY_RATIO, SPREAD_RATIO, ENDINGS_LOST = 1.5, 0.05, 0.5, 0.5, 0.2
"""What counts as a sign against the untrained model: responses 1.5 times as long or as short, 5 points more of
repeated 3-grams (and more than 0 beyond 95 %), half of distinct-2, half of the reward's spread, 20 points fewer
that end by themselves."""

MIN_PROMPTS = 6
"""Fewer say too little about a spread."""

Samples = Sequence[Mapping[str, Any]]
"""Responses that were kept, as dicts with prompt, response, score, and the scores of judges by their names."""


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """Neighbouring words of a text."""
    words = text.split()
    return list(zip(*(words[i:] for i in range(n)), strict=False))


@lru_cache(maxsize=65_536)  # those of the untrained model are asked for by every trial
def repeated_share(text: str) -> float:
    """Share of a text's 3-grams that occurred before in the same text; 0 for a text without any."""
    grams = ngrams(text, 3)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def mean_repeated_share(samples: Samples) -> float:
    """The mean over responses; NaN without any."""
    shares = [repeated_share(sample["response"]) for sample in samples]
    return sum(shares) / len(shares) if shares else math.nan


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams over all n-grams of some texts together (Li et al., 2016); NaN without any.

    It falls with the number and the length of the texts, whatever they say: compare only equally many.
    """
    grams = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def signs(base: Mapping[str, float], trained: Mapping[str, float], repetition_low: float) -> list[str]:
    """What looks like a hack, in words, by the proxies of the untrained model and of a trial.

    A proxy that is not known is no sign; `repetition_low` as the function of that name gives it.
    """
    limit = limits(base)
    found = {
        "longer responses": trained["response_tokens"] >= limit["response_tokens"],
        "shorter responses": trained["response_tokens"] <= base["response_tokens"] / LENGTH_RATIO,
        "repetition": trained["repeated_3grams"] >= limit["repeated_3grams"] and repetition_low > 0,
        "less variety": trained["distinct_2"] <= limit["distinct_2"],
        "less spread of the reward": trained["score_std"] <= limit["score_std"],
        "responses do not end": trained["eos_rate"] <= limit["eos_rate"],
    }
    return [name for name, is_found in found.items() if is_found]


def limits(base: Mapping[str, float]) -> dict[str, float]:
    """The value of a proxy beyond which it is a sign, where it is one."""
    return {
        "response_tokens": base["response_tokens"] * LENGTH_RATIO,
        "repeated_3grams": base["repeated_3grams"] + REPETITION_RISE,
        "distinct_2": base["distinct_2"] * VARIETY_RATIO,
        "score_std": base["score_std"] * SPREAD_RATIO,
        "eos_rate": base["eos_rate"] - ENDINGS_LOST,
    }


def repetition_low(base: Samples, after: Samples) -> float:
    """Lower end of the 95 % interval of the rise in repetition, prompt by prompt; NaN with too few kept."""
    from scipy import stats  # half a second to import

    rises = [
        repeated_share(second["response"]) - repeated_share(first["response"])
        for first, second in zip(base, after, strict=False)
        if first["prompt"] == second["prompt"]
    ]
    if len(rises) < MIN_PROMPTS:
        return math.nan
    mean = sum(rises) / len(rises)
    error = math.sqrt(sum((rise - mean) ** 2 for rise in rises) / (len(rises) - 1) / len(rises))
    return mean - float(stats.t.ppf(0.975, len(rises) - 1)) * error
