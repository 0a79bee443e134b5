"""The recorded landscape: one training run per row of `benchmarks/landscape.parquet`, see `benchmarks/landscape.md`.

A run is a row of numbers at the quickstart's ten milestones, in an order that the properties of `Numbers` name. KL is
kept on a scale that is linear near 0 and logarithmic above, on which its noise is about the same everywhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ppo_tune.config.space import Space

Array = NDArray[np.float64]

TABLE = Path(__file__).parent.parent / "landscape.parquet"

MILESTONES = 10

INTERVAL = 4
"""Iterations from one milestone to the next."""

SCORE, KL, TRAIN_KL = (slice(MILESTONES * i, MILESTONES * (i + 1)) for i in range(3))
CONFIRM_SCORE, CONFIRM_KL = 3 * MILESTONES, 3 * MILESTONES + 1
N_NUMBERS = 3 * MILESTONES + 2

KL_UNIT = 0.25
"""Nats per response up to which the scale of KL is about linear."""


def scaled_kl(kl: Any) -> Any:
    """From nats to the scale on which KL is kept."""
    return np.log1p(np.maximum(kl, -0.8 * KL_UNIT) / KL_UNIT)


def nats(scaled: Any) -> Any:
    """What `scaled_kl` scaled."""
    return KL_UNIT * np.expm1(scaled)


@dataclass(frozen=True)
class Landscape:
    """All recorded runs.

    Attributes:
        points: Where they are in the unit cube of the space, shape (R, D).
        config: Index of the config that each ran, shape (R,).
        numbers: What they came to, shape (R, N_NUMBERS): score at the milestones, held-out KL there, the largest
            training KL of each interval, and score and KL on the prompts of a confirmation.
        heldout: Scores by held-out prompt at the end, shape (R, 64).
        confirmed: Scores by prompt of the confirmation, shape (R, 256).
        untrained: The same of the untrained model, (64,) and (256,).
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


def _unit(parameter: Any, value: Any) -> float:
    if parameter.type == "categorical":
        return list(parameter.choices).index(value) / (len(parameter.choices) - 1)
    low, high = parameter.ends
    if parameter.log:
        low, high, value = np.log((low, high, value))
    return float((value - low) / (high - low))


def read_landscape(space: Space, path: Path = TABLE) -> Landscape:
    """The recorded runs, placed in the space of the study that they were recorded in."""
    table = pq.read_table(path)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    curves = {name: np.array(columns[name], dtype=float) for name in ("score", "kl", "train_kl")}
    numbers = np.column_stack([
        curves["score"][:, 1::2],
        scaled_kl(curves["kl"][:, 1::2]),
        scaled_kl(curves["train_kl"].reshape(-1, MILESTONES, INTERVAL).max(2)),
        columns["confirm_score"],
        scaled_kl(np.array(columns["confirm_kl"])),
    ])  # fmt: skip
    rows = [{name: columns[name][row] for name in space} for row in range(table.num_rows)]
    base = json.loads(table.schema.metadata[b"untrained"])
    return Landscape(
        points=np.stack([unit_point(space, row) for row in rows]),
        config=np.unique(columns["config_id"], return_inverse=True)[1],
        numbers=numbers,
        heldout=np.array(columns["heldout_scores_by_prompt"], dtype=float),
        confirmed=np.array(columns["confirm_scores_by_prompt"], dtype=float),
        untrained=(np.array(base["heldout_scores"]), np.array(base["confirm_scores"])),
    )
