"""How a trial can end, and what Optuna is told of it.

    completed      reached its budget                              COMPLETE with its score
    pruned         behind the others                               PRUNED
    diverged       a loss or a log-probability was not finite      PRUNED, not feasible
    kl_limit       too far from the reference                      PRUNED, not feasible
    out_of_memory  the device has no room for it                   FAIL
    reward_error   the reward function failed                      FAIL
    crashed        its worker died again and again                 FAIL
    preempted      stopped by the user; another trial takes over   FAIL
    lost           its worker died; another trial takes over       FAIL

Diverged trials are told as pruned, for samplers learn from pruned trials and not from failed ones.
"""

from collections import Counter

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.search.facts import TrialFacts

STATES = {
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "kl_limit": TrialState.PRUNED,
    "out_of_memory": TrialState.FAIL,
    "reward_error": TrialState.FAIL,
    "crashed": TrialState.FAIL,
    "preempted": TrialState.FAIL,
    "lost": TrialState.FAIL,
}

LOST = ("preempted", "lost")
"""Endings that do not count towards the study's total: the trial is run again under another number."""


def ending_of(trial: FrozenTrial) -> str:
    """The name of a trial's ending; "running" or "waiting" before it."""
    noted = TrialFacts(trial).ending
    if noted in LOST and trial.state is not TrialState.FAIL:  # its own worker told what it came to meanwhile
        return "completed" if trial.state is TrialState.COMPLETE else "pruned"
    return noted or trial.state.name.lower()


def was_lost(trial: FrozenTrial) -> bool:
    """Whether the trial was cut off from outside and runs again under another number."""
    return ending_of(trial) in LOST


def count_endings(study: Study) -> dict[str, int]:
    """How many trials ended in which way; lost ones are counted once, as what replaced them."""
    return dict(Counter(ending_of(t) for t in study.get_trials(deepcopy=False) if not was_lost(t)))
