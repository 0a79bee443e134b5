"""What the models write: the same held-out prompts, answered by each."""

import pandas as pd

from ppo_tune.reporting.record import StudyRecord, samples_of, to_records
from ppo_tune.reporting.section import Chapter, Section

MAX_SAMPLES = 12
"""Prompts whose responses are shown."""


def chapter(record: StudyRecord) -> Chapter:
    """Responses side by side."""
    shown = samples_table(record).head(MAX_SAMPLES)
    section = Section(
        "samples",
        "",
        samples_reading(shown),
        template="texts.html.jinja",
        data={"samples": to_records(shown)},
    )
    return Chapter("texts", "What the models write", (section,))


def samples_table(record: StudyRecord) -> pd.DataFrame:
    """Responses of the untrained model, the default and the winner to the same held-out prompts.

    Columns: prompt, then response, score and gold of each, prefixed `base_`, `default_`, `winner_`.
    """
    sources = {"base": record.base.get("samples", [])}
    for name, trial in (("default", record.baseline), ("winner", record.winner)):
        sources[name] = samples_of(record, trial)
    known = {name: samples for name, samples in sources.items() if samples}
    if not known:
        return pd.DataFrame(columns=["prompt"])
    length = min(map(len, known.values()))
    rows = []
    for i in range(length):
        row = {"prompt": next(iter(known.values()))[i]["prompt"]}
        for name, samples in known.items():
            row |= {f"{name}_{key}": samples[i][key] for key in ("response", "score", "gold")}
        rows.append(row)
    return pd.DataFrame(rows)


def samples_reading(table: pd.DataFrame) -> str:
    """What is shown."""
    if table.empty:
        return "No responses were kept yet."
    return f"The same {len(table)} held-out prompts, answered with the same random numbers."
