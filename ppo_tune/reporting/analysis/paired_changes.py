"""How much a model's means over the held-out prompts differ from another's, and how sure that is.

All models of a study answer the same prompts with the same random numbers, so two of them are compared prompt by
prompt. Where the scores of the single prompts were not kept, the two standard errors are added as if the answers
had nothing in common, which makes the interval wider.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from scipy import stats

from ppo_tune.reporting.record import StudyRecord
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.heldout import HeldOut
from ppo_tune.search.responses import MIN_PROMPTS


@dataclass(frozen=True)
class Judged:
    """What is known of a model on the held-out prompts; NaN where it is not.

    Attributes:
        means: Of `score` and of the judges, by their names.
        errors: Their standard errors over prompts.
        by_prompt: Scores of every prompt likewise, or empty.
        kl: Nats per response.
        n_prompts: How many prompts the means are over.
    """

    means: Mapping[str, float]
    errors: Mapping[str, float]
    by_prompt: Mapping[str, Sequence[float | None]]
    kl: float
    n_prompts: int


@dataclass(frozen=True)
class Change:
    """A difference of two means with its 95 % interval, which is NaN where it is not known.

    Attributes:
        value: The difference.
        error: Its standard error.
        freedom: Degrees of freedom of Student's distribution.
    """

    value: float
    error: float = math.nan
    freedom: float = math.inf

    @property
    def reach(self) -> float:
        """Half the width of the interval."""
        return quantile(0.975, self.freedom) * self.error

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self.reach

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self.reach


@cache
def quantile(share: float, freedom: float = math.inf) -> float:
    """Of Student's distribution; of the normal one without a freedom. Asked for often with the same few arguments."""
    return float(stats.t.ppf(share, freedom))


def number(value: Any) -> float:
    """A float, or NaN for what is missing."""
    return math.nan if value is None else float(value)


def judged_base(record: StudyRecord) -> Judged:
    """The untrained model."""
    return _judged(record, None if record.base is None else record.base.heldout)


def judged_trial(record: StudyRecord, trial: FrozenTrial) -> Judged:
    """A trial at its last milestone."""
    return _judged(record, TrialFacts(trial).seen)


def judged_config(record: StudyRecord, trials: Sequence[FrozenTrial]) -> Judged:
    """The trials of one config as one: means over them, whose errors over the same prompts do not cancel."""
    found = [judged_trial(record, trial) for trial in trials]
    if len(found) == 1:
        return found[0]
    return Judged(
        means={name: _mean(each.means[name] for each in found) for name in found[0].means},
        errors={name: _mean(each.errors[name] for each in found) for name in found[0].errors},
        by_prompt={name: _by_prompt([each.by_prompt[name] for each in found]) for name in found[0].by_prompt},
        kl=_mean(each.kl for each in found),
        n_prompts=record.n_prompts,
    )


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _by_prompt(scores: Sequence[Sequence[float | None]]) -> Sequence[float | None]:
    """Means over trials, prompt by prompt; empty unless all answered the same ones."""
    if len({len(each) for each in scores}) > 1:
        return ()
    rows = zip(*scores, strict=True)
    return [None if None in row else _mean(map(number, row)) for row in rows]


def _judged(record: StudyRecord, seen: HeldOut | None) -> Judged:
    if seen is None:
        names = ("score", *record.judge_columns)
        unknown = dict.fromkeys(names, math.nan)
        return Judged(unknown, unknown, dict.fromkeys(names, ()), math.nan, record.n_prompts)
    known = {name: seen.by(name) for name in record.judge_columns}
    return Judged(
        means={"score": seen.score, **{name: judge.mean for name, judge in known.items()}},
        errors={"score": seen.score_error, **{name: number(judge.error) for name, judge in known.items()}},
        by_prompt={"score": seen.scores, **{name: judge.by_prompt for name, judge in known.items()}},
        kl=seen.kl,
        n_prompts=record.n_prompts,
    )


def change(before: Judged, after: Judged, judge: str) -> Change:
    """How much one judge's mean rose from one model to another."""
    value = after.means[judge] - before.means[judge]
    first, second = before.by_prompt[judge], after.by_prompt[judge]
    pairs = [b - a for a, b in zip(first, second, strict=False) if a is not None and b is not None]
    if len(first) >= len(second) and len(pairs) >= MIN_PROMPTS:
        if len(first) > len(second):  # a trial that was pruned answered the first of the prompts
            value = float(np.mean(pairs))
        return Change(value, float(np.std(pairs, ddof=1)) / math.sqrt(len(pairs)), len(pairs) - 1)
    return Change(value, math.hypot(before.errors[judge], after.errors[judge]))
