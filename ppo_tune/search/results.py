"""What a finished or running study says: its winner, and the default it is measured against."""

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config import PPOConfig, StudyConfig, TrainConfig
from ppo_tune.errors import PPOTuneError
from ppo_tune.search.endings import was_lost

FULL_LENGTH = 4
"""A full training is this many trials long unless the study says otherwise."""


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial stayed within the KL budget."""
    return all(value <= 0 for value in trial.constraints.values())


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


def best_config(study: Study, config: StudyConfig) -> TrainConfig:
    """The winner's config at full length.

    Raises:
        PPOTuneError: If no trial was completed within the KL budget.
    """
    winner = best_trial(study)
    if winner is None:
        raise PPOTuneError(
            f"study {config.name!r} has no completed trial with `kl_per_sequence <= {config.search.kl_budget:g}` "
            "yet; run more trials with --n-trials, or raise search.kl_budget in a new study"
        )
    length = config.search.train_episodes or FULL_LENGTH * config.ppo.episodes
    ppo = PPOConfig.model_validate({**winner.user_attrs["config"], "episodes": length})
    return TrainConfig(
        name=config.name,
        task=config.task,
        model=config.model,
        ppo=ppo,
        seed=config.search.seed,
        kl_budget=config.search.kl_budget,
    )
