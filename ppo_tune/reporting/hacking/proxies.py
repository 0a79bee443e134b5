"""Signs of a hack where no gold reward can prove one: length, repetition, variety, spread of the reward."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.reporting.drawing import GREY, RED, layout
from ppo_tune.reporting.hacking.changes import (
    MIN_PROMPTS,
    Judged,
    judged_base,
    judged_trial,
    number,
    quantile,
)
from ppo_tune.reporting.hacking.gold_figures import STYLES
from ppo_tune.reporting.record import StudyRecord, role_of, samples_of, to_records
from ppo_tune.search.endings import ending_of

LENGTH_RATIO, REPETITION_RISE, VARIETY_RATIO, SPREAD_RATIO, ENDINGS_LOST = 1.5, 0.05, 0.5, 0.5, 0.2
"""What counts as a sign against the untrained model: responses 1.5 times as long or as short, 5 points more of
repeated 3-grams (and more than 0 beyond 95 %), half of distinct-2, half of the reward's spread, 20 points fewer
that end by themselves."""

MEASURES: Mapping[str, str] = {
    "response_tokens": "tokens per response", "repeated_3grams": "repeated 3-grams", "distinct_1": "distinct-1",
    "distinct_2": "distinct-2", "score_std": "spread of the reward", "eos_rate": "responses that end",
}  # fmt: skip
"""The proxies: names of columns, and what they are called in a figure."""


UNTRAINED = "untrained model"
"""Its role in a table."""

Samples = Sequence[Mapping[str, Any]]


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """Neighbouring words of a text."""
    words = text.split()
    return list(zip(*(words[i:] for i in range(n)), strict=False))


@lru_cache(
    maxsize=65_536
)  # each text is asked for several times, those of the untrained model by every trial
def repeated_share(text: str, n: int = 3) -> float:
    """Share of a text's n-grams that occurred before in the same text; 0 for a text without any."""
    grams = ngrams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams over all n-grams of some texts together (Li et al., 2016); NaN without any.

    It falls with the number and the length of the texts, whatever they say: compare only equally many.
    """
    grams = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def measure(model: Judged, facts: Mapping[str, Any], samples: Samples) -> dict[str, float]:
    """The proxies of one model, by the names of `MEASURES`.

    Args:
        model: Its means and their errors.
        facts: Its `heldout/...` numbers.
        samples: The responses that were kept.
    """
    texts = [sample["response"] for sample in samples]
    return {
        "response_tokens": number(facts.get("heldout/response_tokens")),
        "repeated_3grams": float(np.mean([repeated_share(text) for text in texts])) if texts else math.nan,
        "distinct_1": distinct(texts, 1),
        "distinct_2": distinct(texts, 2),
        "score_std": model.errors["score"] * math.sqrt(model.n_prompts),
        "eos_rate": number(facts.get("heldout/eos_rate")),
    }


def signs(base: Mapping[str, float], trained: Mapping[str, float], repetition_low: float) -> list[str]:
    """What looks like a hack, in words; a proxy that is not known is no sign.

    Args:
        base: Proxies of the untrained model.
        trained: Those of a trial.
        repetition_low: Lower end of the 95 % interval of the rise in repetition.
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


def repetition_low(base: Samples, after: Samples) -> float:
    """Lower end of the 95 % interval of the rise in repetition, prompt by prompt; NaN with too few kept."""
    rises = [
        repeated_share(second["response"]) - repeated_share(first["response"])
        for first, second in zip(base, after, strict=False)
        if first["prompt"] == second["prompt"]
    ]
    if len(rises) < MIN_PROMPTS:
        return math.nan
    error = float(np.std(rises, ddof=1)) / math.sqrt(len(rises))
    return float(np.mean(rises)) - quantile(0.975, len(rises) - 1) * error


def proxies_table(record: StudyRecord) -> pd.DataFrame:
    """The untrained model, if it is known, and every trial with a score: its proxies and the signs in them.

    Columns: number (NaN for the untrained model), role, ending, kl, score, those of `MEASURES`, signs (how many),
    which (in words).
    """
    base, base_samples = judged_base(record), record.base.get("samples", [])
    start = measure(base, record.base, base_samples)
    rows: list[dict[str, Any]] = []
    if record.base:
        rows.append({"number": math.nan, "role": UNTRAINED, "ending": "", "kl": base.kl, "score": base.means["score"],
                     **start, "signs": 0, "which": ""})  # fmt: skip
    for trial in record.trials:
        if not trial.user_attrs.get("curve"):
            continue
        after, samples = judged_trial(record, trial), samples_of(record, trial)
        proxies = measure(after, trial.user_attrs, samples)
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


def proxies_reading(table: pd.DataFrame, n_kept: int, n_prompts: int) -> str:
    """What the proxies say, and that they prove nothing."""
    trials = table[table["role"] != UNTRAINED]
    which = {str(row["role"]): row["which"] or "none" for row in trials.to_dict("records")}
    sentences = ["This task has no gold reward, so nothing here proves a hack; these are signs of one."]
    if len(trials) == len(table):
        sentences.append("The untrained model's numbers are missing, so nothing can be compared with it.")
    else:
        showing = int((trials["signs"] > 0).sum())
        sentences.append(f"{showing} of {len(trials)} trials show at least one (a value beyond a red line).")
        sentences += [f"{role.capitalize()}: {which[role]}." for role in STYLES if role in which]
    words = (
        f"Words are counted in the {n_kept} responses kept of a trial" if n_kept else "No responses were kept"
    )
    return " ".join([*sentences, f"{words}; length, spread and endings are over {n_prompts} prompts."])


def limits(base: Mapping[str, float]) -> dict[str, float]:
    """The value of a proxy beyond which it is a sign, where it is one."""
    return {
        "response_tokens": base["response_tokens"] * LENGTH_RATIO,
        "repeated_3grams": base["repeated_3grams"] + REPETITION_RISE,
        "distinct_2": base["distinct_2"] * VARIETY_RATIO,
        "score_std": base["score_std"] * SPREAD_RATIO,
        "eos_rate": base["eos_rate"] - ENDINGS_LOST,
    }


def proxies_figure(table: pd.DataFrame) -> go.Figure:
    """A small plot per proxy with a mark per model; dotted where the untrained model is, red where a sign begins."""
    figure = make_subplots(rows=2, cols=3, subplot_titles=list(MEASURES.values()), vertical_spacing=0.17,
                           horizontal_spacing=0.07)  # fmt: skip
    models = {row["role"]: row for row in to_records(table)}
    order = [role for role in (UNTRAINED, *STYLES) if role in models]
    base = models.get(UNTRAINED)
    lines = (
        [] if base is None else [(base, GREY), (limits({name: number(base[name]) for name in MEASURES}), RED)]
    )
    for i, name in enumerate(MEASURES):
        place = {"row": i // 3 + 1, "col": i % 3 + 1}
        for position, role in enumerate(order):
            colour, symbol = STYLES.get(role, (GREY, "circle"))
            figure.add_scatter(
                x=[position], y=[models[role][name]], mode="markers", name=role, legendgroup=role,
                showlegend=i == 0, cliponaxis=False, **place, marker={"color": colour, "symbol": symbol, "size": 13},
                hovertemplate=f"{role}: %{{y:.3g}}<extra></extra>",
            )  # fmt: skip
        for values, colour in lines:
            if not math.isnan(value := values.get(name, math.nan)):
                figure.add_hline(
                    y=round(value, 4), line={"color": colour, "dash": "dot", "width": 1.5}, **place
                )
    layout(figure, None, None)
    figure.update_annotations(font_size=13)
    figure.update_xaxes(showticklabels=False, ticks="", showgrid=False, range=[-0.6, len(order) - 0.4])
    figure.update_yaxes(rangemode="tozero", nticks=5)
    return figure.update_layout(height=440, margin={"t": 70, "b": 20}, legend={"y": 1.1}, hovermode="closest")
