"""Lets a sampler of Optuna's work on a scale that Optuna's distributions do not know: the logarithm of 1 − value.

The store keeps values as the trainer uses them; only the sampler sees 1 − value, in what it reads of earlier trials and
in what it proposes.
"""

import copy
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from ppo_tune.config.space import Space


def on_scales(sampler: BaseSampler, space: Space) -> BaseSampler:
    """A sampler that works on the scales of a space."""
    return TransformedSampler(sampler, space) if space.complements else sampler


class TransformedSampler(BaseSampler):
    """Another sampler, which sees hyperparameters with `log: complement` as 1 − value on a log scale.

    Args:
        sampler: The sampler.
        space: What is searched.
    """

    def __init__(self, sampler: BaseSampler, space: Space) -> None:
        self.sampler = sampler
        self.stored = space.distributions()
        self.transform = Transform(space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler says, in distributions of the store."""
        found = self.sampler.infer_relative_search_space(*self._seen(study, trial))
        return {name: self.stored.get(name, distribution) for name, distribution in found.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the sampler proposes, as values."""
        distributions = self.transform.distributions(search_space)
        return self.transform.values(self.sampler.sample_relative(*self._seen(study, trial), distributions))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What the sampler proposes, as a value."""
        distribution = self.transform.distributions({param_name: param_distribution})[param_name]
        found = self.sampler.sample_independent(*self._seen(study, trial), param_name, distribution)
        return self.transform.values({param_name: found})[param_name]

    def _seen(self, study: Study, trial: FrozenTrial) -> tuple[Study, FrozenTrial]:
        return _TransformedStudy(study, self.transform), self.transform.trial(trial)


class Transform:
    """From values with `log: complement` to 1 − value, and back; other values stay as they are."""

    def __init__(self, space: Space) -> None:
        self._ends = space.complements

    def distributions(self, stored: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
        """What a sampler sees of distributions as they are stored."""
        return {name: self._distribution(name, distribution) for name, distribution in stored.items()}

    def trial(self, stored: FrozenTrial) -> FrozenTrial:
        """What a sampler sees of a trial."""
        seen = copy.copy(stored)
        seen.distributions = self.distributions(stored.distributions)
        seen.params = {
            name: 1 - value if name in self._ends else value for name, value in stored.params.items()
        }
        return seen

    def values(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """What is stored of values that a sampler proposes; rounding takes none past an end."""
        return {name: self._value(name, value) for name, value in seen.items()}

    def _distribution(self, name: str, stored: BaseDistribution) -> BaseDistribution:
        if name not in self._ends:
            return stored
        low, high = self._ends[name]
        return FloatDistribution(1 - high, 1 - low, log=True)

    def _value(self, name: str, seen: Any) -> Any:
        if name not in self._ends:
            return seen
        low, high = self._ends[name]
        return min(max(1 - seen, low), high)


class _TransformedStudy(Study):
    """A study as a sampler sees it; what it writes of itself goes into the same store."""

    def __init__(self, study: Study, transform: Transform) -> None:
        vars(self).update(vars(study))
        self._transform = transform

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return [self._transform.trial(trial) for trial in super()._get_trials(*args, **kwargs)]
