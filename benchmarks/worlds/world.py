"""The recorded landscape as a world to search in: true means of every config, and runs that scatter around them.

Means are a surrogate's, Gaussian process (`gp`) or extra-trees (`trees`). What a run adds to them was recorded: it is
the deviation of one of the runs of a config like it from their mean, so numbers of a run keep their correlations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.worlds.extra_trees import ExtraTrees
from benchmarks.worlds.gaussian_process import GaussianProcess
from benchmarks.worlds.table import Array, Landscape, Layout, nats, read_landscape, unit_point
from ppo_tune.config.study import StudyConfig

SURROGATES: Mapping[str, type[GaussianProcess] | type[ExtraTrees]] = {
    "gp": GaussianProcess,
    "trees": ExtraTrees,
}

NEIGHBOURS = 16
"""Configs whose runs lend a config their deviations."""

POINTS = 16_000
"""Random configs among which the best feasible one is looked for."""

TOLERANCE = 1.1
"""A config that is named counts up to so many KL budgets: a `tolerant` value. The strict value allows one."""


@dataclass(frozen=True)
class Run:
    """What one run of a config would come to.

    Attributes:
        score: At the milestones, shape (milestones,).
        kl: Held-out KL there, in nats per response.
        train_kl: The largest training KL of each interval.
        confirm_kl: KL on the prompts of a confirmation.
        heldout: Scores by held-out prompt around their mean, shape (prompts,).
        confirmed: Scores by prompt of a confirmation, shape (prompts,).
        final: Scores by prompt of the end of a trial, on as many held-out prompts as a confirmation has.
        final_kl: KL on these.
    """

    score: Array
    kl: Array
    train_kl: Array
    confirm_kl: float
    heldout: Array
    confirmed: Array
    final: Array
    final_kl: float


@dataclass(frozen=True)
class Truth:
    """Expected score and KL of a config on prompts and seeds that chose nothing."""

    score: float
    kl: float


class World:
    """Configs of a study's space, and what they come to.

    Args:
        study: The study that the landscape was recorded in.
        kind: Which surrogate has the means.
        landscape: The recorded runs; None for those of the repository.

    Attributes:
        untrained: Scores by prompt of the untrained model, shape (256,).
    """

    def __init__(self, study: StudyConfig, kind: str, landscape: Landscape | None = None) -> None:
        self.study, self.layout = study, Layout.of(study)
        recorded = landscape or read_landscape(study)
        self.untrained = recorded.untrained[1]
        runs = np.bincount(recorded.config)
        rows = [np.flatnonzero(recorded.config == config) for config in range(len(runs))]
        points = np.stack([recorded.points[own[0]] for own in rows])
        means = np.stack([recorded.numbers[own].mean(0) for own in rows])
        self.surrogate = SURROGATES[kind](self.layout, points, means, runs.astype(float))

        self._repeated = [(own, mean) for own, mean in zip(rows, means, strict=True) if len(own) > 1]
        within = nats(means[:, self.layout.confirm_kl]) <= study.search.kl_budget
        self._unit = means[within, self.layout.score][:, -1].std()
        places = points[runs > 1]
        self._likeness = self._traits(places, self.surrogate.predict(places))
        self.deviations = {
            row: (recorded.numbers[row] - mean) * (len(own) / (len(own) - 1)) ** 0.5
            for own, mean in self._repeated
            for row in own
        }
        self._by_prompt = (_centred(recorded.heldout), _centred(recorded.confirmed))
        few, many = recorded.heldout.shape[1], recorded.confirmed.shape[1]
        self._other_prompts = (2 / many / (1 / few + 1 / many)) ** 0.5  # by the variances of such differences

    def truth(self, params: Mapping[str, Any]) -> Truth:
        """What a config is worth."""
        mean = self.surrogate.predict(unit_point(self.study.space, params)[None])[0]
        return Truth(float(mean[self.layout.confirm_score]), float(nats(mean[self.layout.confirm_kl])))

    def draw(self, params: Mapping[str, Any], rng: np.random.Generator) -> Run:
        """One run of a config."""
        point = unit_point(self.study.space, params)[None]
        mean = self.surrogate.predict(point)
        distance = ((self._likeness - self._traits(point, mean)) ** 2).sum(1)
        nearest = np.arange(len(distance))
        if len(distance) > NEIGHBOURS:
            nearest = np.argpartition(distance, NEIGHBOURS)[:NEIGHBOURS]
        like, _ = self._repeated[rng.choice(nearest)]
        row = rng.choice(like)
        numbers = mean[0] + self.deviations[row]
        heldout, confirmed = (scores[row] for scores in self._by_prompt)
        at = self.layout
        there = [at.confirm_score, at.confirm_kl]
        final = numbers[there] + self._other_prompts * (
            mean[0][[at.score.stop - 1, at.kl.stop - 1]] - mean[0][there]
        )
        return Run(
            score=numbers[self.layout.score],
            kl=nats(numbers[self.layout.kl]),
            train_kl=nats(numbers[self.layout.train_kl]),
            confirm_kl=float(nats(numbers[self.layout.confirm_kl])),
            heldout=heldout,
            confirmed=confirmed + numbers[self.layout.confirm_score],
            final=confirmed + final[0],
            final_kl=float(nats(final[1])),
        )

    def _traits(self, points: Array, means: Array) -> Array:
        """By what configs scatter alike: scores at the end and half-way, KL, learning rate and batch."""
        scores, kl = means[:, self.layout.score] / self._unit, means[:, self.layout.kl]
        rate, batch = (self.layout.column(points, name) for name in ("learning_rate", "batch_size"))
        return np.column_stack([scores[:, -1], scores[:, scores.shape[1] // 2], kl[:, -1], rate, batch / 2])

    @cached_property
    def scale(self) -> "Scale":
        """From true scores to values."""
        rng = np.random.default_rng(5)
        space = self.study.space
        points = rng.random((POINTS, len(space)))
        for column, name in enumerate(space):
            parameter = space[name]
            if parameter.type == "categorical":
                n = len(parameter.choices)
                points[:, column] = np.floor(points[:, column] * n) / (n - 1)
        means = np.concatenate([self.surrogate.predict(part) for part in np.array_split(points, 16)])
        within = nats(means[:, self.layout.confirm_kl]) <= self.study.search.kl_budget
        best = int(np.where(within, means[:, self.layout.confirm_score], -np.inf).argmax())
        return Scale(
            default=self.truth(self.study.baseline).score,
            best=float(means[best, self.layout.confirm_score]),
            best_point=points[best],
            kl_budget=self.study.search.kl_budget,
        )


@dataclass(frozen=True)
class Scale:
    """Values of true scores: 0 is the default config, 1 the best one within the KL budget.

    Attributes:
        default: True score of the default config.
        best: Of the best one.
        best_point: Where that is in the unit cube.
        kl_budget: In nats per response.
    """

    default: float
    best: float
    best_point: NDArray[np.float64]
    kl_budget: float

    def value(self, truth: Truth, tolerance: float = TOLERANCE) -> float:
        """What naming a config gains; nothing for one beyond the KL budget."""
        gained = (truth.score - self.default) / (self.best - self.default)
        return 0.0 if self.is_beyond(truth, tolerance) else gained

    def is_beyond(self, truth: Truth, tolerance: float = TOLERANCE) -> bool:
        """Whether a config leaves so many KL budgets."""
        return truth.kl > tolerance * self.kl_budget

    def is_better(self, truth: Truth) -> bool:
        """Whether a config is truly better than the default, within the tolerance."""
        return self.value(truth) > 0


def _centred(scores: Array) -> Array:
    return np.asarray(scores - scores.mean(1, keepdims=True))
