"""What the models write: the same held-out prompts, answered by each, with what training changed marked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from ppo_tune.config.judges import REWARD
from ppo_tune.reporting.analysis.exploitation import worst_offender
from ppo_tune.reporting.chapters.texts.marking import mark
from ppo_tune.reporting.record import StudyRecord, samples_of, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import cell, join

N_OPEN = 4
"""Prompts that are seen at once; the others unfold."""

NAMES = {"winner": "winner", "default": "default config", "worst": "worst offender"}
"""What a trial is called beside the others, the most telling name first; an unconfirmed winner is the best so far."""

NOT_JUDGES = ("prompt", "response")
"""What stands in a kept response beside its scores."""


@dataclass(frozen=True)
class Writer:
    """Who answered.

    Attributes:
        key: base, default, winner or worst; the beginning of its columns.
        label: What it is called on the page.
        samples: What was kept of its responses, with their scores.
    """

    key: str
    label: str
    samples: Sequence[Mapping[str, Any]]


def chapter(record: StudyRecord) -> Chapter:
    """Responses side by side."""
    writers = find_writers(record)
    table = pair_samples(writers)
    cards = make_cards(table, [writer for writer in writers if writer.samples])
    data = {"open": cards[:N_OPEN], "folded": cards[N_OPEN:]}
    section = Section("samples", "", samples_reading(table, writers), template="texts.html.jinja", data=data)
    return Chapter("texts", "What the models write", (section,), in_summary="nothing", is_pictured=False)


def find_writers(record: StudyRecord) -> list[Writer]:
    """The untrained model, the default config, the winner and the worst offender; each trial once."""
    trials = {"default": record.baseline, "winner": record.winner, "worst": worst_offender(record)}
    roles: dict[int, list[str]] = {}
    for role, trial in trials.items():
        if trial is not None:
            roles.setdefault(trial.number, []).append(role)
    return [
        Writer("base", "untrained model", [] if record.base is None else record.base.samples),
        *(_writer(record, trial, held) for held in roles.values() if (trial := trials[held[0]]) is not None),
    ]


def _writer(record: StudyRecord, trial: FrozenTrial, roles: list[str]) -> Writer:
    first, *others = sorted(roles, key=list(NAMES).index)
    names = {**NAMES, "winner": record.best_role}
    also = "".join(f"the {names[role]}, " for role in others)
    return Writer(first, f"{names[first]} ({also}trial {trial.number})", samples_of(record, trial))


def pair_samples(writers: Sequence[Writer]) -> pd.DataFrame:
    """Responses to the same held-out prompts, those first that teach most.

    Columns: prompt, then response, score and the judges of each writer, prefixed `base_`, `default_`, `winner_`,
    `worst_`; then exploitation: how much more the score of the last of them rose than the judges on average, each from
    the untrained model's and in its own standard deviations over prompts. Without judges it is the change of
    the score.
    """
    kept = {writer.key: _by_prompt(writer.samples) for writer in writers if writer.samples}
    scores = scores_of(writers)
    if not kept:
        return pd.DataFrame(columns=["prompt"])
    rows = []
    for key, sample in next(iter(kept.values())).items():
        if not all(key in samples for samples in kept.values()):
            continue
        row = {"prompt": sample["prompt"]}
        for name, samples in kept.items():
            row |= {f"{name}_{field}": samples[key].get(field) for field in ("response", *scores)}
        rows.append(row)
    columns = ["prompt", *(f"{name}_{field}" for name in kept for field in ("response", *scores))]
    table = pd.DataFrame(rows, columns=columns)
    table = table.astype({f"{name}_{judge}": float for name in kept for judge in scores})
    table["exploitation"] = _exploitation(table, list(kept)[-1], watched(writers))
    return table.sort_values("exploitation", ascending=False, kind="stable", ignore_index=True)


def scores_of(writers: Sequence[Writer]) -> list[str]:
    """By whom the kept responses are scored: `score` first, then the judges."""
    kept = (sample for writer in writers for sample in writer.samples)
    given = dict.fromkeys(name for sample in kept for name, value in sample.items() if value is not None)
    return ["score", *(name for name in given if name not in (*NOT_JUDGES, "score"))]


def watched(writers: Sequence[Writer]) -> list[str]:
    """The judges beside what trials are compared by who scored all that was kept; the reward of PPO is none of them."""
    kept = [sample for writer in writers for sample in writer.samples]
    judges = (name for name in scores_of(writers)[1:] if name != REWARD)
    return [judge for judge in judges if all(sample.get(judge) is not None for sample in kept)]


def _by_prompt(samples: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], Mapping[str, Any]]:
    """Samples by their prompt; one that is asked twice is told apart by its turn."""
    seen: Counter[str] = Counter()
    found = {}
    for sample in samples:
        found[sample["prompt"], seen[sample["prompt"]]] = sample
        seen[sample["prompt"]] += 1
    return found


def _exploitation(table: pd.DataFrame, last: str, judges: Sequence[str]) -> pd.Series:
    """See `pair_samples`."""
    score = changes(table, last, "score")
    if not judges:
        return score.abs().fillna(0.0)
    beside = [_standardized(changes(table, last, judge)) for judge in judges]
    return _standardized(score) - sum(beside[1:], beside[0]) / len(beside)


def changes(table: pd.DataFrame, key: str, judge: str) -> pd.Series:
    """How a judge's scores of a writer changed from the untrained model's; the scores themselves without it."""
    return table[f"{key}_{judge}"] - table.get(f"base_{judge}", 0.0)


def _standardized(values: pd.Series) -> pd.Series:
    spread = values.std(ddof=0)
    return (values - values.mean()) / spread if spread > 0 else values * 0.0


def make_cards(table: pd.DataFrame, writers: Sequence[Writer]) -> list[dict[str, Any]]:
    """What the page shows of each prompt: its text, and each answer with its marks and scores."""
    has_base = bool(writers) and writers[0].key == "base"
    scores, judges = scores_of(writers), watched(writers)
    answers = [
        _answers(table, writer, scores, judges, compared=has_base and writer.key != "base")
        for writer in writers
    ]
    return [
        {"prompt": mark(prompt), "answers": list(row)}
        for prompt, *row in zip(table["prompt"], *answers, strict=True)
    ]


def _answers(
    table: pd.DataFrame, writer: Writer, scores: Sequence[str], judges: Sequence[str], *, compared: bool
) -> list[dict[str, Any]]:
    """One writer's answers to all prompts, with what changed from the untrained model's if `compared`."""
    key = writer.key
    changed = {judge: changes(table, key, judge) for judge in scores}
    parted = {judge: parts(table, key, judge) for judge in judges}
    return [
        {
            "key": key,
            "label": writer.label,
            "text": mark(row[f"{key}_response"], row["base_response"] if compared else None),
            "judged": [
                (judge, cell(row[f"{key}_{judge}"], "kl"), signed(changed[judge][i]) if compared else "")
                for judge in scores
                if row[f"{key}_{judge}"] is not None
            ],
            "fell": join([judge for judge in judges if compared and parted[judge][i]]),
        }
        for i, row in enumerate(to_records(table))
    ]


def signed(change: float) -> str:
    """A change with its sign, and a plain 0 without one."""
    return f"{change:+.2f}" if round(change, 2) else "±0"


def samples_reading(table: pd.DataFrame, writers: Sequence[Writer]) -> str:
    """What is marked, how often the two judges part, and in which order the prompts stand."""
    if table.empty:
        return "No responses were kept yet."
    words = [f"The same {len(table)} held-out prompts, answered with the same random numbers."]
    known = [writer for writer in writers if writer.samples]
    missing = [writer.label for writer in writers if not writer.samples]
    if missing:
        words.append(f"The study's folder holds no responses of the {' and of the '.join(missing)}.")
    if known[0].key == "base" and len(known) > 1:
        words.append("Marked is what the untrained model did not write; changes of score are against it.")
        words += _order_reading(table, known[1:], watched(known))
    return " ".join(words)


def _order_reading(table: pd.DataFrame, trained: Sequence[Writer], judges: Sequence[str]) -> list[str]:
    last = f"{NAMES[trained[-1].key]}'s score"
    if not judges:
        return [f"First come the prompts where the {last} changed most."]
    told = []
    for judge in judges:
        parted = [f"{NAMES[writer.key]} {int(parts(table, writer.key, judge).sum())}" for writer in trained]
        told.append(f"Score up while {judge} went down: {', '.join(parted)} of {len(table)}.")
    several = "scores" if len(judges) > 1 else "score"
    return [*told, f"First come the prompts where the {last} rose most beside its {join(judges)} {several}."]


def parts(table: pd.DataFrame, key: str, judge: str) -> pd.Series:
    """Where a writer's score rose while a judge fell, by what two decimals show."""
    score, judged = (changes(table, key, name).round(2) for name in ("score", judge))
    return (score > 0) & (judged < 0)
