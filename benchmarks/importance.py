"""Which hyperparameters the report names as important, by whole searches replayed on the recorded landscape.

    python benchmarks/importance.py                          # both worlds and their null worlds, 32 trials
    python benchmarks/importance.py --trials 64 --studies 60

In a null world a trial comes to what a run of some other config came to, drawn at random, so that whoever is named
there is named by noise. A search learns from that noise as from anything else. The last line is one JSON object: how
often each hyperparameter is named, learning_rate and kl_coef both, and any.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded: the parallelism is that of the processes

import numpy as np
import optuna
import torch

from benchmarks.replay import STUDY, study_with
from benchmarks.worlds.replayed import search
from benchmarks.worlds.world import SURROGATES, Run, World
from ppo_tune import load_study
from ppo_tune.search.cube import Cube
from ppo_tune.search.effects import effects

DECISIVE = ("learning_rate", "kl_coef")
"""What decides the score within the KL budget here, see `benchmarks/landscape.md`."""

SMALL = 0.01
"""KLs of a quiet world are such a share of the recorded ones."""

_worlds: dict[str, World] = {}
"""Made before the processes are forked, which share them."""


class NullWorld(World):
    """A world in which no hyperparameter decides anything."""

    def draw(self, params: Mapping[str, Any], rng: np.random.Generator) -> Run:
        """One run of a config drawn at random."""
        cube = Cube(self.study.space)
        return super().draw(cube.config(cube.legal(rng.random((1, len(cube.sides))))[0]), rng)


class QuietWorld(NullWorld):
    """A null world in which hyperparameters decide the KL, which is far within the budget: so nothing of the score."""

    def draw(self, params: Mapping[str, Any], rng: np.random.Generator) -> Run:
        """The scores of a config drawn at random, and small KLs of this one."""
        scored, own = super().draw(params, rng), World.draw(self, params, rng)
        kls = {name: SMALL * getattr(own, name) for name in ("kl", "train_kl", "confirm_kl", "final_kl")}
        return replace(scored, **kls)


def named(job: tuple[str, int, int]) -> list[str]:
    """What is named after a search of so many trials in a world; its seed is the repetition."""
    world, trials, seed = job
    config = study_with([f"search.n_trials={trials}", "search.pack=4", f"search.seed={seed}"])
    with tempfile.TemporaryDirectory(prefix="importance-") as folder:
        study = search(_worlds[world], config, Path(folder))
    return [effect.name for effect in effects(config, study.get_trials()) if effect.clear]


def shares(found: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, float]:
    """In which share of studies each hyperparameter is named, the decisive ones are, and any is."""
    by_name = {name: [name in one for one in found] for name in names}
    both = [set(DECISIVE) <= set(one) for one in found]
    told = {**by_name, "both": both, "any": [bool(one) for one in found]}
    return {name: round(float(np.mean(is_named)), 4) for name, is_named in told.items()}


def main(words: Sequence[str] | None = None) -> None:
    """Replay, print a table, and end with one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=32, help="of a search")
    parser.add_argument("--studies", type=int, default=80, help="in each world")
    parser.add_argument("--null-studies", type=int, default=200, help="in each null world")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    told = parser.parse_args(words)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    torch.set_num_threads(1)
    recorded_in = load_study(STUDY)
    names = list(recorded_in.space)
    for kind in SURROGATES:
        _worlds[kind] = World(recorded_in, kind)
        _worlds[f"{kind}, null"], _worlds[f"{kind}, quiet null"] = (
            world(recorded_in, kind) for world in (NullWorld, QuietWorld)
        )
    head = ("world", "studies", *names, "both", "any")
    print("| " + " | ".join(head) + " |", "|" + " --- |" * len(head), sep="\n")
    result = {}
    with ProcessPoolExecutor(told.jobs, multiprocessing.get_context("fork")) as pool:
        for world in _worlds:
            repetitions = range(told.null_studies if "null" in world else told.studies)
            found = list(pool.map(named, product([world], [told.trials], repetitions)))
            result[world] = shares(found, names)
            cells = (world, str(len(found)), *(f"{share:.1%}" for share in result[world].values()))
            print("| " + " | ".join(cells) + " |", flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
