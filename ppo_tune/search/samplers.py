"""Samplers, which propose the next trial: Optuna's with every setting written out, and the grid.

A sampler is made anew for every proposal, seeded by the study's seed and the number of the trial, so that
a study that was interrupted proposes what it would have proposed, and two workers never propose the same.
"""

import random
import warnings
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config import methods
from ppo_tune.config.space import Space
from ppo_tune.config.study import StudyConfig
from ppo_tune.search.constrained import ConstrainedSampler
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.results import was_lost
from ppo_tune.search.transformed import on_scales
from ppo_tune.seeding import derive_seed


def make_sampler(config: StudyConfig, trial_number: int) -> BaseSampler:
    """The sampler that proposes the trial of this number."""
    sampler = _sampler(config, trial_number)
    if not config.constraints or config.search.sampler.exhaustive:
        return sampler
    seed = derive_seed(config.search.seed, "anywhere", trial_number) % 2**32
    return ConstrainedSampler(sampler, on_scales(RandomSampler(seed=seed), config.space), config)


def _sampler(config: StudyConfig, trial_number: int) -> BaseSampler:
    search = config.search
    seed = derive_seed(search.seed, "sampler", trial_number) % 2**32
    match search.sampler:
        case methods.TPESamplerConfig() as tpe:
            sampler = TPESampler(n_startup_trials=tpe.n_startup_trials, n_ei_candidates=24, multivariate=True,
                                 group=False, constant_liar=True, seed=seed)  # fmt: skip
            return on_scales(sampler, config.space)
        case methods.GPSamplerConfig() as gp:
            from ppo_tune.search.proposals import ModelSampler  # waits for torch, as Optuna's would

            return ModelSampler(config, gp.n_startup_trials, seed)
        case methods.RandomSamplerConfig():
            return on_scales(RandomSampler(seed=seed), config.space)
        case methods.QMCSamplerConfig():
            return on_scales(_qmc(search.seed, seed, config.space), config.space)
        case methods.GridSamplerConfig():
            return GridSampler(config)


def needs_results(study: Study, sampler: methods.Sampler) -> bool:
    """Whether the next trial will be proposed by what others came to.

    Those of a start-up design are not, and neither is a trial that runs again.
    """
    trials = study.get_trials(deepcopy=False)
    if sampler.learns_after is None or any(trial.state is TrialState.WAITING for trial in trials):
        return False
    return sum(not was_lost(trial) for trial in trials) >= sampler.learns_after


class _WholeSpaceQMCSampler(QMCSampler):
    """Gives what is not searched in every trial a dimension too, where Optuna's draws it at random."""

    def __init__(self, space: Space, **settings: Any) -> None:
        super().__init__(**settings)
        self.space = space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space."""
        return self.space.distributions()


def _qmc(study_seed: int, seed: int, space: Space) -> BaseSampler:
    # All proposals are points of one sequence, so all must scramble it with the same seed.
    shared = derive_seed(study_seed, "qmc") % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # since Optuna 3.0, and the file asked for it
        settings: dict[str, Any] = {
            "qmc_type": "sobol", "scramble": True, "seed": shared, "warn_independent_sampling": False,
            "independent_sampler": RandomSampler(seed=seed),
        }  # fmt: skip
        return _WholeSpaceQMCSampler(space, **settings) if space.conditions else QMCSampler(**settings)


class GridSampler(BaseSampler):
    """Proposes each cell of a grid once, in an order shuffled by the seed.

    The study itself is the record: a cell is taken if a trial has its values, unless that trial was lost with
    its worker.
    """

    def __init__(self, config: StudyConfig) -> None:
        self.space = config.space
        self.cells = list(config.grid_cells())
        random.Random(config.search.seed).shuffle(self.cells)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole grid."""
        return self.space.distributions()

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The first cell that no trial has."""
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        taken = {_key(t.params) for t in others if not was_lost(t) and not TrialFacts(t).is_default}
        again = self.cells[trial.number % len(self.cells)]
        return next((cell for cell in self.cells if _key(cell) not in taken), again)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: every parameter is part of the grid."""
        raise AssertionError(f"{param_name} is not part of the grid")


def _key(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))
