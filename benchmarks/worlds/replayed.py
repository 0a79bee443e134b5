"""One whole study in a world: the product searches and confirms, and what it names is looked up.

All decisions are the product's: `SearchPlan` asks until `max_episodes` are given out, `TrialPack` reports, prunes and
tells, `ConfirmationPlan` races and `winning_trial` names.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import Study

from benchmarks.worlds.stand_in import stand_in_pack
from benchmarks.worlds.world import World
from ppo_tune.config.study import StudyConfig
from ppo_tune.search.budget import Budget, trials_worth
from ppo_tune.search.confirmation import ConfirmationPlan, open_confirmation, read_confirmation
from ppo_tune.search.cube import Cube
from ppo_tune.search.facts import Owner, StudyFacts, WarmStart, enqueue_default, enqueue_earlier
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.plan import Plan, SearchPlan
from ppo_tune.search.results import best_trials, ranked_trials
from ppo_tune.search.trial_loop import run_trials
from ppo_tune.search.warm_start import taken_of
from ppo_tune.search.winner import winning_trial

UNDER_WAY = 4
"""Trials that are trained side by side, unless the study says how many."""

LIKENESSES = {"alike": False, "unalike": True}
"""Kinds of earlier studies: of another seed, or of a world in which `MIRRORED` hyperparameters do the opposite."""

MIRRORED = ("learning_rate", "kl_coef")

EARLIER, EARLIER_SEED = 24, 10_000
"""Full trials' worth of episodes of an earlier study, and what its seed is more."""


@dataclass(frozen=True)
class Named:
    """What a study came to.

    Attributes:
        value: Of the config it names, 0 = default, 1 = best within the KL budget; `tolerant`, see `TOLERANCE`.
        strict: The same without the tolerance.
        truly_better: Whether that config is truly better than the default.
        beyond_budget: Whether it is beyond the KL budget and the tolerance.
        unconfirmed: The tolerant value of the best of the search alone.
        trials: How many the search began.
        candidates: How many configs the confirmation ran besides the default.
        search_cost: Episodes of the search, in full trials' worth.
        confirmation_cost: Of the confirmation.
    """

    value: float
    strict: float
    truly_better: bool
    beyond_budget: bool
    unconfirmed: float
    trials: int
    candidates: int
    search_cost: float
    confirmation_cost: float


def replay(world: World, config: StudyConfig, total: float, likeness: str | None = None) -> Named:
    """Search and confirm for a total of episodes, in full trials' worth; everything follows from the study's seed.

    `likeness` is one of `LIKENESSES`, that of an earlier study from which this one starts.
    """
    places = UNDER_WAY if config.search.pack == "auto" else config.search.pack
    limits = {"n_trials": None, "max_episodes": round(total * config.ppo.episodes), "pack": places}
    config = config.model_copy(update={"search": config.search.model_copy(update=limits)})
    with tempfile.TemporaryDirectory(prefix="replay-", dir=_memory()) as folder:
        taken = None if likeness is None else earlier_study(world, config, Path(folder), likeness)
        study = search(world, config, Path(folder), taken)
        opened = _confirm(world, config, study, StudyFolder(Path(folder)).confirmation.path)
        winner, found = winning_trial(study, config), next(iter(ranked_trials(study)), None)
    default = world.truth(config.baseline)
    truth = default if winner is None else world.truth(winner.params)
    unconfirmed = default if found is None else world.truth(found.params)
    confirmation = read_confirmation(study, config)
    scale = world.scale
    return Named(
        value=scale.value(truth),
        strict=scale.value(truth, 1.0),
        truly_better=scale.is_better(truth),
        beyond_budget=scale.is_beyond(truth),
        unconfirmed=scale.value(unconfirmed),
        trials=len(study.trials),
        candidates=0 if confirmation is None else len(confirmation.challengers),
        search_cost=trials_worth(study, config),
        confirmation_cost=0.0 if opened is None else trials_worth(opened, config),
    )


def earlier_study(world: World, config: StudyConfig, folder: Path, likeness: str) -> WarmStart:
    """What a study takes of one of another seed in the same world, or in one that is its mirror image."""
    update = {"seed": config.search.seed + EARLIER_SEED, "max_episodes": EARLIER * config.ppo.episodes}
    before = config.model_copy(
        update={"name": "earlier", "search": config.search.model_copy(update=update | {"confirm_top": 0})}
    )
    folder = folder / before.name
    folder.mkdir()
    taken = taken_of(search(world, before, folder), before, config)
    cube, names = Cube(config.space), list(config.space)
    mirrored = np.isin(names, MIRRORED) & LIKENESSES[likeness]

    def seen(params: Mapping[str, Any]) -> dict[str, Any]:
        point = cube.points([params])[0]
        return cube.config(np.where(mirrored, 1 - point, point))

    return replace(taken, configs=[seen(params) for params in taken.configs])


def search(world: World, config: StudyConfig, folder: Path, taken: WarmStart | None = None) -> Study:
    """Search until the study has its trials, or what is left of its episodes is what the confirmation will cost."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(study_name=config.name, storage=storage, direction="maximize")
    StudyFacts(study).config = config
    enqueue_default(study, config.baseline)
    if taken is not None:
        enqueue_earlier(study, taken)
    _train(SearchPlan(config), study, folder, world)
    return study


def _confirm(world: World, config: StudyConfig, study: Study, folder: Path) -> Study | None:
    """Confirm what a search found, as `run_search` does; None where it does not."""
    size = Budget(config).confirmation(study)
    if not size.top or not best_trials(study):
        return None
    folder.mkdir()
    opened = open_confirmation(study, config, size)
    _train(ConfirmationPlan(config), opened, folder, world)
    return opened


def _train(plan: Plan, study: Study, folder: Path, world: World) -> None:
    """Train a plan's trials as a worker does."""
    pack = stand_in_pack(plan, folder, world)
    study.pruner = plan.pruner()
    pack.join(study)
    plan.begin(study, folder)
    owner = Owner.new("replay")
    run_trials(pack, study, next_trial=lambda: plan.ask(study, len(pack.runs), owner))
    plan.end(study)


def _memory() -> str | None:
    """A folder in memory where the system has one: a trial leaves small files, and nobody reads most of them."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() else None
