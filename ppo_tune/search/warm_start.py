"""A prior from an earlier study, see `search.warm_start`: its best configs are tried first, or nothing else is.

What is taken is kept by the new study when it is made, so that it does not matter what becomes of the earlier one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from ppo_tune.config.methods import NoPrunerConfig, SearchConfig
from ppo_tune.config.model import ADAPTER_FIELDS
from ppo_tune.config.ranges import CategoricalParam, Param
from ppo_tune.config.study import StudyConfig, check_name
from ppo_tune.errors import ConfigError, PPOTuneError, Problem
from ppo_tune.search.facts import TrialFacts, WarmStart
from ppo_tune.search.results import ranked_trials
from ppo_tune.search.snapshot import snapshot
from ppo_tune.search.storage import has_study, open_study, storage_url
from ppo_tune.search.winner import FULL_LENGTH, winning_trial

MOST = 3
"""So many configs are taken: a third of the usual start-up design, the rest of which looks elsewhere."""


def warm_start(config: StudyConfig, *, storage: str | None = None, out: Path | str = ".") -> WarmStart | None:
    """What a study that is about to be made takes of an earlier one; reads a snapshot of that, which may still run.

    Args:
        config: The new study.
        storage: URL of the store of both; None takes SQLite beside their trials.
        out: Folder that holds `runs/<study>/`.

    Returns:
        None where the file names no earlier study, or the study exists and has taken what it took.

    Raises:
        ConfigError: If the earlier study does not exist or has nothing that this one could try.
    """
    name = config.search.warm_start
    if name is None or has_study(storage or storage_url(Path(out), config.name), config.name):
        return None
    with snapshot(storage or storage_url(Path(out), name)) as url:
        try:
            earlier, experiment = open_study(name, storage=url)
        except PPOTuneError as error:
            raise _refusal(f"{error}, or leave it out") from None
        return taken_of(earlier, experiment, config)


def lengthened(config: StudyConfig, study: Study, times: int) -> StudyConfig:
    """Another study, of the default config and the best few of a study, each trained for more episodes.

    They are trained from the start, for schedules depend on the length; nothing is proposed and nothing pruned. The
    length of the full training stays, unless the trials are longer.

    Args:
        config: The study's experiment.
        study: Whose best are taken.
        times: So many times the episodes of its trials.

    Raises:
        ConfigError: If there is nothing to be taken.
    """
    episodes = times * config.ppo.episodes
    full_length = config.search.train_episodes or FULL_LENGTH * config.ppo.episodes
    search = {
        "sampler": SearchConfig().sampler,
        "pruner": NoPrunerConfig(name="none"),
        "warm_start": config.name,
        "max_episodes": None,
        "max_seconds": None,
        "stop_when_no_gain": False,
        "train_episodes": max(full_length, episodes),
    }
    longer = config.model_copy(
        update={
            "name": check_name(f"{config.name}-x{times}"),
            "ppo": config.ppo.model_copy(update={"episodes": episodes}),
            "search": config.search.model_copy(update=search),
        }
    )
    n_taken = min(len(_best(study, config, longer)), MOST)
    if not n_taken:
        raise ConfigError([Problem("--longer", f"{_has_no_best(study)}; run more trials of it first")])
    return longer.model_copy(update={"search": longer.search.model_copy(update={"n_trials": 1 + n_taken})})


def taken_of(earlier: Study, experiment: StudyConfig, config: StudyConfig) -> WarmStart:
    """The best configs of an earlier study, moved into the space of a new one.

    Args:
        earlier: The earlier study.
        experiment: By which it was made.
        config: The new study.

    Raises:
        ConfigError: If both search nothing in common, or no config is left.
    """
    if not any(name in experiment.space for name in config.space):
        raise _refusal(
            f"study {earlier.study_name!r} searched {', '.join(experiment.space)}, none of which is in this space; "
            "name another study, or leave it out"
        )
    best = _best(earlier, experiment, config)
    if not best:
        ruled_out = ", or this study's constraints rule all of them out" if config.constraints else ""
        raise _refusal(f"{_has_no_best(earlier)}{ruled_out}; run more trials of it, or leave it out")
    taken = best[: MOST if config.n_trials is None else min(MOST, config.n_trials - 1)]
    return WarmStart([moved.params for moved in taken], _told(earlier, experiment, config, taken))


@dataclass(frozen=True)
class _Moved:
    """A config of an earlier study in the space of a new one, and whether it had to be moved to be there."""

    number: int
    params: dict[str, Any]
    was_outside: bool

    @classmethod
    def into(cls, config: StudyConfig, trial: FrozenTrial, experiment: StudyConfig) -> "_Moved":
        """The values of a trial; those that the earlier study did not search are what its trials were trained with."""
        adapters = experiment.model.model_dump(include=set(ADAPTER_FIELDS))
        used = {**adapters, **TrialFacts(trial).config, **trial.params}
        usual = config.space.every_baseline(config.defaults)
        params = config.space.active_part({
            name: usual[name] if _is_unknown(param, used.get(name)) else param.nearest(used[name])
            for name, param in config.space.root.items()
        })  # fmt: skip
        shared = params.keys() & experiment.space.root.keys()
        return cls(trial.number, params, any(params[name] != used.get(name, params[name]) for name in shared))


def _is_unknown(param: Param, value: Any) -> bool:
    """Whether nothing is known of a value: none was set, and null is no choice."""
    return value is None and not (isinstance(param, CategoricalParam) and None in param.choices)


def _best(earlier: Study, experiment: StudyConfig, config: StudyConfig) -> list[_Moved]:
    """The completed trials within the KL budget as configs of the new space, best first, without its default."""
    winner = winning_trial(earlier, experiment)
    trials = [*([] if winner is None else [winner]), *ranked_trials(earlier)]
    different: dict[str, _Moved] = {}
    rules = config.rules
    for trial in trials:
        found = _Moved.into(config, trial, experiment)
        if found.params != config.baseline and rules.allow(found.params):
            different.setdefault(repr(found.params), found)
    return list(different.values())


def _told(earlier: Study, experiment: StudyConfig, config: StudyConfig, taken: Sequence[_Moved]) -> str:
    """What is taken, as a sentence."""
    if not taken:
        return f"warm_start took nothing of study {earlier.study_name}, for the default is the only trial"
    numbers = ", ".join(str(found.number) for found in taken)
    told = [
        f"warm_start took {len(taken)} of the best configs of study {earlier.study_name}, tried first after the "
        f"default: trial{'s' if len(taken) > 1 else ''} {numbers} there"
    ]
    if missing := [name for name in config.space if name not in experiment.space]:
        told.append(f"not searched there, and left at its values: {', '.join(missing)}")
    if extra := [name for name in experiment.space if name not in config.space]:
        told.append(f"searched there and not here: {', '.join(extra)}")
    if n_moved := sum(found.was_outside for found in taken):
        told.append(f"moved to the border of this space: {n_moved} of them")
    return "; ".join(told)


def _has_no_best(study: Study) -> str:
    return f"study {study.study_name!r} has no completed trial within its KL budget but the default config"


def _refusal(what: str) -> ConfigError:
    return ConfigError([Problem("search.warm_start", what)])
