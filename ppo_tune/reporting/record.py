"""What a report is made from: a study's trials as one table, its winner and its default."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.study import Study
from optuna.trial import FrozenTrial

from ppo_tune.config.judges import REWARD
from ppo_tune.config.study import StudyConfig
from ppo_tune.files import read_json_lines
from ppo_tune.safe_text import writable
from ppo_tune.search.concerns import kept_samples
from ppo_tune.search.facts import StudyFacts, TrialFacts
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.heldout import HeldOut, Untrained
from ppo_tune.search.race import Confirmation
from ppo_tune.search.results import ending_of, is_feasible, was_lost
from ppo_tune.search.verdict import Verdict, judge, read_facts


@dataclass(frozen=True)
class StudyRecord:
    """Everything a report needs to know of a study.

    Attributes:
        config: The experiment.
        trials: Those that began, but for the lost ones that ran again.
        winner: The trial to go on with: the confirmed best, else the default; before a confirmation the best
            completed trial within the KL budget. None if there is none.
        baseline: The default config's trial, or None before it began.
        base: The untrained model; None if not known.
        folder: The study's folder.
        confirmation: The best few on fresh seeds, or None.
        verdict: What the study says.
        lost: Trials that were cut off from outside; each ran again under another number.
        ended: What ended the search besides its total of trials, as a sentence; empty if nothing did.
        warm_start: What was taken of an earlier study, as a sentence; empty if nothing was.
        prompts: How many prompts were too long for the model and what became of them, a sentence of each split.
    """

    config: StudyConfig
    trials: tuple[FrozenTrial, ...]
    winner: FrozenTrial | None
    baseline: FrozenTrial | None
    base: Untrained | None
    folder: Path
    verdict: Verdict
    lost: tuple[FrozenTrial, ...] = ()
    confirmation: Confirmation | None = None
    ended: str = ""
    warm_start: str = ""
    prompts: Sequence[str] = ()

    @cached_property
    def table(self) -> pd.DataFrame:
        """See `trials_table`."""
        return trials_table(self)

    @cached_property
    def judges(self) -> tuple[str, ...]:
        """Who scored trials beside what they are compared by: the task's judges, and a reward that is another."""
        curves = (TrialFacts(trial).curve for trial in self.trials)
        return tuple(dict.fromkeys(name for curve in curves for point in curve for name in point.judges))

    @property
    def watched(self) -> tuple[str, ...]:
        """The judges by which it is seen whether the reward is exploited: all but the reward."""
        return tuple(name for name in self.judges if name != REWARD)

    @property
    def judge_columns(self) -> tuple[str, ...]:
        """The judges as columns of tables; without any a table has an empty column of gold, which scripts know."""
        return self.judges or ("gold",)

    def judge_decimals(self, table: pd.DataFrame) -> dict[str, int]:
        """Digits after the point of the judges in a table, by their columns: as many as the score has."""
        ends = ("", "_change", "_low", "_high", "_gain")
        names = {f"{judge}{end}" for judge in self.judge_columns for end in ends}
        return dict.fromkeys(names & {*table.columns}, 3)

    @property
    def compared_by(self) -> str:
        """What trials are compared by, in a word."""
        return "objective" if self.config.task.objective else "reward"

    @property
    def n_prompts(self) -> int:
        """How many held-out prompts score a trial: those asked for, or all there were."""
        return self.config.task.heldout_prompts if self.base is None else self.base.n_prompts

    @property
    def default_won(self) -> bool:
        """Whether the trial to go on with is that of the default config."""
        return (
            self.winner is not None
            and self.baseline is not None
            and self.winner.number == self.baseline.number
        )

    @property
    def best_role(self) -> str:
        """What the trial to go on with is called: a winner only after a confirmation."""
        return "winner" if self.verdict.confirmed else "best so far"

    @property
    def scored(self) -> pd.DataFrame:
        """The rows of the table that have a score."""
        return self.table[self.table["score"].notna()]


def read_record(study: Study, config: StudyConfig, folder: Path) -> StudyRecord:
    """Collect a study's trials, its winner and its default, what the untrained model scored, and the verdict."""
    facts, taken = read_facts(study, config, folder), StudyFacts(study).warm_start
    return StudyRecord(
        config=config,
        trials=tuple(facts.trials),
        winner=facts.winner,
        baseline=facts.default,
        base=facts.base,
        folder=folder,
        verdict=judge(facts),
        confirmation=facts.confirmation,
        ended=facts.ended,
        warm_start="" if taken is None else taken.told,
        prompts=StudyFacts(study).prompts,
        lost=tuple(t for t in study.get_trials(deepcopy=False) if was_lost(t)),
    )


COLUMNS = (
    "number", "role", "ending", "score", "kl", "feasible", "episodes", "tokens", "seconds", "response_tokens",
    "eos_rate", "reason",
)  # fmt: skip
"""Of the table of trials; one per judge stands behind the score, and one per searched hyperparameter at the end."""


def trials_table(record: StudyRecord) -> pd.DataFrame:
    """One row per trial: how it ended, what it scored last, what it cost, and its searched values.

    The role is that of `role_of`; the score is that of the last milestone.
    """
    rows = []
    for trial in record.trials:
        facts = TrialFacts(trial)
        last, heldout = facts.last, facts.heldout
        rows.append({
            "number": trial.number,
            "role": role_of(record, trial),
            "ending": ending_of(trial),
            "score": last.score if last else None,
            **judged(record, last),
            "kl": last.kl if last else None,
            "feasible": is_feasible(trial),
            **cost_of(record, trial),
            "response_tokens": heldout.response_tokens if heldout else None,
            "eos_rate": heldout.eos_rate if heldout else None,
            "reason": writable(facts.reason),
            **{name: trial.params.get(name) for name in record.config.space},
        })  # fmt: skip
    numbers = ["score", *record.judge_columns, "kl", "response_tokens", "eos_rate", "seconds"]
    columns = with_judges(record, [*COLUMNS, *record.config.space])
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, float))


def judged(record: StudyRecord, seen: HeldOut | None) -> dict[str, float | None]:
    """What the judges say, for a row of a table; None where one did not judge."""
    found = {} if seen is None else seen.judges
    return {name: found[name].mean if name in found else None for name in record.judge_columns}


def with_judges(record: StudyRecord, columns: Sequence[str], *, after: str = "score") -> list[str]:
    """Columns of a table with those of the judges behind the score, or another column."""
    place = columns.index(after) + 1
    return [*columns[:place], *record.judge_columns, *columns[place:]]


def role_of(record: StudyRecord, trial: FrozenTrial) -> str:
    """What a trial is in its study: winner, best so far, default, or nothing in particular.

    A winner is one that fresh seeds have confirmed.
    """
    if record.winner is not None and trial.number == record.winner.number:
        return record.best_role
    return "default" if record.baseline is not None and trial.number == record.baseline.number else ""


CHOSEN = {"winner": "Fresh seeds chose", "best so far": "All results together name"}
"""By what the trial to go on with was chosen, by what it is called."""


def chosen_instead(role: str, number: int) -> str:
    """That the trial to go on with is another one than the best score of the search."""
    return f"{CHOSEN[role]} trial {number} instead."


def cost_of(record: StudyRecord, trial: FrozenTrial) -> dict[str, float]:
    """Episodes, tokens and seconds of a trial.

    Running, lost and crashed trials have not noted what they cost, but their logs have.
    """
    facts = TrialFacts(trial)
    if facts.episodes is not None and facts.tokens is not None and facts.seconds is not None:
        return {"episodes": facts.episodes, "tokens": facts.tokens, "seconds": facts.seconds}
    logged, last = (metrics_of(record, trial) or [{}])[-1], facts.last
    return {
        "episodes": logged.get("episodes", last.episodes if last else 0),
        "tokens": logged.get("tokens", 0),
        "seconds": logged.get("time/seconds", last.seconds if last else 0.0),
    }


def metrics_of(record: StudyRecord, trial: FrozenTrial) -> list[dict[str, Any]]:
    """What was logged of each of a trial's iterations; nothing if its file is not there."""
    path = StudyFolder(record.folder).trial(trial.number).metrics
    return [line for line in read_json_lines(path) if "objective/score_mean" in line]


def samples_of(record: StudyRecord, trial: FrozenTrial | None) -> list[dict[str, Any]]:
    """The responses that were kept of a trial; none if it has none."""
    return [] if trial is None else [dict(sample) for sample in kept_samples(record.folder, trial)]


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain dicts, with None for what is missing."""
    records: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return records
