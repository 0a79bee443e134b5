"""When a search ends: by its trials, episodes or seconds, whichever comes first, and its confirmation is paid for.

Costs are in full trials' worth of episodes. All is read from the store, so that several workers, and calls one after
the other, share one budget.
"""

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.calling import place_of
from ppo_tune.config.methods import LEAST, Size
from ppo_tune.config.study import DEFAULT_N_TRIALS, StudyConfig
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.plurals import counted
from ppo_tune.search.facts import StudyFacts, TrialFacts
from ppo_tune.search.pruners import expected_cost
from ppo_tune.search.results import best_trials, cells_left, count_endings, ending_of, was_lost
from ppo_tune.search.storage import confirmation_study


@dataclass(frozen=True)
class Budget:
    """What one call may spend on a study.

    Attributes:
        config: The experiment.
        deadline: When the seconds are over, by `time.time`; infinite without a limit.
        began: When the call did.
    """

    config: StudyConfig
    deadline: float = math.inf
    began: float = field(default_factory=time.time)

    @classmethod
    def of(cls, config: StudyConfig, study: Study) -> "Budget":
        """The budget of a call that begins now: the seconds of earlier calls are gone."""
        if config.search.max_seconds is None:
            return cls(config)
        now = time.time()
        return cls(config, now + config.search.max_seconds - training_seconds(all_trials(study)), now)

    @property
    def is_late(self) -> bool:
        """Whether the seconds are over."""
        return time.time() >= self.deadline

    def remaining(self, study: Study) -> int:
        """How many trials may still begin, as far as can be told; 0 only where none may."""
        if self._no_gain(study):
            return 0
        every = (self._trials_left(study), self._cells_left(study), self._affordable(study))
        limits = [n for n in every if n is not None]
        return max(min(limits), 0) if limits else expected_trials(self.config)

    def confirmation(self, study: Study) -> Size:
        """What is confirmed after the search: as much as a quarter of the episodes, and what is left, pays for."""
        worth, total = trials_worth(study, self.config), self._total(study)
        if total is None:
            return self.config.search.confirmation(worth)
        part, size = self.config.search.split(total)
        if not size.top:
            return size
        size = self.config.search.confirmation(min(worth, part))
        whole, runs = self.config.ppo.episodes, confirmation_runs(study)
        return (
            self._on_top(study, size, total - worth - sum(map(episodes_of, runs)) / whole) if runs else size
        )

    def _on_top(self, study: Study, size: Size, left: float) -> Size:
        """As much of a confirmation as can be paid for on top of an earlier one; all that the file demands."""
        if "auto" not in (self.config.search.confirm_top, self.config.search.confirm_seeds):
            return size
        begun = Counter(TrialFacts(run).confirms for run in confirmation_runs(study) if not was_lost(run))
        before, best = max(begun.values(), default=0), best_trials(study)
        for top, seeds in itertools.product(range(size.top, 0, -1), range(size.seeds, LEAST.seeds - 1, -1)):
            each = max(seeds, before)
            if sum(max(each - begun[n], 0) for n in {*begun, *(t.number for t in best[:top])}) < left + 0.5:
                return Size(top, seeds)
        return Size(0, 0)

    def why_over(self, study: Study) -> str:
        """What ended the search besides its total of trials, as a sentence; empty if nothing did."""
        if self._trials_left(study) == 0:
            return ""
        if self._affordable(study) != 0:
            return self._no_gain(study)
        trials, search = study.get_trials(deepcopy=False), self.config.search
        begun = sum(t.state.is_finished() and not was_lost(t) for t in trials)
        n_episodes = sum(map(episodes_of, trials))
        spent = f"{counted(n_episodes, 'episode')} in {training_seconds(trials):,.0f} seconds of training"
        again = sum(t.state is TrialState.WAITING and TrialFacts(t).origin != t.number for t in trials)
        given_back = f"; {again} under way were given back" if again else ""
        if not self.is_by_seconds(study):
            limit = f"max_episodes {search.max_episodes:,}"
            return f"{limit} ended the search after {counted(begun, 'trial')}, {spent}{given_back}"
        limit = f"max_seconds {round(search.max_seconds or 0, 1):g}"
        start_up = self._start_up(study)
        if not begun and start_up is None:
            gone = f"{time.time() - self.began:,.0f} seconds"
            return f"{limit} ended the search before a trial began: start-up alone took {gone}{given_back}"
        waited = "" if start_up is None or start_up < 1 else f" and {start_up:,.0f} of start-up"
        return f"{limit} ended the search after {counted(begun, 'trial')}, {spent}{waited}{given_back}"

    def is_by_seconds(self, study: Study) -> bool:
        """Whether it is the seconds that limit the study, and not its episodes."""
        pace, episodes = self._by_pace(study), self._by_episodes
        if math.isinf(self.deadline):
            return False
        return self.is_late or episodes is None or (pace is not None and pace < episodes)

    def _no_gain(self, study: Study) -> str:
        """That one more trial promises next to nothing, as a sentence, where that ends the search; else empty."""
        return StudyFacts(study).no_gain if self.config.search.stop_when_no_gain else ""

    def _trials_left(self, study: Study) -> int | None:
        """By the total of trials, which those that were lost and run again do not count for."""
        if self.config.n_trials is None:
            return None
        return self.config.n_trials - begun_trials(study)

    def _cells_left(self, study: Study) -> int | None:
        """By the cells of a grid, those of waiting trials among them; None for other samplers."""
        if not self.config.search.sampler.exhaustive:
            return None
        return cells_left(self.config, study) + len(
            study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        )

    def _affordable(self, study: Study) -> int | None:
        """By episodes and seconds, at what a trial has cost so far; None where nothing limits them yet.

        A trial under way counts as what those have cost that came farther. One more begins while half of it fits.
        """
        if self.is_late:
            return 0
        total = self._total(study)
        if total is None:
            return None
        part, _ = self.config.search.split(total)
        whole, trials = self.config.ppo.episodes, study.get_trials(deepcopy=False)
        confirmed = sum(map(episodes_of, confirmation_runs(study))) / whole
        allowed = min(part, total - confirmed)  # an earlier confirmation may have taken more than its part
        over = [t for t in trials if t.state.is_finished()]
        costs = [episodes_of(t) / whole for t in over if not was_lost(t)]
        running = [episodes_of(t) / whole for t in trials if t.state is TrialState.RUNNING]
        committed = sum(episodes_of(t) for t in over) / whole
        committed += sum(_usual([cost for cost in costs if cost > done]) for done in running)
        return max(math.floor((allowed - committed) / _usual([cost for cost in costs if cost]) + 0.5), 0)

    def _total(self, study: Study) -> float | None:
        """What the study may cost in all, its confirmation included; None without a limit, or before one is known."""
        totals = (self._by_episodes, self._by_pace(study))
        return min((total for total in totals if total is not None), default=None)

    @property
    def _by_episodes(self) -> float | None:
        """What the study may cost in all by its episodes; None without a limit."""
        limit = self.config.search.max_episodes
        return None if limit is None else limit / self.config.ppo.episodes

    def _by_pace(self, study: Study) -> float | None:
        """What fits into the seconds in all, at the pace so far; None without a limit, or before there is a pace.

        Workers are started once more for the confirmation.
        """
        if math.isinf(self.deadline):
            return None
        trials = all_trials(study)
        worth, seconds = sum(map(episodes_of, trials)) / self.config.ppo.episodes, training_seconds(trials)
        if not worth or not seconds:
            return None
        start_up = self._start_up(study) or 0.0
        return worth + max(self.deadline - time.time() - start_up, 0.0) * worth / seconds

    def _start_up(self, study: Study) -> float | None:
        """Seconds before the call's first trial began; None where none has."""
        begins = (t.datetime_start.timestamp() for t in all_trials(study) if t.datetime_start)
        return min((begin - self.began for begin in begins if begin >= self.began), default=None)


def extended(
    config: StudyConfig,
    study: Study,
    *,
    trials: int | None = None,
    episodes: int | None = None,
    seconds: float | None = None,
) -> StudyConfig:
    """A study's experiment with so much more to spend than it has spent; the first of these limits ends it, no other.

    Args:
        config: The experiment; without any number it stays as it is.
        study: What was made of it so far.
        trials: So many more, those under way or given back aside.
        episodes: So many more, the confirmation's included.
        seconds: So many more, the confirmation's included.

    Raises:
        ConfigError: If one of the numbers is not above 0, the study is a grid without a cell left, or the episodes are
            less than half of a trial's.
    """
    if trials is episodes is seconds is None:
        return config
    more = {"trials": trials, "episodes": episodes, "seconds": seconds}
    if nothing := [name for name, value in more.items() if value is not None and value <= 0]:
        raise ConfigError(
            [Problem(place_of(name), f"`{name} > 0` must hold, but got {more[name]}") for name in nothing]
        )
    if config.search.sampler.exhaustive and not _is_anything_left(config, study):
        flag = next(name for name, value in more.items() if value is not None)
        raise ConfigError([Problem(f"--{flag}", _grid_is_finished(config))])
    least = config.ppo.episodes / 2  # from which on a trial begins
    if episodes is not None and episodes < least:
        rule = (
            f"`episodes >= {least:g}` must hold, half of a trial's {config.ppo.episodes}, but got {episodes}"
        )
        raise ConfigError([Problem(place_of("episodes"), f"{rule}; no trial would begin")])
    every = all_trials(study)
    limits = {
        "stop_when_no_gain": False,
        "n_trials": None if trials is None else sum(count_endings(study).values()) + trials,
        "max_episodes": None if episodes is None else sum(map(episodes_of, every)) + episodes,
        "max_seconds": None if seconds is None else training_seconds(every) + seconds,
    }
    return config.model_copy(update={"search": config.search.model_copy(update=limits)})


def _is_anything_left(config: StudyConfig, study: Study) -> bool:
    """Whether a grid has cells that no trial has, or trials that are not over."""
    unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    return cells_left(config, study) > 0 or bool(unfinished)


def _grid_is_finished(config: StudyConfig) -> str:
    return (
        f"asks for more trials, but the grid is finished: each of its {config.grid_size} cells has its trial; "
        f"`ppo-tune confirm {config.name}` runs the best on more seeds, and a finer grid (more `points` or choices) is "
        "another study, under another name"
    )


def _usual(costs: Sequence[float]) -> float:
    """What such trials cost, by those that are over; a whole one before any is."""
    return sum(costs) / len(costs) if costs else 1.0


def expected_trials(config: StudyConfig) -> int:
    """About how many trials a search has, for what depends on their number before the first of them is trained."""
    if config.n_trials is not None:
        return config.n_trials
    if config.search.max_episodes is None:
        return DEFAULT_N_TRIALS
    part, _ = config.search.split(config.search.max_episodes / config.ppo.episodes)
    return max(round(part / trial_cost(config)), 1)


def trial_cost(config: StudyConfig) -> float:
    """What a trial of a study is expected to cost."""
    return expected_cost(config.search.pruner, len(config.milestone_episodes()))


def begun_trials(study: Study) -> int:
    """How many trials have begun, but for those that were lost and run again."""
    begun = [t for t in study.get_trials(deepcopy=False) if t.state is not TrialState.WAITING]
    return sum(not was_lost(trial) for trial in begun)


def trials_worth(study: Study, config: StudyConfig) -> float:
    """How many full trials' worth of episodes a study's trials have taken."""
    return sum(map(episodes_of, study.get_trials(deepcopy=False))) / config.ppo.episodes


def episodes_of(trial: FrozenTrial) -> int:
    """How many episodes a trial has taken; until it has ended by itself as many as at its last milestone."""
    facts = TrialFacts(trial)
    if facts.episodes is not None:
        return facts.episodes
    last = facts.last
    return 0 if last is None else last.episodes


def all_trials(study: Study) -> list[FrozenTrial]:
    """The trials of a search and of its confirmation."""
    return [*study.get_trials(deepcopy=False), *confirmation_runs(study)]


def confirmation_runs(study: Study) -> list[FrozenTrial]:
    """The trials of a search's confirmation; none before it was made."""
    confirmation = confirmation_study(study)
    return [] if confirmation is None else confirmation.get_trials(deepcopy=False)


def training_seconds(trials: Iterable[FrozenTrial]) -> float:
    """Seconds by the clock in which any of the trials was under way.

    Nobody knows when a trial ended whose worker died.
    """
    spans = sorted(
        (
            t.datetime_start.timestamp(),
            t.datetime_complete.timestamp() if t.datetime_complete else time.time(),
        )
        for t in trials
        if t.datetime_start and ending_of(t) != "lost"
    )
    seconds, until = 0.0, -math.inf
    for begin, end in spans:
        seconds += max(end - max(begin, until), 0.0)
        until = max(until, end)
    return seconds
