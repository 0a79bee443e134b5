"""How much each hyperparameter decides about the score within the KL budget and about failing."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial
from scipy.stats import spearmanr

from ppo_tune.reporting.analysis.evidence import COLUMNS, Sample, best_quarter, happened, importance_of
from ppo_tune.reporting.axes import Axis, axes_of
from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.search.forecasts import final_scores
from ppo_tune.search.results import ending_of, is_feasible

MIN_TRIALS = 12
"""With fewer trials that tell something there is not enough evidence for an importance."""

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

SCORE_COLUMNS = ("name", "share", "low", "high", "evidence", "clear", "direction")
"""Of the table for the score: a share is a total effect, the evidence a power of ten; see `search.effects.Effect`."""


def importance_table(record: StudyRecord) -> pd.DataFrame:
    """How much each hyperparameter decides about the score within the KL budget, by the model of all results.

    Those that stand out come first, then by their share; a direction says where the best trials stand that were
    completed within the budget. Empty with too few scores, with one hyperparameter, or where no model can be fitted.
    """
    from ppo_tune.search.effects import effects  # waits for torch, which a page needs for nothing else

    trials = trials_of(record)
    n_scores = len(final_scores(trials, len(record.config.milestone_episodes())))
    if n_scores < MIN_TRIALS or len(record.config.space) < 2:
        return pd.DataFrame(columns=list(SCORE_COLUMNS))
    ends = end_sample(record)
    rows = [
        {**asdict(effect), "direction": good_range(ends, effect.name) if effect.clear else NOISE}
        for effect in effects(record.config, trials)
    ]
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    return table.sort_values(["clear", "share"], ascending=False, kind="stable", ignore_index=True)


def failing_table(record: StudyRecord) -> pd.DataFrame:
    """How much each hyperparameter decides whether a trial diverges or goes beyond the KL limit.

    Columns: name; share of variance, both ends of its 90 % bootstrap interval and what noise reaches (`COLUMNS`);
    clear; direction (which values fail, or that noise does the same). Those that stand out most come first; empty with
    too few trials.
    """
    sample = failing_sample(record)
    n_failed = int(sample.target.sum())
    if min(n_failed, len(sample.target) - n_failed) < MIN_FAILURES or len(sample.target) < MIN_TRIALS:
        return pd.DataFrame(columns=["name", *COLUMNS, "clear", "direction"])
    table = importance_of(sample, record.config.search.seed)
    said = [direction(sample, row["name"]) if row["clear"] else NOISE for row in to_records(table)]
    return table.assign(direction=said)


def trials_of(record: StudyRecord) -> list[FrozenTrial]:
    """The trials that have all values of the space that are searched beside one another."""
    return [trial for trial in record.trials if record.config.space.is_whole(trial.params)]


def score_sample(record: StudyRecord) -> tuple[Sample, list[FrozenTrial]]:
    """The trials with their scores at full length, expected ones of those that did not get there; and the trials.

    One that diverged, passed the KL limit or ended beyond the KL budget counts as the worst of them.
    """
    trials = trials_of(record)
    scores = final_scores(trials, len(record.config.milestone_episodes()))
    failed = {t.number for t in trials if ending_of(t) in FAILURES or not is_feasible(t)}
    worst = min(scores.values(), default=0.0)
    known = [t for t in trials if t.number in failed | scores.keys()]
    targets = [worst if t.number in failed else scores[t.number] for t in known]
    return sample_of(record, known, targets), known


def end_sample(record: StudyRecord) -> Sample:
    """The trials that were completed within the KL budget, with their scores at the end."""
    trials = [t for t in trials_of(record) if ending_of(t) == "completed" and is_feasible(t)]
    return sample_of(record, trials, [trial.value or 0.0 for trial in trials])


def failing_sample(record: StudyRecord) -> Sample:
    """Trials that ran until they were completed, pruned or failed, with 1 for those that failed and 0 for the others.

    Those that ran out of memory or crashed tell nothing of PPO.
    """
    trials = [t for t in trials_of(record) if ending_of(t) in ("completed", "pruned", *FAILURES)]
    return sample_of(record, trials, [float(ending_of(t) in FAILURES) for t in trials], mark=happened)


def sample_of(record: StudyRecord, trials: Sequence[FrozenTrial], target: Sequence[float],
              mark: Callable[[np.ndarray], np.ndarray] = best_quarter) -> Sample:  # fmt: skip
    """Trials with what became of them, and where their values stand on the axes of the space; NaN if not searched."""
    axes = axes_of(record.config.space)
    places = [
        np.where(
            [axis.name in trial.params for trial in trials],
            axis.places(trial.params.get(axis.name) for trial in trials),
            np.nan,
        )
        for axis in axes
    ]
    return Sample(axes, np.stack(places, axis=1), np.array(target, dtype=float), mark)


def direction(sample: Sample, name: str) -> str:
    """Which values of a hyperparameter fail.

    Of a number, the sign of the rank correlation if there is one, and between which values half of the failed lie. Of
    a choice, the one that fails most.
    """
    j = [axis.name for axis in sample.axes].index(name)
    searched = sample.searching(j)
    axis, places = sample.axes[j], searched.places[:, j]
    if axis.choices:
        return _worst_choice(axis, places, searched.target)
    low, high = (axis.text_at(q) for q in np.quantile(places[sample.mark(searched.target)], [0.25, 0.75]))
    middle = f"half of the failed at {low}" + (f" to {high}" if high != low else "")
    correlation, chance = spearmanr(places, searched.target)
    if not chance < LEVEL:
        return middle
    return f"fails more when {'high' if correlation > 0 else 'low'}, {middle}"


def good_range(ends: Sample, name: str) -> str:
    """Where the best trials stand that were completed within the KL budget; no direction, for others failed.

    Args:
        ends: Those trials with their scores at the end.
        name: Of the hyperparameter.
    """
    j = [axis.name for axis in ends.axes].index(name)
    ends = ends.searching(j)
    if len(ends.target) < MIN_ENDS:
        return "too few completed within the KL budget to say which values are good"
    axis, best = ends.axes[j], ends.places[ends.mark(ends.target), j]
    if axis.choices:
        among = dict.fromkeys(axis.text_at(place) for place in sorted(best))
        return f"the best completed within the KL budget have {' or '.join(among)}"
    low, high = axis.text_at(float(best.min())), axis.text_at(float(best.max()))
    return f"the best completed within the KL budget at {low}" + (f" to {high}" if high != low else "")


def _worst_choice(axis: Axis, places: np.ndarray, failed: np.ndarray) -> str:
    numbers = np.rint(places * (len(axis.choices) - 1))
    groups = [(failed[numbers == i], str(choice)) for i, choice in enumerate(axis.choices)]
    shares = [
        (float(group.mean()), len(group), choice)
        for group, choice in groups
        if len(group) >= MIN_TRIALS_OF_CHOICE
    ]
    if len(shares) < 2:
        return ""
    share, n, choice = max(shares)
    return f"fails most with {choice}, share {share:.2f} of {n} trials"
