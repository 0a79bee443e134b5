"""Whole studies replayed on the recorded landscape: how good the config is that the product names.

    python benchmarks/replay.py --quick                      # both worlds, under three minutes on two cores
    python benchmarks/replay.py --totals 36 --repetitions 800
    python benchmarks/replay.py --set search.sampler=tpe --set search.pack=16   # another study, on the same repetitions
    python benchmarks/replay.py --fresh                      # repetitions that nothing was chosen on
    python benchmarks/replay.py --landscape FILE.parquet     # another task, as `benchmarks/landscape.py` recorded it
    python benchmarks/replay.py --warm alike                 # from an earlier study of the same world
    python benchmarks/replay.py --out new.jsonl --against old.jsonl

A study searches and confirms in a world that `benchmarks/landscape.md` describes, with the product's own code; a total
is the episodes of both, in full trials' worth. A value is 0 for the default config and 1 for the best one within the
KL budget, as their true means have it; `tolerant` allows 1.1 KL budgets, `strict` one, and who is beyond has none.
Intervals are of the mean over repetitions. The last line is one JSON object, of the first world and the others below.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded: the parallelism is that of the processes

import optuna
import torch
from ruamel.yaml import YAML

from benchmarks.worlds.figures import Row, differences, json_line, table
from benchmarks.worlds.replayed import LIKENESSES, Named, replay
from benchmarks.worlds.table import TABLE, read_landscape, read_study
from benchmarks.worlds.world import SURROGATES, World
from ppo_tune import load_study
from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.files import append_json_line, read_json_lines

STUDY = Path(__file__).parent.parent / "search_spaces" / "quickstart.yaml"

DEVELOPMENT, FRESH = range(800), range(800, 1_200)
"""Repetitions by which something may be chosen, and those that are kept for final figures."""

QUICK = 48
"""Repetitions of `--quick`."""

TOTALS = (24, 36, 48)

DEFAULTS = ("sampler", "pruner", "kl_limit", "confirm_top", "confirm_seeds")
"""Settings of a search that are the product's choice here, not the file's."""

Job = tuple[str, int, int]
"""A world, a total and a repetition."""

_worlds: dict[str, World] = {}
"""Made before the processes are forked, which share them."""


def study_with(settings: Sequence[str], recorded_in: StudyConfig | None = None) -> StudyConfig:
    """A study as it is searched by default, and some settings replaced, each as `search.sampler=tpe`.

    None is the quickstart's.
    """
    written: dict[str, Any] = (recorded_in or load_study(STUDY)).model_dump(mode="json")
    usual = SearchConfig().model_dump(mode="json")
    written["search"] |= {name: usual[name] for name in DEFAULTS}
    for setting in settings:
        place, _, value = setting.partition("=")
        *blocks, name = place.split(".")
        block = written
        for key in blocks:
            block = block[key]
        block[name] = YAML(typ="safe").load(value)
    return StudyConfig.model_validate_json(json.dumps(written))


def run(study: StudyConfig, job: Job, warm: str | None = None) -> Row:
    """Replay one study; its seed is the repetition."""
    world, total, repetition = job
    seeded = study.model_copy(update={"search": study.search.model_copy(update={"seed": repetition})})
    started = time.process_time()
    named = replay(_worlds[world], seeded, total, warm)
    return Row(world, total, repetition, named, round(time.process_time() - started, 3))


def run_all(study: StudyConfig, todo: Sequence[Job], processes: int, warm: str | None) -> Iterator[Row]:
    """Replay studies in several processes, in the order in which they end."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        for future in as_completed([pool.submit(run, study, job, warm) for job in todo]):
            yield future.result()


def read_rows(path: Path, settings: Sequence[str]) -> list[Row]:
    """What an earlier call kept of the same study."""
    return [row for made, row in _read(path) if made == list(settings)]


def _read(path: Path) -> Iterator[tuple[list[str], Row]]:
    """The settings of each kept study, and the study."""
    for line in read_json_lines(path):
        yield line.pop("set"), Row(**{**line, "named": Named(**line["named"])})


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} repetitions")
    parser.add_argument(
        "--totals", type=int, nargs="+", default=TOTALS, help="in full trials' worth of episodes"
    )
    parser.add_argument("--worlds", nargs="+", choices=SURROGATES, default=list(SURROGATES))
    parser.add_argument(
        "--repetitions", type=int, help=f"at most {len(DEVELOPMENT)}, and {len(FRESH)} fresh; 400"
    )
    parser.add_argument("--fresh", action="store_true", help="repetitions that nothing was chosen on")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--landscape", type=Path, help="a recorded landscape; left out: the quickstart's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PLACE=VALUE", help="such as search.sampler=tpe"
    )
    parser.add_argument(
        "--warm", choices=LIKENESSES, help="start from an earlier study, of this world or of its mirror image"
    )
    parser.add_argument(
        "--out", type=Path, help="a file of JSON lines to which studies are added, and gone on with"
    )
    parser.add_argument(
        "--against", type=Path, help="another such file: print paired differences from its studies"
    )
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Replay, print a table, and end with one line of JSON."""
    told = arguments(words)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    torch.set_num_threads(1)
    repetitions = (FRESH if told.fresh else DEVELOPMENT)[: told.repetitions or (QUICK if told.quick else 400)]
    recorded_in = read_study(told.landscape) if told.landscape else load_study(STUDY)
    landscape = read_landscape(recorded_in, told.landscape or TABLE)
    study = study_with(told.set, recorded_in)
    jobs: list[Job] = list(product(told.worlds, told.totals, repetitions))
    made = told.set + ([f"warm={told.warm}"] if told.warm else [])
    rows = {
        (row.world, row.total, row.repetition): row for row in (read_rows(told.out, made) if told.out else [])
    }
    todo = sorted((job for job in jobs if job not in rows), key=lambda job: job[2])
    for name in told.worlds:
        _worlds[name] = World(recorded_in, name, landscape)
        scale = _worlds[name].scale
        print(f"{name}: the default config is worth {scale.default:.3f}, the best one {scale.best:.3f}")
    started = time.perf_counter()
    for row in run_all(study, todo, told.jobs, told.warm):
        rows[row.world, row.total, row.repetition] = row
        if told.out:
            append_json_line(told.out, {"set": made, **dataclasses.asdict(row)})
    print(f"{len(todo)} studies in {time.perf_counter() - started:.0f} s\n", file=sys.stderr)
    found = [rows[job] for job in jobs]
    print(table(found), end="\n\n")
    if told.against:
        print(differences(found, [row for _, row in _read(told.against)]), end="\n\n")
    print(json_line(found))


if __name__ == "__main__":
    main()
