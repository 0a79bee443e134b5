"""What the trials of a study say: the best of them, and the default they are measured against."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config.blocks import StudyConfig
from ppo_tune.search.endings import was_lost
from ppo_tune.search.facts import TrialFacts

if TYPE_CHECKING:
    from ppo_tune.search.race import Confirmation


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial stayed within the KL budget."""
    return all(value <= 0 for value in trial.constraints.values())


def best_trials(study: Study) -> list[FrozenTrial]:
    """The completed trials within the KL budget, best first, without the default."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = [t for t in completed if is_feasible(t) and not TrialFacts(t).is_default]
    return sorted(found, key=lambda t: (-(t.value or 0.0), t.number))


def best_trial(study: Study) -> FrozenTrial | None:
    """The completed trial with the highest score among those within the KL budget; None if there is none."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max((t for t in completed if is_feasible(t)), key=lambda t: t.value or 0.0, default=None)


def chosen_trial(study: Study, confirmation: "Confirmation | None") -> FrozenTrial | None:
    """The trial to go on with.

    That is the confirmed best if it beats the default, else the default; before a confirmation is finished, the
    best completed trial within the KL budget. None if nothing stayed within it.
    """
    if confirmation is None or confirmation.outcome.kind == "unfinished":
        return best_trial(study)
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
