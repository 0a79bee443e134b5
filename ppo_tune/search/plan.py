"""What a set of workers has to do: which trials there are to train, and how each is begun.

A search proposes trials until its budget is reached; a confirmation (`ppo_tune.search.confirmation`) runs known
configs again. Workers and their supervisor are the same for both and only ask a plan.
"""

import time
from abc import ABC, abstractmethod
from pathlib import Path

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import Trial

from ppo_tune.config.study import StudyConfig
from ppo_tune.data.draws import Draws, milestone_draws
from ppo_tune.search.budget import Budget
from ppo_tune.search.facts import Owner, StudyFacts, TrialFacts
from ppo_tune.search.pack_size import most_under_way
from ppo_tune.search.pruners import make_pruner
from ppo_tune.search.samplers import make_sampler, needs_results
from ppo_tune.search.storage import ask_as
from ppo_tune.seeding import derive_seed


class Plan(ABC):
    """A study's work; it can be sent to another process.

    Attributes:
        config: The experiment, as this work is done.
        study_name: In the store.
        workers: How many workers share it.
        budget: What it may cost.
    """

    def __init__(self, config: StudyConfig, workers: int = 1, budget: Budget | None = None) -> None:
        self.config = config
        self.study_name = config.name
        self.workers = workers
        self.budget = Budget(config) if budget is None else budget

    @abstractmethod
    def remaining(self, study: Study) -> int:
        """How many trials are still to be given out."""

    @abstractmethod
    def ask(self, study: Study, under_way: int, owner: Owner) -> Trial | None:
        """The next trial of a worker that has so many under way, or None when all are given out, or for now.

        One process at a time may ask.
        """

    @property
    def draws(self) -> Draws:
        """The prompts and random numbers by which its trials are scored."""
        return milestone_draws(self.config)

    def begin(self, study: Study, folder: Path) -> None:  # noqa: B027 most plans need nothing
        """Called once by every worker that is ready to train; `folder` gets the files of its trials."""

    def completed(self, study: Study) -> None:  # noqa: B027 most plans need nothing
        """Called by a worker that has told a completed trial."""

    def end(self, study: Study) -> None:  # noqa: B027
        """Called by a worker that has nothing more to train."""

    @abstractmethod
    def seed(self, trial: Trial) -> int:
        """Decides all random numbers of a trial."""

    def label(self, trial: Trial) -> str:
        """What a person calls a trial."""
        return f"trial {trial.number}"

    def pruner(self) -> BasePruner:
        """The pruner of its trials."""
        return make_pruner(self.config.search.pruner, len(self.config.milestone_episodes()))


RANKING_SHARE = 0.01
"""Of a worker's time."""


class SearchPlan(Plan):
    """Propose trials until the study's budget is reached."""

    _next_ranking = 0.0

    def remaining(self, study: Study) -> int:
        """What is left of the budget."""
        return self.budget.remaining(study)

    def ask(self, study: Study, under_way: int, owner: Owner) -> Trial | None:
        """The sampler's next proposal; none while a worker with enough under way would learn from more results."""
        most = most_under_way(self.config, self.workers)
        if most is not None and under_way >= most and needs_results(study, self.config.search.sampler):
            return None
        if self.remaining(study) == 0:
            return None
        study.sampler = make_sampler(self.config, len(study.get_trials(deepcopy=False)))
        return ask_as(study, self.config.space, owner)

    def completed(self, study: Study) -> None:
        """Rank the trials again, unless that took too much of the time lately and the file asks for no end by it."""
        started = time.monotonic()
        if started >= self._next_ranking or self.config.search.stop_when_no_gain:
            self.end(study)
            self._next_ranking = started + (time.monotonic() - started) / RANKING_SHARE

    def end(self, study: Study) -> None:
        """Rank the trials, and see whether more of them promise anything where the file asks for that."""
        # Waits for torch, which a worker has.
        from ppo_tune.search.stopping import note_no_gain
        from ppo_tune.search.surrogate import rank

        rank(study, self.config)
        if self.config.search.stop_when_no_gain and not StudyFacts(study).no_gain:
            note_no_gain(study, self.config)

    def seed(self, trial: Trial) -> int:
        """By the trial's number; a trial that runs again keeps that of the first time."""
        return derive_seed(self.config.search.seed, "trial", TrialFacts(trial).origin)
