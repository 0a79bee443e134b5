"""The trainer and the evaluator of a world in which nothing is trained: a trial reads what it comes to from a run.

`TrialPack` takes an `Assembly`; this is one as far as it can see, so that asking, reporting, pruning and telling are
the product's own code.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np

from benchmarks.worlds.table import Array
from benchmarks.worlds.world import Run, World
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.search import trial_loop
from ppo_tune.search.plan import Plan
from ppo_tune.search.trial_loop import TrialPack
from ppo_tune.trainer.evaluation import Evaluation, Sample


def marks(milestones: tuple[int, ...]) -> list[int]:
    """Episodes after each step: half an interval. Who passes the KL limit within one does so in its middle."""
    before = (0, *milestones)
    return [mark for low, high in pairwise(before) for mark in ((low + high) // 2, high)]


@dataclass
class Trained:
    """A trial under way, as much of it as `TrialPack` reads."""

    config: PPOConfig
    score_std: float
    run: Run
    marks: Sequence[int]
    steps: int = 0

    @property
    def episodes(self) -> int:
        """Responses it was trained on so far."""
        return self.marks[self.steps - 1] if self.steps else 0

    @property
    def tokens(self) -> int:
        """Tokens of them; nobody counts them here."""
        return self.episodes


class Trainer:
    """Trials of a world, step by step.

    Args:
        world: What they come to.
        places: How many are trained side by side.
    """

    def __init__(self, world: World, places: int) -> None:
        self.world = world
        self.places = places
        self.runs: dict[int, Trained] = {}
        self._marks = marks(world.layout.milestones)

    @property
    def free_places(self) -> list[int]:
        """Places without a trial."""
        return [place for place in range(self.places) if place not in self.runs]

    def start(
        self, place: int, config: PPOConfig, seed: int, *, score_std: float = 1.0, adapters: None = None
    ) -> None:
        """Begin a trial. The same seed is another run for another config, or twins would share their luck."""
        assert adapters is None, "no run was recorded of other adapters than the study's"
        params = {name: getattr(config, name) for name in self.world.study.space}
        rng = np.random.default_rng([seed, *repr(params).encode()])
        self.runs[place] = Trained(config, score_std, self.world.draw(params, rng), self._marks)

    def step(self) -> dict[int, dict[str, float]]:
        """Train every trial on some episodes; says what their rollouts came to."""
        found = {}
        for place, trained in self.runs.items():
            interval = trained.steps // 2
            trained.steps += 1
            found[place] = {
                "episodes": trained.episodes,
                "objective/kl_per_sequence": float(trained.run.train_kl[interval]),
            }
        return found

    def drop(self, place: int) -> None:
        """Free a place."""
        del self.runs[place]


class Evaluator:
    """Scores the trials of a trainer, by the prompts of the milestones or of a confirmation.

    Args:
        trainer: Whose trials.
        confirms: Whether they are runs of a confirmation.
    """

    def __init__(self, trainer: Trainer, *, confirms: bool) -> None:
        self.trainer = trainer
        self.confirms = confirms

    def __call__(self, places: Iterable[int], *, n_prompts: int | None = None) -> dict[int, Evaluation]:
        """The evaluation of each place, on so many prompts; without a trial it has the untrained model."""
        return {place: self._judge(self.trainer.runs.get(place), n_prompts) for place in places}

    def _judge(self, trained: Trained | None, n_prompts: int | None) -> Evaluation:
        if trained is None:
            return _evaluation(self.trainer.world.untrained, 0.0)
        run, milestone = trained.run, trained.steps // 2 - 1
        if self.confirms:
            return _evaluation(run.confirmed, run.confirm_kl)
        if n_prompts is None or n_prompts > len(run.heldout):
            return _evaluation(run.final, run.final_kl)
        return _evaluation(run.heldout + run.score[milestone], float(run.kl[milestone]))


def _evaluation(scores: Array, kl: float) -> Evaluation:
    error = float(scores.std(ddof=1) / len(scores) ** 0.5)
    samples = tuple(Sample("", "", score) for score in scores.tolist())
    return Evaluation(float(scores.mean()), error, kl, 0.0, 1.0, samples, score_std=float(scores.std()))


def stand_in_pack(plan: Plan, folder: Path, world: World) -> TrialPack:
    """A pack of a plan's trials in which nothing is trained, as large as its study asks for."""
    places = plan.config.search.pack
    assert places != "auto", "nothing is timed here"
    trainer = Trainer(world, places)
    made = SimpleNamespace(
        policy=SimpleNamespace(adapters=None, reset=lambda *_: None),
        task=SimpleNamespace(beside={}),
        trainer=trainer,
        evaluator=Evaluator(trainer, confirms=plan.draws.split == "confirmation"),
        of_prompts=(),
    )
    with mock.patch.object(trial_loop, "assemble", return_value=made):
        return TrialPack(plan, folder, places=places)
