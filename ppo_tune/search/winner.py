"""Which config a study hands on: what its confirmation found, or the best of the search where there is none."""

from optuna.study import Study
from optuna.trial import FrozenTrial

from ppo_tune.config.model import ADAPTER_FIELDS
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.training_file import training_with
from ppo_tune.errors import PPOTuneError
from ppo_tune.search.confirmation import read_confirmation
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.results import chosen_trial, ending_of, was_lost

FULL_LENGTH = 4
"""A full training is this many trials long unless the study says otherwise."""


def winning_trial(study: Study, config: StudyConfig) -> FrozenTrial | None:
    """The trial to go on with, see `chosen_trial`."""
    return chosen_trial(study, read_confirmation(study, config))


def best_config(study: Study, config: StudyConfig) -> TrainConfig:
    """The winner's config at full length.

    Raises:
        PPOTuneError: If no trial was completed within the KL budget.
    """
    return full_length(winning_trial(study, config), config)


def trial_config(
    study: Study, config: StudyConfig, number: int, *, episodes: int | None = None, seed: int | None = None
) -> TrainConfig:
    """The config of any completed trial at full length.

    Args:
        study: The search.
        config: The experiment.
        number: Of the trial.
        episodes: Length, instead of the study's full one.
        seed: Instead of the study's.

    Raises:
        PPOTuneError: If there is no such trial, or it was not completed.
        ConfigError: If the length or the seed cannot be.
    """
    return training_with(full_length(completed_trial(study, number), config), episodes=episodes, seed=seed)


def completed_trial(study: Study, number: int) -> FrozenTrial:
    """A trial by its number.

    Raises:
        PPOTuneError: If there is none, or it was not completed.
    """
    trials = {t.number: t for t in study.get_trials(deepcopy=False)}
    ending = ending_of(trials[number]) if number in trials else None
    if ending != "completed":
        completed = [str(n) for n, t in trials.items() if ending_of(t) == "completed"]
        unknown = ending in (None, "waiting") or was_lost(trials[number])
        what = "is not there" if unknown else f"ended as {ending}"
        raise PPOTuneError(
            f"trial {number} of study {study.study_name!r} {what}, and only a completed one can be handed on: "
            f"{', '.join(completed) or 'there is none yet'}"
        )
    return trials[number]


def full_length(winner: FrozenTrial | None, config: StudyConfig) -> TrainConfig:
    """The config of a winning trial at full length.

    Raises:
        PPOTuneError: If there is no such trial.
    """
    if winner is None:
        raise PPOTuneError(
            f"study {config.name!r} has no trial with `kl_per_sequence <= {config.search.kl_budget:g}` that holds up "
            "yet; run more trials with --n-trials, or raise search.kl_budget in a new study"
        )
    length = config.search.train_episodes or FULL_LENGTH * config.ppo.episodes
    facts = TrialFacts(winner)
    own = {name: value for name, value in facts.config.items() if name in ADAPTER_FIELDS}
    used = {name: value for name, value in facts.config.items() if name not in ADAPTER_FIELDS}
    ppo = PPOConfig.model_validate({**used, "episodes": length})
    return TrainConfig(
        name=config.name,
        task=config.task,
        model=config.model_of(own),
        ppo=ppo,
        seed=config.search.seed,
        kl_budget=config.search.kl_budget,
        score_std=facts.score_std,
    )
