"""What the trials of a study say: the best of them, and the default they are measured against."""

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.search.endings import was_lost


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial stayed within the KL budget."""
    return all(value <= 0 for value in trial.constraints.values())


def best_trials(study: Study) -> list[FrozenTrial]:
    """The completed trials within the KL budget, best first, without the default."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = [t for t in completed if is_feasible(t) and not t.user_attrs.get("baseline")]
    return sorted(found, key=lambda t: (-(t.value or 0.0), t.number))


def best_trial(study: Study) -> FrozenTrial | None:
    """The completed trial with the highest score among those within the KL budget; None if there is none."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max((t for t in completed if is_feasible(t)), key=lambda t: t.value or 0.0, default=None)


def baseline_trial(study: Study) -> FrozenTrial | None:
    """The trial of the default config, however it ended; None before it started."""
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get("baseline") and not was_lost(trial):
            return trial
    return None
