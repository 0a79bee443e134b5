"""What a study says, in numbers: trials -> data frames, one per question. Figures only draw these."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config import PPOConfig, StudyConfig
from ppo_tune.files import read_json
from ppo_tune.search.endings import STATES, ending_of, was_lost
from ppo_tune.search.pruners import first_look
from ppo_tune.search.results import baseline_trial, best_trial, is_feasible

MIN_TRIALS_FOR_IMPORTANCE = 12
"""Below this many comparable trials an importance would be noise."""

SHUFFLES = 40
"""Shuffled studies that show what importance pure noise gets."""

TOP_SHARE = 0.25
"""Importance is that for being among this share of the trials; 0.1 would be 3 trials of 32."""


@dataclass(frozen=True)
class StudyRecord:
    """Everything a report needs to know of a study.

    Attributes:
        config: The experiment.
        trials: Those that began, but for the lost ones that ran again.
        winner: The best completed trial within the KL budget, or None.
        baseline: The default config's trial, or None before it began.
        base: What the untrained model scored, by metric name, with its samples; empty if not known.
        folder: The study's folder.
    """

    config: StudyConfig
    trials: tuple[FrozenTrial, ...]
    winner: FrozenTrial | None
    baseline: FrozenTrial | None
    base: Mapping[str, Any]
    folder: Path


def read_record(study: Study, config: StudyConfig, folder: Path) -> StudyRecord:
    """Collect a study's trials, its winner and its default, and what the untrained model scored."""
    begun = [t for t in study.get_trials(deepcopy=False) if not was_lost(t) and t.state != TrialState.WAITING]
    base = folder / "base.json"
    return StudyRecord(
        config=config,
        trials=tuple(begun),
        winner=best_trial(study),
        baseline=baseline_trial(study),
        base=read_json(base) if base.is_file() else {},
        folder=folder,
    )


def trials_table(record: StudyRecord) -> pd.DataFrame:
    """One row per trial: how it ended, what it scored last, what it cost, and its searched values.

    Columns: number, role (winner, default or ""), ending, score, gold, kl, feasible, episodes, tokens, seconds,
    response_tokens, eos_rate, reason, then one per searched hyperparameter. `score` is the last milestone's.
    """
    rows = []
    for trial in record.trials:
        curve = trial.user_attrs.get("curve", [])
        last = curve[-1] if curve else {}
        attrs = trial.user_attrs
        rows.append({
            "number": trial.number,
            "role": _role(record, trial),
            "ending": ending_of(trial),
            "score": last.get("score"),
            "gold": last.get("gold"),
            "kl": last.get("kl"),
            "feasible": is_feasible(trial),
            "episodes": attrs.get("episodes", last.get("episodes", 0)),
            "tokens": attrs.get("tokens", 0),
            "seconds": attrs.get("seconds", last.get("seconds", 0.0)),
            "response_tokens": attrs.get("heldout/response_tokens"),
            "eos_rate": attrs.get("heldout/eos_rate"),
            "reason": attrs.get("reason", ""),
            **{name: trial.params.get(name) for name in record.config.space},
        })  # fmt: skip
    frame = pd.DataFrame(rows)
    numbers = ["score", "gold", "kl", "response_tokens", "eos_rate", "seconds"]
    return frame.astype(dict.fromkeys(numbers, float)) if rows else frame


def curves_table(record: StudyRecord) -> pd.DataFrame:
    """One row per trial and milestone: number, role, ending, episodes, score, gold, kl."""
    rows = [
        {"number": trial.number, "role": _role(record, trial), "ending": ending_of(trial), **point}
        for trial in record.trials
        for point in trial.user_attrs.get("curve", [])
    ]
    columns = ["number", "role", "ending", "episodes", "score", "gold", "kl"]
    return pd.DataFrame(rows, columns=columns).astype({"score": float, "gold": float, "kl": float})


def history_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Completed trials in the order of their numbers, with the best feasible score so far."""
    completed = trials[trials["ending"] == "completed"][["number", "role", "score", "kl", "feasible"]].copy()
    completed["best_so_far"] = completed["score"].where(completed["feasible"]).cummax().ffill()
    return completed


def importance_table(record: StudyRecord) -> pd.DataFrame:
    """How much each hyperparameter decides whether a trial is among the best quarter at the first look.

    PED-ANOVA over all trials that reached the pruner's first milestone, pruned ones included, at equal
    episodes. `noise` is the 95th percentile of what the same parameter gets when scores are shuffled among the
    trials: below it, the importance cannot be told from chance.

    Columns: name, importance, noise, clear; sorted, empty when too few trials can be compared.
    """
    look = first_look(len(record.config.milestone_episodes()))
    known = [t for t in record.trials if len(t.user_attrs.get("curve", [])) >= look and t.params]
    columns = ["name", "importance", "noise", "clear"]
    if len(known) < MIN_TRIALS_FOR_IMPORTANCE:
        return pd.DataFrame(columns=columns)
    scores = np.array([t.user_attrs["curve"][look - 1]["score"] for t in known])
    found = _importances(known, scores)
    rng = np.random.default_rng(record.config.search.seed)
    shuffled = [_importances(known, rng.permutation(scores)) for _ in range(SHUFFLES)]
    rows = []
    for name, value in found.items():
        noise = float(np.quantile([chance.get(name, 0.0) for chance in shuffled], 0.95))
        rows.append({"name": name, "importance": value, "noise": noise, "clear": value > noise})
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("importance", ascending=False, ignore_index=True)


def endings_table(trials: pd.DataFrame) -> pd.DataFrame:
    """What each ending cost: ending, trials, episodes, tokens, seconds, share (of all seconds)."""
    if trials.empty:
        return pd.DataFrame(columns=["ending", "trials", "episodes", "tokens", "seconds", "share"])
    grouped = trials.groupby("ending", as_index=False).agg(
        trials=("number", "count"),
        episodes=("episodes", "sum"),
        tokens=("tokens", "sum"),
        seconds=("seconds", "sum"),
    )
    order = {name: i for i, name in enumerate([*STATES, "running"])}
    grouped = grouped.sort_values("ending", key=lambda names: names.map(order), ignore_index=True)
    grouped["share"] = grouped["seconds"] / max(grouped["seconds"].sum(), 1e-9)
    return grouped


def samples_table(record: StudyRecord) -> pd.DataFrame:
    """Responses of the untrained model, the default and the winner to the same held-out prompts.

    Columns: prompt, then response, score and gold of each, prefixed `base_`, `default_`, `winner_`.
    """
    sources = {"base": record.base.get("samples", [])}
    for name, trial in (("default", record.baseline), ("winner", record.winner)):
        sources[name] = _samples(record, trial)
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


def config_table(record: StudyRecord) -> pd.DataFrame:
    """Every hyperparameter with its meaning: name, searched, default, winner, meaning.

    The default is what trial 0 really used, and the winner what its trainer really used.
    """
    default = record.baseline.user_attrs.get("config", {}) if record.baseline else {}
    winner = record.winner.user_attrs.get("config", {}) if record.winner else {}
    rows = [
        {
            "name": name,
            "searched": name in record.config.space,
            "default": default.get(name),
            "winner": winner.get(name),
            "meaning": field.description or "",
        }
        for name, field in PPOConfig.model_fields.items()
    ]
    return pd.DataFrame(rows).astype({"default": object, "winner": object})


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


def _samples(record: StudyRecord, trial: FrozenTrial | None) -> list[dict[str, Any]]:
    path = record.folder / "trials" / f"{trial.number:04d}" / "samples.json" if trial else None
    return read_json(path) if path is not None and path.is_file() else []


def _role(record: StudyRecord, trial: FrozenTrial) -> str:
    if record.winner is not None and trial.number == record.winner.number:
        return "winner"
    return "default" if record.baseline is not None and trial.number == record.baseline.number else ""


def _importances(trials: list[FrozenTrial], scores: np.ndarray) -> dict[str, float]:
    """PED-ANOVA as if every trial had ended with its score."""
    shadow = optuna.create_study(direction="maximize")
    shadow.add_trials(
        [
            optuna.trial.create_trial(params=t.params, distributions=t.distributions, value=float(score))
            for t, score in zip(trials, scores, strict=True)
        ]
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=TOP_SHARE)
    return get_param_importances(shadow, evaluator=evaluator)


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain dicts, with None for what is missing."""
    records: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return records
