"""Who won, by how much, and how sure that is."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.reporting.section import Chapter, Section


def chapter(record: StudyRecord) -> Chapter:
    """Winner, default and untrained model side by side."""
    n_prompts = record.base.get("n_prompts", record.config.task.heldout_prompts)
    reading = (
        f"Means over the same {n_prompts} held-out prompts with the same sampling noise; ± is the standard error "
        "over prompts, KL is in nats per response."
    )
    section = Section("table", "", reading, table=results_table(record), template="next.html.jinja",
                      data={"name": record.config.name, "has_winner": record.winner is not None})  # fmt: skip
    return Chapter("results", "Results", (section,))


def results_table(record: StudyRecord) -> pd.DataFrame:
    """Untrained model, default and winner side by side.

    Columns: what, score, score_error (the standard error over prompts), gold, kl, response_tokens, eos_rate.
    """
    sources: dict[str, Mapping[str, Any]] = {"untrained model": record.base}
    if record.baseline is not None:
        sources[f"default config (trial {record.baseline.number})"] = record.baseline.user_attrs
    if record.winner is not None:
        sources[f"winner (trial {record.winner.number})"] = record.winner.user_attrs
    names = {
        "score": "score", "score_error": "score_standard_error", "gold": "gold", "kl": "kl_per_sequence",
        "response_tokens": "response_tokens", "eos_rate": "eos_rate",
    }  # fmt: skip
    rows = [
        {"what": what, **{name: source.get(f"heldout/{key}") for name, key in names.items()}}
        for what, source in sources.items()
        if source
    ]
    return pd.DataFrame(rows, columns=["what", *names]).astype(dict.fromkeys(names, float))


def headline(record: StudyRecord, results: pd.DataFrame) -> list[str]:
    """The verdict: who won, by how much over the default and the untrained model, and how sure that is."""
    budget = record.config.search.kl_budget
    if record.winner is None:
        return [f"No trial has been completed within the KL budget of {budget:g} nats yet."]
    rows = _byrole_of(results)
    best = rows["winner"]
    sentences = [
        f"Trial {record.winner.number} scores {best['score']:.3f} on the held-out prompts, at {best['kl']:.1f} of "
        f"{budget:g} nats of KL."
    ]
    names = {"default": "default config", "untrained": "untrained model"}
    if record.baseline is not None and record.winner.number == record.baseline.number:
        sentences.append("It is the default config: the search found nothing better.")
        del names["default"]
    gains = [
        f"{best['score'] - rows[key]['score']:+.3f} over the {name}"
        for key, name in names.items()
        if key in rows and rows[key]["score"] is not None
    ]
    if gains:
        sentences.append(f"That is {' and '.join(gains)}.")
    if "untrained" in rows and best["gold"] is not None:
        start = rows["untrained"]["gold"]
        default = rows["default"]["gold"] if "default" in names and "default" in rows else None
        sentences.append(_gold_verdict(best["gold"] - start, None if default is None else default - start))
    sentences.append(
        "Each trial is one seed, and the best of many is partly luck: expect less on fresh seeds."
    )
    return sentences


def is_exploited(record: StudyRecord, results: pd.DataFrame) -> bool:
    """Whether the winner's gold score is below that of the untrained model."""
    rows = _byrole_of(results)
    if record.winner is None or "untrained" not in rows or rows["winner"]["gold"] is None:
        return False
    return bool(rows["winner"]["gold"] < rows["untrained"]["gold"])


def _byrole_of(results: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows by their first word: untrained, default, winner."""
    return {str(row["what"]).split()[0]: row for row in to_records(results)}


def _gold_verdict(change: float, of_default: float | None) -> str:
    """How the gold score changed from the untrained model to the winner, and to the default config."""
    beside = "" if of_default is None else f"; that of the default config changed by {of_default:+.3f}"
    if change < 0:
        return (
            f"Careful: its gold score, which the search never saw, fell by {-change:.3f} against the untrained model"
            f"{beside}. The reward is being exploited; look at its responses."
        )
    return f"Its gold score, which the search never saw, rose by {change:.3f} against the untrained model{beside}."
