"""What came of the trials of a study: how each ended, the best of them, and the default they are measured against."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config.study import StudyConfig
from ppo_tune.search.facts import StudyFacts, TrialFacts

if TYPE_CHECKING:
    from ppo_tune.search.race import Confirmation

STATES = {
    "completed": TrialState.COMPLETE,  # reached its budget
    "pruned": TrialState.PRUNED,  # behind the others
    "diverged": TrialState.PRUNED,  # a loss or a log-probability was not finite
    "kl_limit": TrialState.PRUNED,  # too far from the reference
    "out_of_memory": TrialState.FAIL,  # the device has no room for it
    "reward_error": TrialState.FAIL,  # the reward function failed
    "crashed": TrialState.FAIL,  # its worker died again and again
    "preempted": TrialState.FAIL,  # stopped by the user; another trial takes over
    "lost": TrialState.FAIL,  # its worker died; another trial takes over
}
"""How a trial can end, and what Optuna is told of it.

What ran away is told as pruned and not feasible, for samplers learn from pruned trials and not from failed ones.
"""

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


def is_over(study: Study, config: StudyConfig) -> bool:
    """Whether a search has come to its end, by its total of trials or by another limit."""
    counts = count_endings(study)
    if "running" in counts:
        return False
    total = config.n_trials
    enough = total is not None and "waiting" not in counts and sum(counts.values()) >= total
    return enough or bool(StudyFacts(study).ended)


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial stayed within the KL budget."""
    return all(value <= 0 for value in trial.constraints.values())


def best_trials(study: Study) -> list[FrozenTrial]:
    """The completed trials within the KL budget without the default, best first, see `ranked_trials`."""
    return [trial for trial in ranked_trials(study) if not TrialFacts(trial).is_default]


def ranked_trials(study: Study) -> list[FrozenTrial]:
    """The completed trials within the KL budget, the default among them, best first.

    As the model of all results ranks them, see `ppo_tune.search.surrogate`, and those that it does not rank by score.
    """
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ranks = {number: rank for rank, number in enumerate(StudyFacts(study).ranking)}
    found = [t for t in completed if is_feasible(t)]
    return sorted(found, key=lambda t: (ranks.get(t.number, len(ranks)), -(t.value or 0.0), t.number))


def chosen_trial(study: Study, confirmation: "Confirmation | None") -> FrozenTrial | None:
    """The trial to go on with.

    That is the confirmed best if it beats the default, else the default; before a confirmation is finished, the
    best completed trial within the KL budget. None if nothing stayed within it.
    """
    if confirmation is None or confirmation.outcome.kind == "unfinished":
        return next(iter(ranked_trials(study)), None)
    number = confirmation.outcome.winner
    return next((t for t in study.get_trials(deepcopy=False) if t.number == number), None)


def baseline_trial(study: Study) -> FrozenTrial | None:
    """The trial of the default config, however it ended; None before it started."""
    for trial in study.get_trials(deepcopy=False):
        if TrialFacts(trial).is_default and not was_lost(trial):
            return trial
    return None


def repeated_cells(config: StudyConfig, trials: Sequence[FrozenTrial]) -> int:
    """How many trials of a grid repeat a cell that another trial has; 0 for other samplers.

    The default config does not count: it is trial 0 whether or not it is a cell of the grid. Neither do trials that
    were cut off and ran again.
    """
    if not config.search.sampler.exhaustive:
        return 0
    taken = [
        repr(sorted(t.params.items()))
        for t in trials
        if t.state != TrialState.WAITING and not was_lost(t) and not TrialFacts(t).is_default
    ]
    return len(taken) - len(set(taken))


def repeats_reading(repeats: int) -> str:
    """What repeated cells are, in words."""
    who = "1 trial repeats a cell" if repeats == 1 else f"{repeats} trials repeat cells"
    return f"{who} of the grid, for there are more trials than cells"
