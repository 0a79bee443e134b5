"""A whole search: a study file as one frozen value.

Reading files is `ppo_tune.config.study_file`'s work.
"""

import json
import operator
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from ppo_tune.config.block import FROM_LIST, Text
from ppo_tune.config.constraints import Constraint, Rules
from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.model import ADAPTER_FIELDS, ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.run import RunConfig
from ppo_tune.config.space import Space
from ppo_tune.errors import ConfigError, Problem

NAME_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

DEFAULT_N_TRIALS = 32
"""Of a study that names no limit."""


def _check_constraint(text: str) -> str:
    return Constraint.read(text).text


class StudyConfig(RunConfig):
    """A whole search."""

    name: Text = Field(description="The study's name: the file's name without its ending.")
    space: Space
    constraints: Annotated[tuple[Annotated[Text, AfterValidator(_check_constraint)], ...], FROM_LIST] = Field(
        (),
        exclude_if=operator.not_,
        description="Comparisons that must hold between hyperparameters of every trial, such as `batch_size * "
        "ppo_epochs <= 128`: numbers, names of ppo, + - * / % and brackets. What is null breaks none.",
    )
    search: SearchConfig = SearchConfig()

    @property
    def n_trials(self) -> int | None:
        """All trials of the study at most: those asked for, or the default config and every cell of the grid.

        None where only episodes or seconds end it.
        """
        search = self.search
        if search.n_trials is not None:
            return search.n_trials
        if search.sampler.exhaustive:
            return 1 + self.grid_size
        return DEFAULT_N_TRIALS if search.max_episodes is None and search.max_seconds is None else None

    @property
    def baseline(self) -> dict[str, Any]:
        """The searched values of trial 0, the default config."""
        return self.space.baseline(self.defaults)

    @property
    def defaults(self) -> dict[str, Any]:
        """The trainer's defaults of all searched hyperparameters."""
        return {name: self.default(name) for name in self.space}

    @property
    def widest_model(self) -> ModelConfig:
        """The model with adapters of the largest rank that is searched."""
        rank = self.space.root.get("lora_rank")
        if rank is None:
            return self.model
        unsearched = (self.model.lora_rank,) if rank.when else ()
        return self.model_of({"lora_rank": max(*rank.extent, *unsearched)})

    @property
    def adapters_vary(self) -> bool:
        """Whether trials differ in their adapters."""
        return any(name in self.space for name in ADAPTER_FIELDS)

    @property
    def rules(self) -> Rules:
        """What its constraints allow."""
        fixed = {**self.ppo.model_dump(), **self.model.model_dump(include=set(ADAPTER_FIELDS))}
        return Rules.of(self.constraints, fixed)

    @property
    def grid_size(self) -> int:
        """How many cells the grid has that the constraints allow."""
        if not self.constraints:
            return self.space.grid_size()
        return _n_allowed(self.space.model_dump_json(), self.constraints, json.dumps(self.rules.fixed))

    def grid_cells(self) -> Iterator[dict[str, Any]]:
        """The cells of the grid that the constraints allow."""
        return filter(self.rules.allow, self.space.grid_cells())

    def ppo_of(self, params: Mapping[str, Any]) -> PPOConfig:
        """The hyperparameters of a trial of these values."""
        return self.ppo.with_params({n: value for n, value in params.items() if n not in ADAPTER_FIELDS})

    def model_of(self, params: Mapping[str, Any]) -> ModelConfig:
        """The model of a trial of these values."""
        own = {name: value for name, value in params.items() if name in ADAPTER_FIELDS}
        return ModelConfig.model_validate({**self.model.model_dump(), **own})

    def default(self, name: str) -> Any:
        """The trainer's default of a searched hyperparameter, a number also where it follows from others."""
        if name in ADAPTER_FIELDS:
            return getattr(self.model, name)
        usual = PPOConfig(episodes=self.ppo.episodes, rollout_size=self.ppo.rollout_size)
        return usual.kl_horizon_episodes if name == "kl_horizon" else getattr(usual, name)

    def milestone_episodes(self) -> tuple[int, ...]:
        """Episodes at which every trial is scored, whole rollouts, rising to the end of the budget."""
        n, iterations = self.search.milestones, self.ppo.iterations
        marks = {max(1, round(iterations * i / n)) for i in range(1, n + 1)}
        return tuple(self.ppo.rollout_size * mark for mark in sorted(marks))


@lru_cache(maxsize=8)
def _n_allowed(space: str, constraints: tuple[str, ...], fixed: str) -> int:
    """How many cells of a grid the constraints allow; asked often of the same study."""
    rules = Rules.of(constraints, json.loads(fixed))
    return sum(map(rules.allow, Space.model_validate_json(space).grid_cells()))


def check_name(name: str) -> str:
    """The name of a study, safe to be the name of a folder.

    Raises:
        ConfigError: If it is not.
    """
    if NAME_RULE.fullmatch(name):
        return name
    rule = "letters, digits, dots, dashes and underscores, at most 100, the first a letter or a digit"
    raise ConfigError([Problem("study name", f"must be {rule}, but got {name!r}; rename it")])
