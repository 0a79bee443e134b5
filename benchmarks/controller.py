"""What share of a search's time goes into everything but training: proposing, storing, pruning, ranking.

    python benchmarks/controller.py                    # studies of 32 and of 1,000 trials, some minutes on one core
    python benchmarks/controller.py --trials 32 100    # others

A study is run twice over by the product's own loop on its own SQLite store. First trials are trained, on one thread,
which says what a trial costs with everything; then they are read from the recorded landscape instead
(`benchmarks/landscape.md`), so that what is left is the controller: ask, report, prune, tell, rank, and the files of a
trial. What the landscape itself takes is not counted. `core` is processor time and means the same on a busy machine;
`clock` has the waiting for the disk in it, and wants a machine that does nothing else. The confirmation is left out.
The last line is one JSON object.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded: a worker has one thread
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import optuna
import torch
import transformers

from benchmarks.worlds.stand_in import stand_in_pack
from benchmarks.worlds.world import Run, World
from ppo_tune import load_study
from ppo_tune.config.study import StudyConfig
from ppo_tune.events import Event
from ppo_tune.search.facts import Owner
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.storage import create_study, storage_url
from ppo_tune.search.trial_loop import TrialPack, run_trials

STUDY = load_study(Path(__file__).parent.parent / "search_spaces" / "quickstart.yaml")

PLACES = 8
"""Trials that are trained side by side."""

TRAINED = 32
"""Trials that are really trained, to know what one costs."""

CLOCKS: Mapping[str, Callable[[], float]] = {"core": time.process_time, "clock": time.perf_counter}


@dataclass
class Spent:
    """Seconds by each of the clocks."""

    seconds: dict[str, float]

    @classmethod
    def now(cls) -> "Spent":
        """What the clocks say."""
        return cls({name: clock() for name, clock in CLOCKS.items()})

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent({name: seconds - other.seconds[name] for name, seconds in self.seconds.items()})

    def __add__(self, other: "Spent") -> "Spent":
        return Spent({name: seconds + other.seconds[name] for name, seconds in self.seconds.items()})


@dataclass
class Stopwatch:
    """A watcher that notes the time at which each trial ended, less what is not to be counted."""

    excluded: Spent = field(default_factory=lambda: Spent(dict.fromkeys(CLOCKS, 0.0)))
    ended: list[Spent] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Take note of an ending."""
        if event["kind"] == "ended":
            self.ended.append(Spent.now() - self.excluded)

    def per_trial(self, last: int | None = None) -> dict[str, float]:
        """Mean seconds of a trial, of all or of the last few, by clock; the first is where the watch starts."""
        counted = self.ended if last is None else self.ended[-last - 1 :]
        took = counted[-1] - counted[0]
        return {name: seconds / (len(counted) - 1) for name, seconds in took.seconds.items()}


class UncountedWorld(World):
    """A world whose own work is excluded by a stopwatch."""

    stopwatch: Stopwatch

    def draw(self, params: Mapping[str, Any], rng: np.random.Generator) -> Run:
        """One run of a config."""
        before = Spent.now()
        run = super().draw(params, rng)
        self.stopwatch.excluded += Spent.now() - before
        return run


def study_of(n_trials: int) -> StudyConfig:
    """The quickstart with so many trials."""
    search = STUDY.search.model_copy(update={"n_trials": n_trials, "pack": PLACES})
    return STUDY.model_copy(update={"search": search})


def run_study(config: StudyConfig, world: UncountedWorld | None) -> Stopwatch:
    """Run a study on a new store; trials are trained where there is no world to read them from."""
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="controller-") as out:
        url = storage_url(Path(out), config.name)
        folder = Path(out) / "runs" / config.name
        folder.mkdir(parents=True, exist_ok=True)
        study, plan = create_study(config, url, {}), SearchPlan(config)
        study.pruner = plan.pruner()
        if world is None:
            pack = TrialPack(plan, folder, places=PLACES)
        else:
            world.stopwatch = stopwatch
            pack = stand_in_pack(plan, folder, world)
        pack.emit = stopwatch
        pack.join(study)
        owner = Owner.new("controller")
        run_trials(pack, study, next_trial=lambda: plan.ask(study, len(pack.runs), owner))
    return stopwatch


def share(controller: float, whole: float, of_whole: float) -> float:
    """The controller's share of a trial.

    Args:
        controller: Seconds per trial of the controller.
        whole: Seconds per trial of a study that trained,
        of_whole: and of the controller in a study as long as that one.
    """
    return controller / (controller + whole - of_whole)


def tell(told: Mapping[int, Stopwatch], whole: Mapping[str, float]) -> dict[str, Any]:
    """Print a table, and return its numbers."""
    base = told[TRAINED].per_trial()
    found: dict[str, Any] = {"trial_seconds": whole, "studies": {}}
    print(f"a trial of {STUDY.ppo.episodes:,} episodes or fewer in a pack of {PLACES} costs", end=" ")
    print(", ".join(f"{seconds:.2f} s by {name}" for name, seconds in whole.items()))
    print(f"{'trials':>8s}{'':8s}{'ms per trial':>14s}{'of a trial':>12s}{'of the last tenth':>19s}")
    for n_trials, stopwatch in told.items():
        mean, last = stopwatch.per_trial(), stopwatch.per_trial(max(n_trials // 10, 2))
        shares = {
            name: {
                "milliseconds": 1e3 * mean[name],
                "share": share(mean[name], whole[name], base[name]),
                "last_milliseconds": 1e3 * last[name],
                "last_share": share(last[name], whole[name], base[name]),
            }
            for name in CLOCKS
        }
        found["studies"][n_trials] = shares
        for name, row in shares.items():
            print(
                f"{n_trials:8,d}{name:>8s}{row['milliseconds']:14.1f}{row['share']:12.2%}{row['last_share']:19.2%}"
            )
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Train a study, replay some, and print the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="+", default=(32, 1_000), help="lengths of studies")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    world = UncountedWorld(STUDY, "gp")
    told = {n_trials: run_study(study_of(n_trials), world) for n_trials in sorted({TRAINED, *options.trials})}
    whole = run_study(study_of(TRAINED), None).per_trial()
    print(json.dumps(tell(told, whole)))


if __name__ == "__main__":
    main()
