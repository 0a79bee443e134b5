"""Whole searches, really trained: this version's quickstart against an earlier one's, for the same episodes.

    git worktree add ../before a0fb582               # the search of version 0.1.0, with a later trainer
    python benchmarks/live.py ../before              # ten repetitions in three worlds; four minutes each on two cores
    python benchmarks/live.py ../before --repetitions 1 --worlds 4

In each world of the embedded task, and with each seed, the earlier version runs the study file that it ships, with
the confirmation that belongs to it. This version runs its own file and may spend what that took, in episodes: instead
of `n_trials` it gets `max_episodes`. What both name, and the default config, are then trained on five fresh seeds and
scored on all prompts of the confirmation split with random numbers that chose nothing. The prompts themselves did,
among a few configs, in both versions: a world has no others. A config whose KL is beyond 1.1 budgets, by the mean of
the five, counts as the default one.

Repetitions are paired by world and seed. The head-room of a world is what the best config that either version ever
named there scores above the default. Every repetition is a line of the output file; whatever is killed goes on there.
The last line is one JSON object: the mean over repetitions of the difference, in shares of the head-room, with a
bootstrap interval.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
import transformers
from ruamel.yaml import YAML

from benchmarks.worlds.figures import interval
from benchmarks.worlds.fresh import Params, judge_fresh
from benchmarks.worlds.world import TOLERANCE
from ppo_tune import load_study, open_study
from ppo_tune.config.study import StudyConfig
from ppo_tune.files import append_json_line, read_json_lines
from ppo_tune.search.budget import all_trials, episodes_of

HERE = Path(__file__).parent.parent
FILE = Path("search_spaces") / "quickstart.yaml"

SEEDS = 5
"""Fresh ones per config."""

NAMED = """
import json, sys, ppo_tune
study, config = ppo_tune.open_study(sys.argv[1], out=sys.argv[2])
try:
    print(json.dumps(ppo_tune.best_config(study, config).ppo.model_dump(mode="json")))
except ppo_tune.PPOTuneError:
    print("null")
"""
"""Run by the version that searched, for it knows what it names."""


@dataclass(frozen=True)
class Searched:
    """What a version made of its study: the config that it names, and what that took."""

    params: Params
    episodes: int
    seconds: float


def search(checkout: Path, world: int, seed: int, max_episodes: int | None = None) -> Searched:
    """Run the study file that a version ships, in a world and with a seed.

    Args:
        checkout: Of the version.
        world: Of the embedded task.
        seed: Of the study.
        max_episodes: Instead of the file's number of trials.
    """
    written = YAML(typ="safe").load((checkout / FILE).read_text(encoding="utf-8"))
    written["task"]["seed"], written["search"]["seed"] = world, seed
    if max_episodes is not None:
        del written["search"]["n_trials"]
        written["search"]["max_episodes"] = max_episodes
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    with tempfile.TemporaryDirectory(prefix="live-") as out:
        file = Path(out) / FILE.name
        with file.open("w", encoding="utf-8") as stream:
            YAML(typ="safe").dump(written, stream)
        started = time.perf_counter()
        command = [sys.executable, "-m", "ppo_tune", "search", str(file), "--out", out]
        done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, check=False)
        seconds = time.perf_counter() - started
        if done.returncode not in (0, 3):  # 3 says that nothing can be named
            raise SystemExit(f"the search of {checkout} ended with exit code {done.returncode}")
        study, config = open_study(FILE.stem, out=out)
        asked = [sys.executable, "-c", NAMED, FILE.stem, out]
        told = subprocess.run(
            asked, cwd=checkout, env=environment, capture_output=True, text=True, check=True
        )
        named = json.loads(told.stdout)
        params = config.baseline if named is None else {name: named[name] for name in config.space}
        return Searched(params, sum(map(episodes_of, all_trials(study))), round(seconds, 1))


def judge(study: StudyConfig, configs: Sequence[Params]) -> list[list[tuple[float, float]]]:
    """Per config, per fresh seed: the score and the KL in nats per response."""
    found = judge_fresh(study, configs, seeds=SEEDS, label="live")
    return [[(end.score, end.kl) for end in ends] for ends in found.ends]


def repeat(before: Path, world: int, seed: int) -> dict[str, Any]:
    """One repetition, as a row."""
    usual = load_study(HERE / FILE)
    study = usual.model_copy(
        update={
            "task": usual.task.model_copy(update={"seed": world}),
            "search": usual.search.model_copy(update={"seed": seed}),
        }
    )
    earlier = search(before, world, seed)
    now = search(HERE, world, seed, earlier.episodes)
    runs = judge(study, [study.baseline, earlier.params, now.params])
    arms = {"default": {}, "before": vars(earlier), "now": vars(now)}
    told = {name: {**facts, "runs": found} for (name, facts), found in zip(arms.items(), runs, strict=True)}
    return {"world": world, "seed": seed, "kl_budget": study.search.kl_budget, **told}


def score_of(row: Mapping[str, Any], arm: str) -> float:
    """What a config that was named scores on fresh seeds; the default's score where it is beyond the KL budget."""
    scores, kls = zip(*row[arm]["runs"], strict=True)
    within = np.mean(kls) <= TOLERANCE * row["kl_budget"]
    return float(np.mean(scores)) if within or arm == "default" else score_of(row, "default")


def tell(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Print a table per world, and return what all come to."""
    gains: list[float] = []
    told: dict[str, Any] = {"worlds": {}}
    for world in sorted({row["world"] for row in rows}):
        here = [row for row in rows if row["world"] == world]
        default, before, now = (
            np.array([score_of(row, arm) for row in here]) for arm in ("default", "before", "now")
        )
        room = max(before.max(), now.max()) - default.mean()
        gain = (now - before) / room
        gains += list(gain)
        told["worlds"][world] = {
            "repetitions": len(here),
            "default": round(float(default.mean()), 3),
            "before": round(float(before.mean()), 3),
            "now": round(float(now.mean()), 3),
            "head_room": round(float(room), 3),
            "gain": round(float(gain.mean()), 3),
            "interval": [round(end, 3) for end in interval(gain)],
        }
        print(f"world {world}: {told['worlds'][world]}")
    for arm in ("before", "now"):
        beaten = [score_of(row, arm) > score_of(row, "default") for row in rows]
        beyond = [np.mean([kl for _, kl in row[arm]["runs"]]) > TOLERANCE * row["kl_budget"] for row in rows]
        told[arm] = {
            "truly_better": round(float(np.mean(beaten)), 3),
            "beyond_budget": round(float(np.mean(beyond)), 3),
            "seconds": round(float(np.mean([row[arm]["seconds"] for row in rows])), 1),
            "episodes": round(float(np.mean([row[arm]["episodes"] for row in rows]))),
        }
    ends = [round(end, 3) for end in interval(np.array(gains))]
    return {**told, "gain": round(float(np.mean(gains)), 3), "interval": ends}


def main(words: Sequence[str] | None = None) -> None:
    """Do what is missing, print a table, and end with one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="a checkout of the earlier version")
    parser.add_argument("--worlds", type=int, nargs="+", default=(1, 2, 3), help="seeds of the embedded task")
    parser.add_argument("--repetitions", type=int, default=10, help="in each world")
    parser.add_argument("--out", type=Path, default=Path("runs/live.jsonl"), help="the output file")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["world"], row["seed"]) for row in read_json_lines(options.out)}
    for seed in range(options.repetitions):
        for world in options.worlds:
            if (world, seed) not in done:
                row = repeat(options.before, world, seed)
                append_json_line(options.out, row)
                print(json.dumps(row), file=sys.stderr)
    print(json.dumps(tell(list(read_json_lines(options.out)))))


if __name__ == "__main__":
    main()
