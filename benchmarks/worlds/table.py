"""A recorded landscape: one training run per row of a table such as `benchmarks/landscape.parquet`.

A run is a row of numbers at the milestones of its study, in an order that the properties of `Layout` name. KL is
kept on a scale that is linear near 0 and logarithmic above, on which its noise is about the same everywhere.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ppo_tune.config.ranges import CategoricalParam, Param
from ppo_tune.config.space import Space
from ppo_tune.config.study import StudyConfig

Array = NDArray[np.float64]

TABLE = Path(__file__).parent.parent / "landscape.parquet"

KL_UNIT = 0.25
"""Nats per response up to which the scale of KL is about linear."""


def scaled_kl(kl: Any) -> Any:
    """From nats to the scale on which KL is kept."""
    return np.log1p(np.maximum(kl, -0.8 * KL_UNIT) / KL_UNIT)


def nats(scaled: Any) -> Any:
    """What `scaled_kl` scaled."""
    return KL_UNIT * np.expm1(scaled)


@dataclass(frozen=True)
class Layout:
    """How a run of a study is written: its config as a point of the unit cube, what it came to as a row of numbers.

    Attributes:
        space: What is searched.
        milestones: Episodes at which a run is scored.
    """

    space: Space
    milestones: tuple[int, ...]

    @classmethod
    def of(cls, study: StudyConfig) -> "Layout":
        """That of a study."""
        return cls(study.space, study.milestone_episodes())

    @property
    def score(self) -> slice:
        """Scores at the milestones."""
        return self._slice(0)

    @property
    def kl(self) -> slice:
        """Held-out KL there."""
        return self._slice(1)

    @property
    def train_kl(self) -> slice:
        """The largest training KL of the interval before each."""
        return self._slice(2)

    @property
    def confirm_score(self) -> int:
        """The score on the prompts of a confirmation."""
        return 3 * len(self.milestones)

    @property
    def confirm_kl(self) -> int:
        """KL there."""
        return self.confirm_score + 1

    @property
    def size(self) -> int:
        """How many numbers a row has."""
        return self.confirm_score + 2

    def _slice(self, group: int) -> slice:
        n = len(self.milestones)
        return slice(group * n, (group + 1) * n)

    def column(self, points: Array, name: str) -> Array:
        """A hyperparameter of some points (N, D), shape (N, 1) or, where it is not searched, (N, 0)."""
        return points[:, [i for i, searched in enumerate(self.space) if searched == name]]

    def span(self, name: str) -> float:
        """Between which values it lies: the logarithm of the upper one over the lower."""
        parameter = self.space[name]
        if isinstance(parameter, CategoricalParam):
            low, high = parameter.choices[0], parameter.choices[-1]
            assert isinstance(low, int | float)
            assert isinstance(high, int | float)
        else:
            low, high = parameter.ends
        return math.log(high / low)


@dataclass(frozen=True)
class Landscape:
    """All recorded runs.

    Attributes:
        points: Where they are in the unit cube of the space, shape (R, D).
        config: Index of the config that each ran, shape (R,).
        numbers: What they came to, shape (R, size of the layout).
        heldout: Scores by held-out prompt at the end, shape (R, prompts).
        confirmed: Scores by prompt of the confirmation, shape (R, prompts).
        untrained: The same of the untrained model, shapes (prompts,).
    """

    points: Array
    config: NDArray[np.int64]
    numbers: Array
    heldout: Array
    confirmed: Array
    untrained: tuple[Array, Array]


def unit_point(space: Space, params: Mapping[str, Any]) -> Array:
    """Where values are in the unit cube of a space, shape (D,); choices stand in a row at equal distances."""
    return np.array([_unit(space[name], params[name]) for name in space])


def _unit(parameter: Param, value: Any) -> float:
    if isinstance(parameter, CategoricalParam):
        return list(parameter.choices).index(value) / (len(parameter.choices) - 1)
    return float(parameter.scale.places(value))


def read_study(path: Path) -> StudyConfig:
    """The study that a landscape was recorded in, as `benchmarks/landscape.py` keeps it in the table's metadata."""
    return StudyConfig.model_validate_json(pq.read_schema(path).metadata[b"study"])


def read_landscape(study: StudyConfig, path: Path = TABLE) -> Landscape:
    """The completed runs of the study that they were recorded in."""
    table = pq.read_table(path, filters=[("ending", "=", "completed")])
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    milestones = study.milestone_episodes()
    scored = [columns["episodes"][0].index(episodes) for episodes in milestones]
    iterations = [episodes // study.ppo.rollout_size for episodes in milestones]
    curves = {name: np.array(columns[name], dtype=float) for name in ("score", "kl", "train_kl")}
    numbers = np.column_stack([
        curves["score"][:, scored],
        scaled_kl(curves["kl"][:, scored]),
        scaled_kl(np.maximum.reduceat(curves["train_kl"], [0, *iterations[:-1]], axis=1)),
        columns["confirm_score"],
        scaled_kl(np.array(columns["confirm_kl"])),
    ])  # fmt: skip
    rows = [{name: columns[name][row] for name in study.space} for row in range(table.num_rows)]
    base = json.loads(table.schema.metadata[b"untrained"])
    return Landscape(
        points=np.stack([unit_point(study.space, row) for row in rows]),
        config=np.unique(columns["config_id"], return_inverse=True)[1],
        numbers=numbers,
        heldout=np.array(columns["heldout_scores_by_prompt"], dtype=float),
        confirmed=np.array(columns["confirm_scores_by_prompt"], dtype=float),
        untrained=(np.array(base["heldout_scores"]), np.array(base["confirm_scores"])),
    )
