"""What came of the trials of a study: how each ended, the best of them, and the default they are measured against."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config.study import StudyConfig
from ppo_tune.search.facts import Expectation, StudyFacts, TrialFacts, values_of

if TYPE_CHECKING:
    from ppo_tune.search.race import Confirmation

STATES = {
    "completed": TrialState.COMPLETE,  # reached its budget
    "pruned": TrialState.PRUNED,  # behind the others
    "diverged": TrialState.PRUNED,  # a loss or a log-probability was not finite
    "kl_limit": TrialState.PRUNED,  # too far from the reference
    "out_of_memory": TrialState.FAIL,  # the device has no room for it
    "reward_error": TrialState.FAIL,  # the reward function failed
    "crashed": TrialState.FAIL,  # its worker died again and again
    "preempted": TrialState.FAIL,  # stopped by the user; another trial takes over
    "lost": TrialState.FAIL,  # its worker died; another trial takes over
}
"""How a trial can end, and what Optuna is told of it.

What ran away is told as pruned and not feasible, for samplers learn from pruned trials and not from failed ones.
"""

RAN_AWAY = ("diverged", "kl_limit")
"""Endings that count as the KL limit where a config is asked for its KL."""

MOST_NAMED = 5
"""Trials of a config that are named one by one."""

LOST = ("preempted", "lost")
"""Endings that do not count towards the study's total: the trial is run again under another number."""


def ending_of(trial: FrozenTrial) -> str:
    """The name of a trial's ending; "running" or "waiting" before it."""
    noted = TrialFacts(trial).ending
    if noted in LOST and trial.state is not TrialState.FAIL:  # its own worker told what it came to meanwhile
        return "completed" if trial.state is TrialState.COMPLETE else "pruned"
    return noted or trial.state.name.lower()


def was_lost(trial: FrozenTrial) -> bool:
    """Whether the trial was cut off from outside and runs again under another number."""
    return ending_of(trial) in LOST


def count_endings(study: Study) -> dict[str, int]:
    """How many trials ended in which way; lost ones are counted once, as what replaced them."""
    return dict(Counter(ending_of(t) for t in study.get_trials(deepcopy=False) if not was_lost(t)))


def is_over(study: Study, config: StudyConfig) -> bool:
    """Whether a search has come to its end, by its total of trials or by another limit."""
    counts = count_endings(study)
    if "running" in counts:
        return False
    total = config.n_trials
    enough = total is not None and "waiting" not in counts and sum(counts.values()) >= total
    return enough or bool(StudyFacts(study).ended)


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial stayed within the KL budget."""
    return all(value <= 0 for value in trial.constraints.values())


def config_key(trial: FrozenTrial) -> str:
    """The same for all trials of a config, see `values_key`."""
    return values_key(values_of(trial), trial.number)


def values_key(values: Mapping[str, Any], number: int) -> str:
    """The same for the same searched values; a trial that has none yet goes by its number."""
    return repr(sorted(values.items()) or number)


@dataclass(frozen=True)
class TriedConfig:
    """A config and its completed trials, which differ in their random numbers alone.

    Attributes:
        trials: By number, at least one; the first of them stands for the config.
        is_feasible: Whether it stayed within the KL budget on average, where one that passed the limit counts as that.
    """

    trials: tuple[FrozenTrial, ...]
    is_feasible: bool

    @property
    def first(self) -> FrozenTrial:
        """The trial by whose number it goes."""
        return self.trials[0]

    @property
    def score(self) -> float:
        """The mean over its trials: the best of them is the luckiest."""
        return sum(trial.value or 0.0 for trial in self.trials) / len(self.trials)

    @property
    def kl(self) -> float | None:
        """The mean over its trials, in nats per response; None where none is known."""
        known = [seen.kl for trial in self.trials if (seen := TrialFacts(trial).heldout) is not None]
        return sum(known) / len(known) if known else None

    @property
    def name(self) -> str:
        """Its trials in words, the first few of many."""
        numbers = [str(trial.number) for trial in self.trials]
        *others, last = numbers if len(numbers) <= MOST_NAMED else [*numbers[:3], f"{len(numbers) - 3} more"]
        return f"trials {', '.join(others)} and {last}" if others else f"trial {last}"


def tried_configs(trials: Iterable[FrozenTrial]) -> list[TriedConfig]:
    """The configs that at least one trial completed, by the first trial of each; trials come by their numbers."""
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.state is TrialState.COMPLETE or ending_of(trial) in RAN_AWAY:
            groups.setdefault(config_key(trial), []).append(trial)
    found = []
    for group in groups.values():
        completed = tuple(trial for trial in group if trial.state is TrialState.COMPLETE)
        if completed:
            found.append(TriedConfig(completed, _is_within_on_average(group)))
    return sorted(found, key=lambda config: config.first.number)


def config_of(trial: FrozenTrial, trials: Iterable[FrozenTrial]) -> TriedConfig:
    """A trial's config, with its completed trials among these; with the trial alone where none of it is completed."""
    key = config_key(trial)
    same = tried_configs(t for t in trials if config_key(t) == key)
    return same[0] if same else TriedConfig((trial,), is_feasible(trial))


def _is_within_on_average(trials: Sequence[FrozenTrial]) -> bool:
    """`is_feasible` of several trials of one config."""
    told = [trial.constraints for trial in trials]
    names = {name for constraints in told for name in constraints}
    return all(sum(found[name] for found in told if name in found) <= 0 for name in names)


def best_trials(study: Study) -> list[FrozenTrial]:
    """One completed trial of each config within the KL budget but the default, best first, see `ranked_trials`."""
    defaults = {config_key(t) for t in study.get_trials(deepcopy=False) if TrialFacts(t).is_default}
    return [trial for trial in ranked_trials(study) if config_key(trial) not in defaults]


def ranked_trials(study: Study) -> list[FrozenTrial]:
    """The first completed trial of each config within the KL budget, the default among them, best first.

    As the model of all results ranks configs, see `ppo_tune.search.surrogate`, and those that it does not rank by their
    mean score.
    """
    ranks = {number: rank for rank, number in enumerate(StudyFacts(study).ranking)}

    def place(config: TriedConfig) -> tuple[int, float, int]:
        rank = min(ranks.get(trial.number, len(ranks)) for trial in config.trials)
        return rank, -config.score, config.first.number

    found = [config for config in tried_configs(study.get_trials(deepcopy=False)) if config.is_feasible]
    return [config.first for config in sorted(found, key=place)]


def expectation_of(study: Study, trial: FrozenTrial) -> Expectation | None:
    """What all results together expect of a trial's config; None where that is not known."""
    ranking, key = StudyFacts(study).ranking, config_key(trial)
    ranked = (t for t in study.get_trials(deepcopy=False) if t.number in ranking)
    return next((ranking[t.number] for t in ranked if config_key(t) == key), None)


def chosen_trial(study: Study, confirmation: "Confirmation | None") -> FrozenTrial | None:
    """The trial to go on with.

    That is the confirmed best if it beats the default, else the default; before a confirmation is finished, the first
    trial of the best config that was completed within the KL budget. None if nothing stayed within it.
    """
    if confirmation is None or confirmation.outcome.kind == "unfinished":
        return next(iter(ranked_trials(study)), None)
    number = confirmation.outcome.winner
    return next((t for t in study.get_trials(deepcopy=False) if t.number == number), None)


def baseline_trial(study: Study) -> FrozenTrial | None:
    """The trial of the default config, however it ended; None before it started."""
    for trial in study.get_trials(deepcopy=False):
        if TrialFacts(trial).is_default and not was_lost(trial):
            return trial
    return None


def taken_cells(config: StudyConfig, trials: Iterable[FrozenTrial]) -> tuple[set[str], list[int]]:
    """The cells of a grid that trials have, by `config_key`, and the numbers of trials that are about to take one.

    A trial that was lost gives its cell back, one that failed does not. The default config takes none.
    """
    taken, choosing = set[str](), list[int]()
    for trial in trials:
        if was_lost(trial) or TrialFacts(trial).is_default:
            continue
        if config.space.is_whole(values_of(trial)):
            taken.add(config_key(trial))
        elif not trial.state.is_finished():
            choosing.append(trial.number)
    return taken, choosing


def cells_left(config: StudyConfig, study: Study) -> int:
    """How many cells of a grid are left for new trials."""
    taken, choosing = taken_cells(config, study.get_trials(deepcopy=False))
    return config.grid_size - len(taken) - len(choosing)


def repeated_cells(config: StudyConfig, trials: Sequence[FrozenTrial]) -> int:
    """How many trials of a grid repeat a cell that another trial has; 0 for other samplers.

    The default config does not count: it is trial 0 whether or not it is a cell of the grid. Neither do trials that
    were cut off and ran again.
    """
    if not config.search.sampler.exhaustive:
        return 0
    taken = [
        config_key(t)
        for t in trials
        if t.state != TrialState.WAITING and not was_lost(t) and not TrialFacts(t).is_default
    ]
    return len(taken) - len(set(taken))


def repeats_reading(repeats: int) -> str:
    """What repeated cells are, in words."""
    who = "1 trial repeats a cell" if repeats == 1 else f"{repeats} trials repeat cells"
    return f"{who} of the grid, for there are more trials than cells"
