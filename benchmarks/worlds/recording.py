"""Training runs as rows of a landscape: at twice the milestones of their study, not pruned and under no KL limit.

Columns are those of `benchmarks/landscape.md`. A run that fails keeps what it came to before.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ppo_tune.config.study import StudyConfig
from ppo_tune.data.draws import Draws, confirmation_draws, milestone_draws
from ppo_tune.errors import TrialError
from ppo_tune.seeding import derive_seed
from ppo_tune.trainer.assembly import assemble, evaluator_for
from ppo_tune.trainer.evaluation import Evaluation, Evaluator
from ppo_tune.trainer.trainer import Metrics

Row = dict[str, Any]
"""A run, by the names of the columns."""

DEFAULT_ID = -1
"""The `config_id` of the default config."""

DIGITS, DIGITS_BY_PROMPT = 4, 3
"""Decimals that are kept of a number, and of the scores by prompt."""


@dataclass(frozen=True)
class Job:
    """A run to be recorded: a config by its id, which of its runs, and the searched values."""

    config_id: int
    rep: int
    params: Mapping[str, Any]

    @property
    def seed(self) -> int:
        """Decides all random numbers of the run."""
        place = "common" if self.config_id == DEFAULT_ID else self.config_id
        return derive_seed("landscape", place, self.rep)

    @property
    def design(self) -> str:
        """Where the config comes from."""
        return "default" if self.config_id == DEFAULT_ID else "sobol"


def recorded_episodes(study: StudyConfig) -> tuple[int, ...]:
    """Episodes at which a run is scored: the study's milestones, and half-way between two."""
    search = study.search.model_copy(update={"milestones": 2 * study.search.milestones})
    return study.model_copy(update={"search": search}).milestone_episodes()


@dataclass
class _Run:
    """A run under way."""

    job: Job
    places: int
    curves: dict[str, list[float]] = field(default_factory=dict)
    row: Row = field(default_factory=dict)
    failure: TrialError | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def n_scored(self) -> int:
        return len(self.curves.get("episodes", ()))

    def _add(self, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self.curves.setdefault(name, []).append(round(number, DIGITS))

    def train(self, result: Metrics | TrialError) -> None:
        """Keep what an iteration's rollout came to."""
        if isinstance(result, TrialError):
            self.failure = result
            return
        self._add({
            "train_kl": result["objective/kl_per_sequence"],
            "train_score": result["objective/score_mean"],
            "entropy": result["policy/entropy_per_token"],
        })  # fmt: skip

    def judge(self, judged: Evaluation | TrialError, episodes: int) -> None:
        """Keep a point of the curve."""
        if isinstance(judged, TrialError):
            self.failure = judged
            return
        self._add({
            "episodes": episodes,
            **_numbers(judged),
            "score_se": judged.score_standard_error,
            **{f"{name}_se": judge.standard_error for name, judge in judged.judges.items()},
        })  # fmt: skip
        self.row["heldout_scores_by_prompt"] = scores_by_prompt(judged)

    def end(self, other: Evaluation | TrialError, confirmed: Evaluation | TrialError) -> None:
        """Keep what the last policy comes to on other random numbers, and on the prompts of a confirmation."""
        for judged in (other, confirmed):
            if isinstance(judged, TrialError):
                self.failure = judged
                return
        assert isinstance(other, Evaluation)
        assert isinstance(confirmed, Evaluation)
        said = {f"confirm_{name}": round(number, DIGITS) for name, number in _numbers(confirmed).items()}
        self.row |= {
            "heldout_other_sampling": round(other.score, DIGITS),
            **said,
            "confirm_tokens": said.pop("confirm_response_tokens"),
            "confirm_scores_by_prompt": scores_by_prompt(confirmed),
        }

    def finish(self) -> Row:
        """The run as a row."""
        last = ("score", "kl", *(name.removesuffix("_se") for name in self.curves if name.endswith("_se")))
        return {
            "config_id": self.job.config_id,
            "rep": self.job.rep,
            "seed": self.job.seed,
            **self.job.params,
            "ending": "completed" if self.failure is None else self.failure.ending,
            "reason": "" if self.failure is None else str(self.failure),
            "pack": self.places,
            "seconds": round(time.monotonic() - self.started, 2),
            "design": self.job.design,
            **self.curves,
            **{f"final_{name}": self.curves[name][-1] for name in last if self.failure is None},
            **self.row,
        }


def _numbers(judged: Evaluation) -> dict[str, float]:
    return {
        "score": judged.score,
        **{name: judge.mean for name, judge in judged.judges.items()},
        "kl": judged.kl_per_sequence,
        "response_tokens": judged.response_tokens,
    }


def scores_by_prompt(judged: Evaluation) -> list[float]:
    """As they are kept."""
    return [round(sample.score, DIGITS_BY_PROMPT) for sample in judged.samples]


class Recorder:
    """A model in whose places runs are trained and scored.

    Args:
        study: Whose task, model and fixed values.
        places: How many runs are trained side by side.

    Attributes:
        judges: Names of the judges beside the score.
        untrained: What the untrained model comes to, by names of the table's metadata.
    """

    def __init__(self, study: StudyConfig, places: int) -> None:
        self.study, self.episodes = study, recorded_episodes(study)
        trial = milestone_draws(study)
        usual = Draws(trial.split, trial.on_the_way or trial.n_prompts, trial.seed)
        self.work = assemble(study, draws=usual, places=places)
        self.judges = tuple(self.work.task.beside)
        self.other = self._evaluator(Draws(usual.split, usual.n_prompts, derive_seed(usual.seed, "other")))
        self.confirming = self._evaluator(confirmation_draws(study))
        self.work.policy.reset(0, torch.Generator())
        heldout, confirmed = self._untrained(self.work.evaluator), self._untrained(self.confirming)
        self.score_std = heldout.score_std or 1.0
        self.untrained = {
            "heldout_scores": scores_by_prompt(heldout),
            "confirm_scores": scores_by_prompt(confirmed),
        }

    def _evaluator(self, draws: Draws) -> Evaluator:
        return evaluator_for(self.work.policy, self.work.task, self.study, draws)

    def _untrained(self, evaluator: Evaluator) -> Evaluation:
        judged = evaluator([0])[0]
        if isinstance(judged, TrialError):
            raise judged
        return judged

    def record(self, jobs: Iterable[Job]) -> Iterator[Row]:
        """Train and score runs, in the order in which they end; a place whose run has ended takes the next."""
        trainer, left, runs = self.work.trainer, iter(jobs), dict[int, _Run]()
        while True:
            for place, job in zip(trainer.free_places, left):  # noqa: B905 whichever is fewer
                config = self.study.ppo.with_params(job.params)
                trainer.start(place, config, job.seed, score_std=self.score_std)
                runs[place] = _Run(job, trainer.policy.places)
            if not runs:
                return
            self._advance(runs)
            for place in [place for place, run in runs.items() if self._is_over(run)]:
                trainer.drop(place)
                yield runs.pop(place).finish()

    def _is_over(self, run: _Run) -> bool:
        return run.failure is not None or run.n_scored == len(self.episodes)

    def _advance(self, runs: Mapping[int, _Run]) -> None:
        """One iteration of every run, and the points of those that are due."""
        trained = self.work.trainer
        for place, result in trained.step().items():
            runs[place].train(result)
        due = [
            place
            for place, run in runs.items()
            if not run.failure and trained.runs[place].episodes >= self.episodes[run.n_scored]
        ]
        for place, judged in self._judge(self.work.evaluator, due).items():
            runs[place].judge(judged, self.episodes[runs[place].n_scored])
        ended = [place for place in due if not runs[place].failure and self._is_over(runs[place])]
        others, confirmed = self._judge(self.other, ended), self._judge(self.confirming, ended)
        for place in ended:
            runs[place].end(others[place], confirmed[place])

    def _judge(self, evaluator: Evaluator, places: list[int]) -> dict[int, Evaluation | TrialError]:
        return evaluator(sorted(places)) if places else {}
