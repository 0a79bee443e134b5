"""The sampler that proposes where the model of all results expects the most: `gp`.

Optuna's own Gaussian process never sees a trial that was pruned or passed the KL limit, and so goes there again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy import stats
from scipy.stats import qmc

from ppo_tune.config.study import StudyConfig
from ppo_tune.search.cube import Cube, Numbers
from ppo_tune.search.results import was_lost
from ppo_tune.search.surrogate import Surrogate, has_results
from ppo_tune.search.transformed import on_scales

N_ANYWHERE, N_NEAR = 1024, 512
"""How many points are looked at: of a Sobol sequence over the space, and around the best known."""

NEAR = 0.08
"""Standard deviation of the latter, in the unit cube."""

STAYS = 0.3
"""Share of their values that are left as they are."""

N_BEST = 5


class ModelSampler(BaseSampler):
    """Proposes the config of the largest expected improvement, times the probability to be safely within the KL budget.

    Gardner et al., Bayesian optimization with inequality constraints (2014). Trials under way count as what the model
    expects of them.

    Args:
        config: The study.
        n_startup_trials: So many trials are drawn at random before.
        seed: Decides all that is random.
    """

    def __init__(self, config: StudyConfig, n_startup_trials: int, seed: int) -> None:
        self.config = config
        self.n_startup_trials = n_startup_trials
        self.seed = seed
        self._random = on_scales(RandomSampler(seed=seed), config.space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space, once there are results."""
        others = self._others(study, trial)
        ready = len(others) >= self.n_startup_trials and has_results(others)
        return self.config.space.distributions() if ready else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The most promising of many configs; none before there are results, or where no model can be fitted."""
        if not search_space:
            return {}
        found = most_promising(self.config, self._others(study, trial), self.seed)
        return {} if found is None else found.params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """At random, before there are results."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _others(self, study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
        """Trials with values that are not this one."""
        return [
            t
            for t in study.get_trials(deepcopy=False)
            if t.number != trial.number and not was_lost(t) and self.config.space.is_whole(t.params)
        ]


@dataclass(frozen=True)
class Promise:
    """The most promising config, and what it promises.

    Attributes:
        params: Its values.
        improvement: The expected improvement over the best that is known, times the probability to be within the
            budget.
        noise: Standard deviation of a trial's score around what is expected of its config.
    """

    params: dict[str, Any]
    improvement: float
    noise: float


def most_promising(config: StudyConfig, trials: Sequence[FrozenTrial], seed: int) -> Promise | None:
    """The best of many configs for one more trial; None where no model can be fitted or constraints allow none.

    Args:
        config: The study.
        trials: Those that have values, over or under way; enough of them have results.
        seed: Decides which configs are looked at.
    """
    try:
        model = Surrogate(config, trials)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return None
    known = model.cube.points([t.params for t in trials])
    model.believe([t.params for t in trials if not t.state.is_finished()])
    seen = model.predict_at(known)
    fair = np.where(seen.safe >= 0.5, seen.score, -np.inf)
    best = float(fair.max()) if np.isfinite(fair).any() else float(seen.score.min())
    points = _points(model.cube, known[np.argsort(-fair)[:N_BEST]], seed)
    if config.constraints:
        rules = config.rules
        points = points[[rules.allow(model.cube.config(point)) for point in points]]
        if not len(points):
            return None
    found = model.predict_at(points)
    error = np.maximum(found.score_error, 1e-12)
    ahead = (found.score - best) / error
    improvement = error * (ahead * stats.norm.cdf(ahead) + stats.norm.pdf(ahead)) * found.safe
    first = int(improvement.argmax())
    return Promise(model.cube.config(points[first]), float(improvement[first]), model.score.noise)


def _points(cube: Cube, promising: Numbers, seed: int) -> Numbers:
    """Configs to choose from, shape (N, D): from anywhere, and near promising ones."""
    rng = np.random.default_rng(seed)
    anywhere = qmc.Sobol(len(cube.sides), rng=rng).random(N_ANYWHERE)
    near = np.repeat(promising, N_NEAR // len(promising), axis=0)
    stays = rng.random(near.shape) < STAYS
    moved = np.where(stays | cube.unordered, near, cube.legal(near + rng.normal(0, NEAR, near.shape)))
    return cube.rested(np.concatenate([cube.legal(anywhere), moved]))
