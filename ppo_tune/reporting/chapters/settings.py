"""Everything that was set: hyperparameters as used, task, model and search."""

import json
from collections.abc import Sequence

import pandas as pd

from ppo_tune.config.block import Block
from ppo_tune.config.model import ADAPTER_FIELDS, ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import cell, join
from ppo_tune.safe_text import symbols
from ppo_tune.search.facts import TrialFacts

MAX_TRIALS = 1000
"""Rows of the table of trials on the page; trials.csv has all."""


def chapter(record: StudyRecord) -> Chapter:
    """The config of default and winner, the other blocks, and every trial."""
    rows = to_records(config_table(record))
    data = {"rows": rows, "settings": settings(record.config), "best_role": record.best_role}
    reading = "Every hyperparameter as the trainer really used it. Trial 0 is the default config."
    sections = [
        Section("hyperparameters", "Hyperparameters", reading, template="settings.html.jinja", data=data)
    ]
    if len(record.table):
        shown, reading = shown_trials(record.table), trials_reading(record.table, record.judge_columns)
        decimals = record.judge_decimals(shown)
        sections.append(
            Section("trials", "All trials", reading, table=shown, max_rows=MAX_TRIALS, decimals=decimals)
        )
    return Chapter("settings", "Config and trials", tuple(sections), in_summary="nothing", is_pictured=False)


def config_table(record: StudyRecord) -> pd.DataFrame:
    """Every hyperparameter with its meaning: name, searched, default, winner, meaning.

    The default is what trial 0 really used, and the winner what its trainer really used.
    """
    default = TrialFacts(record.baseline).config if record.baseline else {}
    winner = TrialFacts(record.winner).config if record.winner else {}
    fields = PPOConfig.model_fields | {
        name: ModelConfig.model_fields[name] for name in ADAPTER_FIELDS if name in record.config.space
    }
    rows = [
        {
            "name": name,
            "searched": name in record.config.space,
            "default": default.get(name),
            "winner": winner.get(name),
            "meaning": field.description or "",
        }
        for name, field in fields.items()
    ]
    return pd.DataFrame(rows).astype({"default": object, "winner": object})


def settings(config: StudyConfig) -> list[tuple[str, str, str]]:
    """The blocks besides ppo, as rows of place, value and meaning."""
    rows = [("constraints", text, "Holds in every trial.") for text in config.constraints]
    blocks: Sequence[tuple[str, Block]] = (
        ("task", config.task),
        ("model", config.model),
        ("search", config.search),
    )
    for block, model in blocks:
        dumped = model.model_dump(mode="json")  # without what is stored only where it is named
        for name, field in type(model).model_fields.items():
            value = getattr(model, name)
            shown = json.dumps(dumped[name]) if name in dumped and isinstance(value, Block | dict) else value
            if name in dumped:
                rows.append((f"{block}.{name}", symbols(cell(shown)), field.description or ""))
    return rows


def trials_reading(trials: pd.DataFrame, judges: Sequence[str]) -> str:
    """What a row is."""
    judged = f"{join(judges)} {'score' if len(judges) == 1 else 'scores'}"
    return (
        f"One row per trial, {len(trials):,} in all: its last held-out score, its {judged} and KL there, what it cost, "
        "and its searched values."
    )


def shown_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The table without columns in which no trial has anything, such as a judge; the long reasons stand last."""
    kept = [name for name in trials if not (trials[name].isna() | (trials[name] == "")).all()]
    return trials[sorted(kept, key=lambda name: name == "reason")]
