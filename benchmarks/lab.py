"""The embedded task as a laboratory: how long it takes to build, how long a trial takes, and how settings differ.

    make lab                                    # about ten minutes on one core
    python benchmarks/lab.py --settings 12      # fewer random settings

Prints the time to build the task in a fresh cache folder; the time of a whole trial of the default config with
its evaluations, median of three; named settings over three seeds; and random settings of the quickstart's space.
Everything runs in this process on one thread. The last line is one JSON object.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from typing import Any

os.environ["PPO_TUNE_CACHE"] = tempfile.mkdtemp(prefix="ppo-tune-lab-")
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
import transformers

from ppo_tune import load_study
from ppo_tune.config.tasks import EmbeddedTaskConfig
from ppo_tune.errors import TrialError
from ppo_tune.seeding import derive_seed
from ppo_tune.tasks.embedded import build_models
from ppo_tune.trainer.assembly import Assembly, assemble

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

STUDY = load_study("search_spaces/quickstart.yaml")
NAMED: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "good: lr 7e-4, kl 0.15, batch 16": {"learning_rate": 7e-4, "kl_coef": 0.15, "batch_size": 16},
    "too shy: lr 2e-5": {"learning_rate": 2e-5},
    "too tight: lr 1e-3, kl 0.5": {"learning_rate": 1e-3, "kl_coef": 0.5},
    "hacking: lr 3e-3, kl 0.002": {"learning_rate": 3e-3, "kl_coef": 0.002},
    "diverging: lr 1e-2, kl 0.001, batch 8": {"learning_rate": 1e-2, "kl_coef": 0.001, "batch_size": 8},
}


def run(assembly: Assembly, params: Mapping[str, Any], seed: int, score_std: float) -> dict[str, float | str]:
    """One whole trial with the quickstart's evaluations; the KL limit does not end it."""
    config = STUDY.ppo.with_params(params)
    started = time.perf_counter()
    assembly.trainer.start(0, config, derive_seed("lab", seed), score_std=score_std)
    ending = "completed"
    for episodes in range(config.rollout_size, config.episodes + 1, config.rollout_size):
        result = assembly.trainer.step()[0]
        judged = assembly.evaluator([0])[0] if episodes in STUDY.milestone_episodes() else None
        if isinstance(result, TrialError) or isinstance(judged, TrialError):
            ending = "diverged"
            break
    assembly.trainer.drop(0)
    seconds = time.perf_counter() - started
    if judged is None or isinstance(judged, TrialError):
        return {"ending": ending, "seconds": seconds}
    return {
        "ending": ending,
        "seconds": seconds,
        "score": judged.score,
        "gold": judged.judges["gold"].mean,
        "kl": judged.kl_per_sequence,
    }


def draw(seed: int) -> dict[str, Any]:
    """A random setting of the quickstart's space."""
    rng = random.Random(seed)
    return {
        "learning_rate": 10 ** rng.uniform(-5, -2),
        "gamma": rng.uniform(0.95, 1.0),
        "gae_lambda": rng.uniform(0.8, 1.0),
        "clip_range": rng.uniform(0.05, 0.4),
        "kl_coef": 10 ** rng.uniform(-3, -0.3),
        "batch_size": rng.choice([8, 16, 32, 64]),
    }


def main() -> None:
    """Build the task, time its default trial, and spread random settings over it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", type=int, default=40, help="how many random settings")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each named setting")
    arguments = parser.parse_args()

    started = time.perf_counter()
    facts = json.loads(
        (build_models(EmbeddedTaskConfig(name="support")) / "done.json").read_text(encoding="utf-8")
    )
    build_seconds = time.perf_counter() - started
    print(
        f"built in {build_seconds:.1f} s; held-out loss {facts['heldout_nats_per_token']:.3f} nats per token, "
        f"reward model right on {facts['reward_accuracy']:.1%} of held-out preferences"
    )

    assembly = assemble(STUDY)
    assembly.policy.reset(0, torch.Generator())
    base = assembly.evaluator([0])[0]
    assert not isinstance(base, TrialError)
    std, gold = base.score_std, base.judges["gold"].mean
    assert std is not None
    print(f"untrained model: score {base.score:.2f} (standard deviation {std:.2f}), gold {gold:.2f}")
    run(assembly, {}, 0, std)  # warm-up
    seconds = statistics.median(float(run(assembly, {}, seed, std)["seconds"]) for seed in range(3))
    print(f"a trial of {STUDY.ppo.episodes:,} episodes with its evaluations: {seconds:.1f} s on one thread\n")

    named = {}
    print(f"{'setting':40} {'score':>7} {'gold':>7} {'KL':>7}   (means of {arguments.seeds} seeds)")
    for name, params in NAMED.items():
        runs = [run(assembly, params, seed, std) for seed in range(arguments.seeds)]
        named[name] = {
            key: statistics.fmean(float(r[key]) for r in runs if key in r) for key in ("score", "gold", "kl")
        }
        print(f"{name:40} {named[name]['score']:7.2f} {named[name]['gold']:7.2f} {named[name]['kl']:7.1f}")

    runs = [run(assembly, draw(seed), seed, std) for seed in range(arguments.settings)]
    scores = sorted(float(r["score"]) for r in runs if "score" in r)
    hacked = sum(
        "gold" in r and float(r["gold"]) < gold and float(r["score"]) > base.score + 0.3 for r in runs
    )
    beyond = sum("kl" not in r or float(r["kl"]) > STUDY.search.kl_ceiling for r in runs)
    print(
        f"\n{len(runs)} random settings: score from {scores[0]:.2f} to {scores[-1]:.2f},"
        f" median {scores[len(scores) // 2]:.2f};"
        f" {beyond} end beyond the KL limit of {STUDY.search.kl_ceiling:g} nats;"
        f" {hacked} raise the score and lower the gold score"
    )
    print(json.dumps({"build_seconds": build_seconds, "trial_seconds": seconds, "named": named, "base": base.metrics(),
                      "random": runs}))  # fmt: skip


if __name__ == "__main__":
    main()
