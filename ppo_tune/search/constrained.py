"""Keeps the proposals of a sampler that knows no constraints within them, by drawing again."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from ppo_tune.config.study import StudyConfig

TRIES = 100
"""Proposals of the sampler, which may insist on what is ruled out."""

DRAWS = 20_000
"""Random configs after that; a study file is refused of which fewer than one in a hundred is allowed."""


class ConstrainedSampler(BaseSampler):
    """Another sampler, asked again until it proposes a whole config that the study's constraints allow.

    Args:
        sampler: The sampler.
        anywhere: Draws at random where the sampler proposes nothing that is allowed.
        config: The study.
    """

    def __init__(self, sampler: BaseSampler, anywhere: BaseSampler, config: StudyConfig) -> None:
        self.sampler = sampler
        self.anywhere = anywhere
        self.space, self.rules = config.space, config.rules
        self.distributions = config.space.distributions()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space."""
        return self.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The first proposal that is allowed."""
        for sampler, tries in ((self.sampler, TRIES), (self.anywhere, DRAWS)):
            for _ in range(tries):
                values = self._proposal(sampler, study, trial)
                if self.rules.allow(values):
                    return values
        raise AssertionError("a study file whose constraints leave so little is refused")

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: every proposal is whole."""
        raise AssertionError(f"{param_name} is not part of the proposal")

    def _proposal(self, sampler: BaseSampler, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """All values that a sampler proposes, searched beside one another."""
        together = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
        values: dict[str, Any] = {}
        for name in self.space.order:
            if not self.space.is_active(name, values):
                continue
            distribution = self.distributions[name]
            if name in together:
                values[name] = together[name]
            else:
                values[name] = sampler.sample_independent(study, trial, name, distribution)
        return values
