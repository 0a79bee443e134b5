"""How much each hyperparameter decides about the score and about failing, and which of its values are the good ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial
from scipy.stats import spearmanr

from ppo_tune.reporting.analysis.compared import compared, foresight
from ppo_tune.reporting.analysis.evidence import COLUMNS, Sample, best_quarter, happened, importance_of
from ppo_tune.reporting.axes import Axis, axes_of
from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.results import ending_of, is_feasible

MIN_TRIALS = 12
"""Below this many comparable trials there is not enough evidence for an importance."""

MIN_FAILURES = 5
"""So many trials must have failed, and so many not, before it is asked why."""

NOISE = "not distinguishable from noise"

FAILURES = ("diverged", "kl_limit")
"""Endings that a hyperparameter may be to blame for."""

LEVEL = 0.05
"""A rank correlation less likely than this by chance is a direction."""

MIN_TRIALS_OF_CHOICE = 3
"""A choice with fewer trials is not compared with the others."""

MIN_ENDS = 4
"""Fewer trials at the end have no best quarter to speak of."""


@dataclass(frozen=True)
class Wording:
    """How a target is spoken of.

    Attributes:
        rises: Where the target is higher with higher values.
        falls: Where it is lower with them.
        marked: The trials that are looked for.
        most: The choice with which the target is highest.
        typical: How the targets of one choice become one number.
        number: What that number is called.
    """

    rises: str
    falls: str
    marked: str
    most: str
    typical: Callable[[np.ndarray], np.floating]
    number: str


SCORING = Wording("higher is better", "lower is better", "the best quarter", "best with", np.median, "median")
FAILING = Wording(
    "fails more when high", "fails more when low", "the failed", "fails most with", np.mean, "share"
)


def importance_table(record: StudyRecord) -> pd.DataFrame:
    """How much each hyperparameter decides about the score; see `_table`.

    Where scores were taken too early to say anything of the end, no direction is read from them: it is said where the
    best trials stand that were completed within the KL budget.
    """
    if foresight(record).tells:
        return _table(score_sample(record), SCORING, record.config.search.seed)
    ends = end_sample(record)
    return _table(
        score_sample(record), SCORING, record.config.search.seed, lambda name: good_range(ends, name)
    )


def failing_table(record: StudyRecord) -> pd.DataFrame:
    """How much each hyperparameter decides whether a trial diverges or goes beyond the KL limit; see `_table`."""
    sample = failing_sample(record)
    n_failed = int(sample.target.sum())
    is_enough = min(n_failed, len(sample.target) - n_failed) >= MIN_FAILURES
    return _table(sample if is_enough else sample_of(record, [], []), FAILING, record.config.search.seed)


def _table(
    sample: Sample, wording: Wording, seed: int, told: Callable[[str], str] | None = None
) -> pd.DataFrame:
    """The importance of each hyperparameter.

    Columns: name; share of variance, both ends of its 90 % bootstrap interval and what noise reaches (`COLUMNS`);
    clear; direction (which values are the good ones, or that noise does the same). Those that stand out most come
    first; empty with too few trials.

    Args:
        sample: What became of the trials.
        wording: How that is spoken of.
        seed: Of shuffles and resamples.
        told: Says which values of a hyperparameter are the good ones; None reads it from the sample.
    """
    told = told or (lambda name: direction(sample, name, wording))
    if len(sample.target) < MIN_TRIALS:
        return pd.DataFrame(columns=["name", *COLUMNS, "clear", "direction"])
    table = importance_of(sample, seed)
    directions = [told(row["name"]) if row["clear"] else NOISE for row in to_records(table)]
    return table.assign(direction=directions)


def score_sample(record: StudyRecord) -> Sample:
    """The trials that are compared with their scores at that milestone.

    One that later diverged, left the KL limit or ended beyond the KL budget counts as the worst of them: what it had
    scored by then is nobody's aim.
    """
    early = early_sample(record)
    failed = np.array([not is_feasible(trial) for trial in compared(record)[1]], dtype=bool)
    return replace(early, target=np.where(failed, early.target.min(initial=np.inf), early.target))


def early_sample(record: StudyRecord) -> Sample:
    """The trials that are compared with their scores at that milestone as they were."""
    look, trials = compared(record)
    return sample_of(record, trials, [TrialFacts(trial).curve[look - 1].score for trial in trials])


def end_sample(record: StudyRecord) -> Sample:
    """The trials that were completed within the KL budget, with their scores at the end."""
    names = set(record.config.space)
    trials = [
        t for t in record.trials if ending_of(t) == "completed" and is_feasible(t) and names <= set(t.params)
    ]
    return sample_of(record, trials, [trial.value or 0.0 for trial in trials])


def failing_sample(record: StudyRecord) -> Sample:
    """Trials that ran until they were completed, pruned or failed, with 1 for those that failed and 0 for the others.

    Those that ran out of memory or crashed tell nothing of PPO.
    """
    known = ("completed", "pruned", *FAILURES)
    names = set(record.config.space)
    trials = [t for t in record.trials if ending_of(t) in known and names <= set(t.params)]
    return sample_of(record, trials, [float(ending_of(t) in FAILURES) for t in trials], mark=happened)


def sample_of(record: StudyRecord, trials: Sequence[FrozenTrial], target: Sequence[float],
              mark: Callable[[np.ndarray], np.ndarray] = best_quarter) -> Sample:  # fmt: skip
    """Trials with what became of them, and where their values stand on the axes of the space."""
    axes = axes_of(record.config.space)
    places = [axis.places(trial.params[axis.name] for trial in trials) for axis in axes]
    return Sample(axes, np.stack(places, axis=1), np.array(target, dtype=float), mark)


def direction(sample: Sample, name: str, wording: Wording) -> str:
    """Where the good values of one hyperparameter lie, or those that fail.

    Of a number, the sign of the rank correlation if there is one, and between which values half of the marked
    trials lie. Of a choice, the one with which the target is highest.
    """
    j = [axis.name for axis in sample.axes].index(name)
    axis, places = sample.axes[j], sample.places[:, j]
    if axis.choices:
        return _best_choice(axis, places, sample.target, wording)
    low, high = (axis.text_at(q) for q in np.quantile(places[sample.mark(sample.target)], [0.25, 0.75]))
    middle = f"half of {wording.marked} at {low}" + (f" to {high}" if high != low else "")
    correlation, chance = spearmanr(places, sample.target)
    if not chance < LEVEL:
        return middle
    return f"{wording.rises if correlation > 0 else wording.falls}, {middle}"


def good_range(ends: Sample, name: str) -> str:
    """Where the best trials stand that were completed within the KL budget; no direction, for others failed.

    Args:
        ends: Those trials with their scores at the end.
        name: Of the hyperparameter.
    """
    if len(ends.target) < MIN_ENDS:
        return "too few completed within the KL budget to say which values are good"
    j = [axis.name for axis in ends.axes].index(name)
    axis, best = ends.axes[j], ends.places[ends.mark(ends.target), j]
    if axis.choices:
        among = dict.fromkeys(axis.text_at(place) for place in sorted(best))
        return f"the best completed within the KL budget have {' or '.join(among)}"
    low, high = axis.text_at(float(best.min())), axis.text_at(float(best.max()))
    return f"the best completed within the KL budget at {low}" + (f" to {high}" if high != low else "")


def _best_choice(axis: Axis, places: np.ndarray, target: np.ndarray, wording: Wording) -> str:
    numbers = np.rint(places * (len(axis.choices) - 1))
    groups = [(target[numbers == i], str(choice)) for i, choice in enumerate(axis.choices)]
    typical = [
        (float(wording.typical(group)), len(group), choice)
        for group, choice in groups
        if len(group) >= MIN_TRIALS_OF_CHOICE
    ]
    if len(typical) < 2:
        return ""
    value, n, choice = max(typical)
    return f"{wording.most} {choice}, {wording.number} {value:.2f} of {n} trials"
