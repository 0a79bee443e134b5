"""Configs trained on fresh seeds and judged by what chose nothing of them, side by side in one pack."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ppo_tune.config.study import StudyConfig
from ppo_tune.data.draws import Draws
from ppo_tune.errors import TrialError
from ppo_tune.search.certainty import Scores
from ppo_tune.seeding import derive_seed
from ppo_tune.trainer.assembly import assemble, evaluator_for
from ppo_tune.trainer.evaluation import Evaluation

Params = Mapping[str, Any]


@dataclass(frozen=True)
class End:
    """What a training came to, on all prompts of the confirmation split.

    Attributes:
        scores: By prompt; of a training that failed, the untrained model's.
        judges: What each judge says likewise.
        kl: In nats per response; of a training that failed, the KL limit.
    """

    scores: Scores
    judges: Mapping[str, Scores]
    kl: float

    @property
    def score(self) -> float:
        """Mean over prompts."""
        return float(self.scores.mean())


@dataclass(frozen=True)
class Fresh:
    """The untrained model, and what became of each config on each seed."""

    untrained: End
    ends: Sequence[Sequence[End]]


def judge_fresh(study: StudyConfig, configs: Sequence[Params], *, seeds: int, label: str) -> Fresh:
    """Train configs for a trial's episodes, whatever their KL, on seeds and random numbers of a label.

    Args:
        study: Says everything but the searched values.
        configs: The searched values.
        seeds: How many per config.
        label: Names the random numbers; no search draws them.
    """
    runs = [(params, seed) for params in configs for seed in range(seeds)]
    work = assemble(study, places=len(runs))
    trainer, draws = work.trainer, Draws("confirmation", sys.maxsize, derive_seed(study.search.seed, label))
    evaluator = evaluator_for(work.policy, work.task, study, draws)
    work.policy.reset(0, torch.Generator())
    heldout, untrained = work.evaluator([0])[0], evaluator([0])[0]
    assert isinstance(heldout, Evaluation) and isinstance(untrained, Evaluation)
    for place, (params, seed) in enumerate(runs):
        drawn = derive_seed(study.search.seed, label, seed)
        trainer.start(place, study.ppo.with_params(params), drawn, score_std=heldout.score_std or 1.0)
    failed: set[int] = set()
    for _ in range(study.ppo.iterations):
        failed |= {place for place, told in trainer.step().items() if isinstance(told, TrialError)}
    judged = evaluator([place for place in range(len(runs)) if place not in failed])
    base, ends = _end(untrained), list[End]()
    for place in range(len(runs)):
        said = judged.get(place)
        ends.append(
            _end(said)
            if isinstance(said, Evaluation)
            else End(base.scores, base.judges, study.search.kl_ceiling)
        )
    return Fresh(base, [ends[start : start + seeds] for start in range(0, len(runs), seeds)])


def _end(said: Evaluation) -> End:
    names = said.judges
    return End(
        np.array([sample.score for sample in said.samples]),
        {name: np.array([sample.judges[name] for sample in said.samples]) for name in names},
        said.kl_per_sequence,
    )
