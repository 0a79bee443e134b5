"""Which config a study hands on: what its confirmation found, or the best of the search where there is none."""

from optuna.study import Study
from optuna.trial import FrozenTrial

from ppo_tune.config.blocks import ADAPTER_FIELDS, PPOConfig, StudyConfig, TrainConfig
from ppo_tune.errors import PPOTuneError
from ppo_tune.search.confirmation import read_confirmation
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.results import chosen_trial

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
