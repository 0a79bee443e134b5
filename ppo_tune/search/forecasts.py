"""What every trial comes to at full length, as far as its curve tells: what completed trials are known by, of all."""

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.search.certainty import log_kl
from ppo_tune.search.cube import Numbers
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.results import ending_of

HALF = 0.5
"""How much of the usual rise of completed trials a pruned one's score is given: it was pruned for being behind."""

FEW = 4
"""Of fewer completed trials nothing is learned about how a curve goes on."""


def has_score(trial: FrozenTrial) -> bool:
    """Whether a trial tells of a score: it came to one at its end, or to one on the way and to no limit."""
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        return True
    return bool(trial.intermediate_values) and ending_of(trial) in ("completed", "pruned", "running")


def final_scores(trials: Sequence[FrozenTrial], n_milestones: int) -> dict[int, float]:
    """The score at full length of every trial that was not ended by a limit, by number; expected where it is not known.

    Of a trial that did not reach the end: its last score, and half of what completed trials rose from there, by the
    median, if they rose.
    """
    curves = {
        t.number: [t.intermediate_values[step] for step in sorted(t.intermediate_values)] for t in trials
    }
    whole = _whole(trials, curves, n_milestones)
    scores = {}
    for trial in filter(has_score, trials):
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            scores[trial.number] = trial.value
        else:
            curve = curves[trial.number]
            scores[trial.number] = curve[-1] + HALF * _rise(whole, len(curve))
    return scores


def known_log_kls(trials: Sequence[FrozenTrial], budget: float) -> dict[int, float]:
    """The KL of every trial that reached its end or passed the limit, as `log_kl`, by number."""
    ended = [t for t in trials if t.state is TrialState.COMPLETE or ending_of(t) in ("kl_limit", "diverged")]
    told = {t.number: t.constraints.get("kl_per_sequence") for t in ended}
    return {
        number: float(log_kl(excess + budget, budget))
        for number, excess in told.items()
        if excess is not None
    }


def final_log_kls(trials: Sequence[FrozenTrial], n_milestones: int, budget: float) -> dict[int, float]:
    """The KL at full length of every trial that told one, as `log_kl`, by number; expected where it is not known.

    Of a trial that did not reach the end: its last KL, or that by which it passed the limit, and what completed trials
    rose from there, by the median, if they rose.
    """
    curves = {t.number: [float(log_kl(point.kl, budget)) for point in TrialFacts(t).curve] for t in trials}
    whole, known = _whole(trials, curves, n_milestones), known_log_kls(trials, budget)
    kls = {}
    for trial in trials:
        curve, n = curves[trial.number], trial.number
        if trial.state is TrialState.COMPLETE and n in known:
            kls[n] = known[n]
        elif n in known or (curve and ending_of(trial) in ("pruned", "running")):
            kls[n] = (known[n] if n in known else curve[-1]) + _rise(whole, len(curve))
    return kls


def _whole(trials: Sequence[FrozenTrial], curves: dict[int, list[float]], n_milestones: int) -> Numbers:
    """The curves of completed trials, shape (N, milestones)."""
    done = [curves[t.number] for t in trials if t.state is TrialState.COMPLETE]
    return np.array([curve for curve in done if len(curve) == n_milestones], dtype=float)


def _rise(whole: Numbers, reached: int) -> float:
    """What completed trials rose from a milestone to the end, by the median, if they rose; 0 of few of them."""
    if len(whole) < FEW:
        return 0.0
    return max(0.0, float(np.median(whole[:, -1] - whole[:, max(reached, 1) - 1])))
