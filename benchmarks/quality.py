"""Whether speed costs quality: the embedded task's held-out score of one good config, trained in eight ways.

    make quality                                # three minutes on one core
    python benchmarks/quality.py --seeds 10     # more seeds, which also make a wider pack

The same seeds are trained alone in float32, all in one pack, both ways with a bfloat16 base, and all four with the
learning pass compiled, off the clock. Everything runs in this process on one thread. Each way's mean score, and its
difference to float32 alone seed by seed, has a 95 % bootstrap interval over seeds; a way is within the interval if
that of its difference holds zero. The last line is one JSON object.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from itertools import product
from typing import Literal

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
import transformers
from scipy.stats import bootstrap

from ppo_tune import TrialError, load_study
from ppo_tune.seeding import derive_seed
from ppo_tune.trainer.assembly import Assembly, assemble
from ppo_tune.trainer.compiling import CompiledPass
from ppo_tune.trainer.loss import gradients

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

STUDY = load_study("search_spaces/quickstart.yaml")
CONFIG = STUDY.ppo.with_params({"learning_rate": 7e-4, "kl_coef": 0.15, "batch_size": 16})

Dtype = Literal["float32", "bfloat16"]


def assembly_for(dtype: Dtype, places: int) -> Assembly:
    """The embedded task with a base of this dtype."""
    study = STUDY.model_copy(update={"model": STUDY.model.model_copy(update={"dtype": dtype}), "ppo": CONFIG})
    return assemble(study, places=places, device=torch.device("cpu"))


def final_scores(assembly: Assembly, seeds: Sequence[int]) -> list[float]:
    """Held-out scores after training a trial per seed, all at once."""
    assembly.policy.reset(0, torch.Generator())
    (base,) = raise_any(list(assembly.evaluator([0]).values()))
    places = range(len(seeds))
    for place, seed in zip(places, seeds, strict=True):
        assembly.trainer.start(place, CONFIG, derive_seed("quality", seed), score_std=base.score_std or 1.0)
    for _ in range(CONFIG.iterations):
        raise_any(list(assembly.trainer.step().values()))
    evaluations = assembly.evaluator(list(places))
    for place in places:
        assembly.trainer.drop(place)
    return [judged.score for judged in raise_any([evaluations[place] for place in places])]


def warm_up(assembly: Assembly) -> None:
    """An iteration of throwaway trials, which compiles what is to be compiled."""
    for place in assembly.trainer.free_places:
        assembly.trainer.start(place, CONFIG, derive_seed("warm", place))
    raise_any(list(assembly.trainer.step().values()))
    for place in list(assembly.trainer.runs):
        assembly.trainer.drop(place)


def raise_any(results: list) -> list:
    """The results, none of which may be an error."""
    for result in results:
        if isinstance(result, TrialError):
            raise result
    return results


def mean_interval(numbers: Sequence[float]) -> tuple[float, list[float]]:
    """Mean with its 95 % bootstrap interval."""
    found = bootstrap((np.array(numbers),), np.mean, method="percentile", rng=0).confidence_interval
    return float(np.mean(numbers)), [float(found.low), float(found.high)]


def main() -> None:
    """Train in all ways and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="trials per way, two at least")
    seeds = range(parser.parse_args().seeds)
    assert len(seeds) > 1, "an interval wants two seeds"
    ways: dict[str, list[float]] = {}
    seconds = {}
    packings = {"alone": [[seed] for seed in seeds], "packed": [list(seeds)]}
    for compiles, dtype, way in product((False, True), ("float32", "bfloat16"), packings):
        packs, name = packings[way], f"{way}, {dtype}{', compiled' * compiles}"
        assembly = assembly_for(dtype, len(packs[0]))
        assembly.trainer.learn = CompiledPass.of(assembly.trainer) if compiles else gradients
        warm_up(assembly)
        started = time.perf_counter()
        ways[name] = [score for pack in packs for score in final_scores(assembly, pack)]
        seconds[name] = (time.perf_counter() - started) / len(seeds)

    baseline = np.array(ways["alone, float32"])
    print(f"final held-out score, {CONFIG.episodes:,} episodes, learning rate {CONFIG.learning_rate:g}, "
          f"KL coefficient {CONFIG.kl_coef:g}, batches of {CONFIG.batch_size}")  # fmt: skip
    columns = "".join(f"{f'seed {seed}':>9s}" for seed in seeds)
    print(f"{'':28s}{columns}{'mean':>8s}{'95 % interval':>18s}{'s per trial':>13s}")
    results = {}
    for way, scores in ways.items():
        mean, interval = mean_interval(scores)
        difference, spread = mean_interval((np.array(scores) - baseline).tolist())
        within = spread[0] <= 0 <= spread[1]
        results[way] = {
            "scores": scores, "mean": mean, "interval": interval, "seconds_per_trial": seconds[way],
            "difference": difference, "difference_interval": spread, "within": within,
        }  # fmt: skip
        row = "".join(f"{score:9.3f}" for score in scores)
        print(f"{way:28s}{row}{mean:8.3f}{'{:.3f} to {:.3f}'.format(*interval):>18s}{seconds[way]:13.1f}")
    print(f"\n{'minus alone, float32':28s}{'mean':>8s}{'95 % interval':>20s}")
    for way, row in results.items():
        if way != "alone, float32":
            spread = "{:+.3f} to {:+.3f}".format(*row["difference_interval"])
            verdict = "within the interval" if row["within"] else "NOT within the interval"
            print(f"{way:28s}{row['difference']:+8.3f}{spread:>20s}  {verdict}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
