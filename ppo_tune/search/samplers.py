"""Who proposes the next trial: Optuna's samplers with every setting written out, and the grid.

A sampler is made anew for every proposal, seeded by the study's seed and the number of the trial, so that
a study that was interrupted proposes what it would have proposed, and two workers never propose the same.
"""

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config.blocks import StudyConfig
from ppo_tune.config.space import Space
from ppo_tune.search.endings import was_lost
from ppo_tune.search.facts import TrialFacts
from ppo_tune.seeding import derive_seed

N_STARTUP_TRIALS = 10
"""Random trials before a model is trusted."""


def make_sampler(config: StudyConfig, trial_number: int) -> BaseSampler:
    """The sampler that proposes one trial.

    Args:
        config: The study; an unknown sampler does not get past its config.
        trial_number: Of the trial to be proposed.
    """
    return SAMPLERS[config.search.sampler](
        config, derive_seed(config.search.seed, "sampler", trial_number) % 2**32
    )


def needs_results(study: Study) -> bool:
    """Whether the next trial of a sampler that learns will be proposed by what others came to.

    Those of the start-up design are not, and neither is a trial that runs again.
    """
    trials = study.get_trials(deepcopy=False)
    if any(trial.state is TrialState.WAITING for trial in trials):
        return False
    return sum(not was_lost(trial) for trial in trials) >= N_STARTUP_TRIALS


def _tpe(config: StudyConfig, seed: int) -> BaseSampler:
    return TPESampler(n_startup_trials=N_STARTUP_TRIALS, n_ei_candidates=24, multivariate=True, group=False,
                      constant_liar=True, seed=seed)  # fmt: skip


def _gp(config: StudyConfig, seed: int) -> BaseSampler:
    return GPSampler(n_startup_trials=N_STARTUP_TRIALS, deterministic_objective=False, seed=seed)


def _random(config: StudyConfig, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _qmc(config: StudyConfig, seed: int) -> BaseSampler:
    # All proposals are points of one sequence, so all must scramble it with the same seed.
    shared = derive_seed(config.search.seed, "qmc") % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # since Optuna 3.0, and the file asked for it
        return QMCSampler(
            qmc_type="sobol",
            scramble=True,
            seed=shared,
            independent_sampler=RandomSampler(seed=seed),
            warn_independent_sampling=False,
        )


def _grid(config: StudyConfig, seed: int) -> BaseSampler:
    return GridSampler(config.space, config.search.seed)


SAMPLERS: Mapping[str, Callable[[StudyConfig, int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "random": _random,
    "qmc": _qmc,
    "grid": _grid,
}


class GridSampler(BaseSampler):
    """Proposes each cell of a grid once, in an order shuffled by the seed.

    The study itself is the ledger: a cell is taken if a trial has its values, unless that trial was lost with
    its worker.

    Args:
        space: The grid.
        seed: Decides the order.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        self.cells = list(space.grid_cells())
        random.Random(seed).shuffle(self.cells)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole grid."""
        return self.space.distributions()

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The first cell that no trial has."""
        others: Sequence[FrozenTrial] = [
            t for t in study.get_trials(deepcopy=False) if t.number != trial.number
        ]
        taken = {_key(t.params) for t in others if not was_lost(t) and not TrialFacts(t).is_default}
        for cell in self.cells:
            if _key(cell) not in taken:
                return cell
        return self.cells[trial.number % len(self.cells)]

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: every parameter is part of the grid."""
        raise AssertionError(f"{param_name} is not part of the grid")


def _key(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))
