"""What a GPU gives: learning and whole updates against the pack, and packed = alone.

    .venv/bin/python benchmarks/gpu.py                        # both models, on the first GPU
    .venv/bin/python benchmarks/gpu.py --models S4 --parts packs
    .venv/bin/python benchmarks/gpu.py --device cpu --tiny    # the same code on small shapes, to try it out

S4 is GPT-2 with 124 M weights, S5 what Qwen's 0.5B is: weights are random, from a seed, and nothing is
downloaded. The frozen models, the scorer's too, are bfloat16, adapters float32. The parts:

packs   milliseconds per mini-batch (forward, backward and optimizer step of 8 rows of 48 tokens of each trial) and
        per whole update (32 responses, 4 epochs of 4 mini-batches) for packs of 1 to 64, beside the own trial
        alone and the floor: FLOPs counted, over the GEMM peak measured before and after
check   float32: trials in a pack against each alone after three updates; fails above a relative 1e-3

Each time is the median of some repeats after two that do not count, the device idle before and after. What does not
fit into memory is a dash. The last line is one JSON object. Without a GPU this ends with status 2.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
import transformers
from contestant import make_trainer
from shapes import GPU_SHAPES, Shape, build, describe
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.auto.tokenization_auto import MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS

from ppo_tune import PPOTrainer, TrialError
from ppo_tune.errors import OutOfMemoryError
from ppo_tune.models import Prompts
from ppo_tune.trainer.experience import estimate_advantages
from ppo_tune.trainer.rollout import collect
from ppo_tune.trainer.update import improve_policy

MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS.discard("qwen2")  # else ours beside a Qwen2 is taken for Qwen's own

PACKS = (1, 2, 4, 8, 16, 32, 64)
CHECKED_PLACES, CHECKED_UPDATES, TOLERANCE = 4, 3, 1e-3


@dataclass(frozen=True)
class TrialPack:
    """Where things are measured, and how.

    Attributes:
        device: The device.
        repeats: Of each measurement.
        gemm: Side of the square product whose speed is the peak.
        packs: Trials per pack.
    """

    device: torch.device
    repeats: int
    gemm: int = 8192
    packs: Sequence[int] = PACKS

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def milliseconds(self, work: Callable[[], object], *, per: int = 1) -> float:
        """Median time of some work after two warm-ups, divided by `per`."""
        times = []
        for _ in range(2 + self.repeats):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - started)
        return 1e3 * statistics.median(times[2:]) / per

    def peak(self) -> float:
        """FLOP/s of a square bfloat16 product, the best of several."""
        a, b = (torch.randn(self.gemm, self.gemm, device=self.device).bfloat16() for _ in range(2))
        return 2 * self.gemm**3 / min(self.milliseconds(lambda: a @ b) for _ in range(3)) * 1e3

    def forget(self) -> None:
        """Give back what is no longer used, and count the peak of memory from now on."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def gibibytes(self) -> float | None:
        """The most memory that was in use at once."""
        if self.device.type != "cuda":
            return None
        return float(torch.cuda.max_memory_allocated(self.device)) / 2**30


def fits(work: Callable[[], float]) -> float | None:
    """What the work gives, or None where memory was too small for it."""
    try:
        return work()
    except (torch.OutOfMemoryError, OutOfMemoryError):
        return None


def draw(shape: Shape, places: int, rows: int, device: torch.device) -> tuple[Prompts, Tensor]:
    """Random prompts of shape (places, rows, P), and the numbers that decide the responses."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(2, shape.vocab, (places, rows, shape.prompt), generator=rng).to(device)
    uniforms = 1 - torch.rand(places, rows, shape.response, generator=rng)
    return Prompts(ids, torch.ones_like(ids, dtype=torch.bool)), uniforms


def count_flops(trial_pack: TrialPack, shape: Shape, folder: Path) -> float:
    """FLOPs of one trial's update."""
    trainer = packed_trainer(trial_pack, shape, folder, [0], "bfloat16")
    with FlopCounterMode(display=False) as counter:
        update(trainer)
    return float(counter.get_total_flops())


def pack(trial_pack: TrialPack, shape: Shape, folder: Path, k: int) -> dict[str, float | None]:
    """Times of a pack's mini-batches and of its whole updates, and the memory of these."""
    trial_pack.forget()
    trainer = packed_trainer(trial_pack, shape, folder, range(k), "bfloat16")
    return {
        "update": fits(lambda: trial_pack.milliseconds(lambda: update(trainer), per=k)),
        "gibibytes": trial_pack.gibibytes(),
        "mini_batch": fits(lambda: mini_batch(trial_pack, shape, trainer)),
    }


def packed_trainer(
    trial_pack: TrialPack, shape: Shape, folder: Path, seeds: Sequence[int], dtype: str
) -> PPOTrainer:
    """A trainer with a trial per seed; the scorer has the policy's dtype, as published scorers have."""
    trainer = make_trainer(shape, folder, seeds, dtype=dtype, device=trial_pack.device)
    trainer.task.reward.model.to(trainer.policy.dtype)
    return trainer


def update(trainer: PPOTrainer) -> dict[int, dict[str, float]]:
    """One iteration of every trial, none of which may fail."""
    metrics = {}
    for place, result in trainer.step().items():
        if isinstance(result, TrialError):
            raise result
        metrics[place] = result
    return metrics


def mini_batch(trial_pack: TrialPack, shape: Shape, trainer: PPOTrainer) -> float:
    """Milliseconds per optimizer step of all trials of a pack, without sampling."""
    places = list(trainer.runs)
    prompts, uniforms = draw(shape, len(places), shape.episodes, trial_pack.device)
    rollout = collect(trainer.policy, prompts, uniforms, temperature=1.0, places=places)
    scores = torch.randn(len(places), shape.episodes, device=trial_pack.device)
    configs = [run.config for run in trainer.runs.values()]
    experience = estimate_advantages(
        places, rollout, scores, configs, [config.kl_coef for config in configs], [1.0] * len(configs)
    )
    return trial_pack.milliseconds(
        lambda: improve_policy(trainer.policy, experience, trainer.runs, temperature=1.0),
        per=shape.epochs * shape.mini_batches,
    )


@dataclass(frozen=True)
class Trace:
    """What the trials of a trainer did in some updates; tensors over updates, trials and responses.

    Attributes:
        tokens: Sampled tokens, shape (U, K, B, T).
        logprobs: Of each as it was sampled, shape (U, K, B, T).
        scores: Shape (U, K, B).
        moved: How far training took each trial's numbers from where they began, shape (K, N).
    """

    tokens: Tensor
    logprobs: Tensor
    scores: Tensor
    moved: Tensor


def trace(trial_pack: TrialPack, shape: Shape, folder: Path, seeds: Sequence[int]) -> Trace:
    """Run some updates in float32 and write down what happened."""
    trainer = packed_trainer(trial_pack, shape, folder, seeds, "float32")
    policy, reward = trainer.policy, trainer.task.reward
    begun = policy.rows.values.clone()
    tokens, logprobs, scores = [], [], []
    generate = policy.generate

    def heard(*args: Any, **settings: Any) -> Any:
        sequences, seen = generate(*args, **settings)
        tokens.append(sequences.response_ids.cpu())
        logprobs.append(seen.logprobs.cpu())
        return sequences, seen

    def judged(*args: Any) -> Tensor:
        scores.append(reward(*args))
        return scores[-1]

    policy.generate = heard
    trainer.rewards = dict.fromkeys(trainer.rewards, judged)
    for _ in range(CHECKED_UPDATES):
        update(trainer)
    shape_of_scores = (CHECKED_UPDATES, len(seeds), shape.episodes)
    found = Trace(
        torch.stack(tokens),
        torch.stack(logprobs),
        torch.cat(scores).view(shape_of_scores),
        (policy.rows.values - begun).cpu(),
    )
    return found


def check(trial_pack: TrialPack, shape: Shape, folder: Path) -> dict[str, float]:
    """Greatest relative differences between trials in a pack and alone, where they sampled the same.

    Responses count up to the first update in which a trial samples another token somewhere, for from there on it
    learns from other responses; its numbers count if there is no such update.
    """
    seeds = range(min(CHECKED_PLACES, max(trial_pack.packs)))
    alone = [trace(trial_pack, shape, folder, [seed]) for seed in seeds]
    packed = trace(trial_pack, shape, folder, seeds)
    found = {"responses": 0, "differing": 0, "scores": 0.0, "logprobs": 0.0, "weights": 0.0}
    for k, own in enumerate(alone):
        for u in range(CHECKED_UPDATES):
            same = (packed.tokens[u, k] == own.tokens[u, 0]).all(-1)
            found["responses"] += len(same)
            found["differing"] += int((~same).sum())
            for name in ("scores", "logprobs"):
                ours, theirs = getattr(packed, name)[u, k][same], getattr(own, name)[u, 0][same]
                found[name] = max(found[name], difference(ours, theirs))
            if not same.all():
                break
        else:
            found["weights"] = max(found["weights"], difference(packed.moved[k], own.moved[0]))
    return found


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The greatest difference, relative to the greatest number."""
    return float((ours - theirs).abs().max() / theirs.abs().max()) if len(ours) else 0.0


def run_model(trial_pack: TrialPack, name: str, shape: Shape, parts: Sequence[str]) -> dict[str, Any]:
    """Measure one model part by part and print the tables as they come."""
    print(f"\n{name}: {describe(shape)}, {shape.prompt} + {shape.response} tokens")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(shape, folder, torch.bfloat16)
        if "packs" in parts:
            peaks, flops = [trial_pack.peak()], count_flops(trial_pack, shape, folder)
            found["packs"] = {k: pack(trial_pack, shape, folder, k) for k in trial_pack.packs}
            peaks.append(trial_pack.peak())
            found |= {"flops": flops, "peaks": peaks}
            floor = 1e3 * flops / max(peaks)
            before, after = (peak / 1e12 for peak in peaks)
            print(f"\nGEMM peak, bfloat16: {before:.4g} TFLOP/s before, {after:.4g} after; "
                  f"{flops / 1e9:,.4g} GFLOP per trial-update, so the floor is {floor:.3g} ms")  # fmt: skip
            print_packs(found["packs"], floor)
        if "check" in parts:
            found["check"] = check(trial_pack, shape, folder)
            print_check(found["check"])
    return found


def print_packs(times: dict[int, dict[str, float | None]], floor: float) -> None:
    """Mini-batches and updates by pack."""
    solo = times[min(times)]["update"]
    print(f"\n{'K':>4s}{'ms per mini-batch':>19s}{'per trial':>11s}{'ms per trial-update':>21s}"
          f"{'solo / this':>13s}{'of floor':>10s}{'peak GiB':>10s}")  # fmt: skip
    for k, row in times.items():
        own, step = row["update"], row["mini_batch"]
        share = quotient(floor, own)
        print(f"{k:4d}{say(step, 19)}{say(quotient(step, k), 11)}{say(own, 21)}{say(quotient(solo, own), 13)}"
              f"{f'{share:.0%}' if share else '–':>10s}{say(row['gibibytes'], 10)}")  # fmt: skip


def print_check(row: dict[str, float]) -> None:
    """Packed against alone."""
    print("\nfloat32, packed against alone, greatest relative difference where the samples are the same")
    print(f"{'responses':>10s}{'differing':>10s}{'scores':>10s}{'log-probs':>11s}{'weights moved':>15s}")
    print(f"{row['responses']:10.0f}{row['differing']:10.0f}{row['scores']:10.1e}"
          f"{row['logprobs']:11.1e}{row['weights']:15.1e}")  # fmt: skip


def quotient(a: float | None, b: float | None) -> float | None:
    """A / b where there are both."""
    return a / b if a and b else None


def say(number: float | None, width: int) -> str:
    """A number, or a dash."""
    return f"{'–' if number is None else format(number, '.2f'):>{width}s}"


def tiny(shape: Shape) -> Shape:
    """A shape of the same kind that a CPU does in no time."""
    small = replace(shape, layers=2, width=64, heads=4, vocab=256, episodes=8, prompt=4, response=6, epochs=2)
    return small if shape.kv_heads is None else replace(small, kv_heads=2, intermediate=128)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--tiny", action="store_true", help="small models and packs")
    parser.add_argument("--models", nargs="+", choices=GPU_SHAPES, default=list(GPU_SHAPES))
    parts = ("packs", "check")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement")
    options = parser.parse_args()
    on_gpu = options.device.type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no CUDA device here, and this benchmark is about one; to try its code "
              "on small shapes: --device cpu --tiny", file=sys.stderr)  # fmt: skip
        raise SystemExit(2)
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    trial_pack = TrialPack(options.device, options.repeats)
    shapes = {name: GPU_SHAPES[name] for name in options.models}
    if options.tiny:
        trial_pack = replace(trial_pack, gemm=512, packs=(1, 2, 4))
        shapes = {name: tiny(shape) for name, shape in shapes.items()}
    if not on_gpu:
        torch.set_num_threads(1)
    device = torch.cuda.get_device_name(options.device) if on_gpu else "CPU, one thread"
    print(f"{device}, torch {torch.__version__}, transformers {transformers.__version__}")
    found = {name: run_model(trial_pack, name, shape, options.parts) for name, shape in shapes.items()}
    print(json.dumps({"device": device, "torch": torch.__version__, "tiny": options.tiny, **found}))
    for name, result in found.items():
        worst = max(result.get("check", {}).get(what, 0.0) for what in ("scores", "logprobs", "weights"))
        assert worst < TOLERANCE, f"{name}: packed and alone differ by {worst:.1e} of {TOLERANCE:g}"


if __name__ == "__main__":
    main()
