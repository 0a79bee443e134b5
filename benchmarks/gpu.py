"""What a GPU gives: decoding against rows, learning and whole updates against the pack, and packed = alone.

    .venv/bin/python benchmarks/gpu.py                        # both models, on the first GPU
    .venv/bin/python benchmarks/gpu.py --models S4 --parts decode packs
    .venv/bin/python benchmarks/gpu.py --device cpu --tiny    # the same code on small shapes, to try it out

S4 is GPT-2 with 124 M weights, S5 what Qwen's 0.5B is: weights are random, from a seed, and nothing is
downloaded. The frozen models, the scorer's too, are bfloat16, adapters float32. The parts:

decode  milliseconds per token step of sampling, eager and as a CUDA graph, for 8 to 4,096 rows
packs   milliseconds per mini-batch (forward, backward and optimizer step of 8 rows of 48 tokens of each trial) and
        per whole update (32 responses, 4 epochs of 4 mini-batches) for packs of 1 to 64, beside the own eager
        trial alone and the floor: FLOPs counted, over the GEMM peak measured before and after
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
from typing import Any, TypeVar

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
import transformers
from contestant import make_trainer
from shapes import GPU_SHAPES, Shape, build, describe
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.auto.tokenization_auto import MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS

from ppo_tune import ModelConfig, PPOTrainer, TrialError, load_policy
from ppo_tune.errors import OutOfMemoryError
from ppo_tune.models import Prompts
from ppo_tune.trainer.experience import estimate_advantages
from ppo_tune.trainer.rollout import collect
from ppo_tune.trainer.update import improve_policy

MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS.discard("qwen2")  # else ours beside a Qwen2 is taken for Qwen's own

MODES = {"eager": False, "graph": True}
ROWS, PACKS = (8, 32, 128, 512, 2048, 4096), (1, 2, 4, 8, 16, 32, 64)
CHECKED_PLACES, CHECKED_UPDATES, TOLERANCE = 4, 3, 1e-3

T = TypeVar("T")
Milliseconds = dict[str, float | None]
"""By mode; None for what did not fit into memory."""


@dataclass(frozen=True)
class TrialPack:
    """Where things are measured, and how.

    Attributes:
        device: The device.
        repeats: Of each measurement.
        gemm: Side of the square product whose speed is the peak.
        rows: Rows of the decode steps.
        packs: Trials per pack.
    """

    device: torch.device
    repeats: int
    gemm: int = 8192
    rows: Sequence[int] = ROWS
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


def sweep(trial_pack: TrialPack, values: Sequence[int], measure: Callable[[int], T]) -> dict[int, T]:
    """A measurement at each value, every time with an empty memory."""
    found = {}
    for value in values:
        found[value] = measure(value)
        trial_pack.forget()
    return found


def fits(work: Callable[[], float]) -> float | None:
    """What the work gives, or None where memory was too small for it."""
    try:
        return work()
    except (torch.OutOfMemoryError, OutOfMemoryError):
        return None


def decode(trial_pack: TrialPack, shape: Shape, folder: Path, rows: int) -> Milliseconds:
    """Milliseconds per token step: the time of whole responses less that of their first tokens.

    From 32 rows on they are trials of 32 rows each, as in a pack.
    """
    model = ModelConfig(name=str(folder / "policy"), lora_rank=shape.lora_rank, dtype="bfloat16")
    places = list(range(max(1, rows // shape.episodes)))
    policy = load_policy(model, places=len(places), device=trial_pack.device)
    policy.stop_ids = torch.tensor([-1], device=trial_pack.device)
    prompts, uniforms = draw(shape, len(places), rows // len(places), trial_pack.device)

    def respond(length: int) -> float:
        return trial_pack.milliseconds(
            lambda: policy.generate(prompts, uniforms[..., :length], temperature=1.0, places=places)
        )

    found: Milliseconds = {}
    for mode, policy.graphs in MODES.items():
        found[mode] = fits(lambda: (respond(shape.response) - respond(1)) / (shape.response - 1))
    return found


def draw(shape: Shape, places: int, rows: int, device: torch.device) -> tuple[Prompts, Tensor]:
    """Random prompts of shape (places, rows, P), and the numbers that decide the responses."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(2, shape.vocab, (places, rows, shape.prompt), generator=rng).to(device)
    uniforms = 1 - torch.rand(places, rows, shape.response, generator=rng)
    return Prompts(ids, torch.ones_like(ids, dtype=torch.bool)), uniforms


def count_flops(trial_pack: TrialPack, shape: Shape, folder: Path) -> float:
    """FLOPs of one trial's update."""
    trainer = packed_trainer(trial_pack, shape, folder, [0], "bfloat16")
    trainer.policy.graphs = False  # the counter does not see what a graph replays
    with FlopCounterMode(display=False) as counter:
        update(trainer)
    return float(counter.get_total_flops())


def pack(trial_pack: TrialPack, shape: Shape, folder: Path, k: int) -> dict[str, Any]:
    """Times and memory of a pack's mini-batches and of its whole updates."""
    trainer = packed_trainer(trial_pack, shape, folder, range(k), "bfloat16")
    found: dict[str, Any] = {"update": {}, "gibibytes": {}}
    for mode, trainer.policy.graphs in MODES.items():
        trial_pack.forget()
        found["update"][mode] = fits(lambda: trial_pack.milliseconds(lambda: update(trainer), per=k))
        found["gibibytes"][mode] = trial_pack.gibibytes()
    found["mini_batch"] = fits(lambda: mini_batch(trial_pack, shape, trainer))
    return found


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


def trace(trial_pack: TrialPack, shape: Shape, folder: Path, seeds: Sequence[int], *, graphs: bool) -> Trace:
    """Run some updates in float32 and write down what happened."""
    trainer = packed_trainer(trial_pack, shape, folder, seeds, "float32")
    policy, reward = trainer.policy, trainer.task.reward
    policy.graphs = graphs
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
    trainer.task = replace(trainer.task, reward=judged)
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


def check(trial_pack: TrialPack, shape: Shape, folder: Path) -> dict[str, dict[str, float]]:
    """Greatest relative differences between trials in a pack and alone, where they sampled the same, by mode.

    Responses count up to the first update in which a trial samples another token somewhere, for from there on it
    learns from other responses; its numbers count if there is no such update.
    """
    seeds = range(min(CHECKED_PLACES, max(trial_pack.packs)))
    alone = [trace(trial_pack, shape, folder, [seed], graphs=False) for seed in seeds]
    found = {}
    for mode, graphs in MODES.items():
        packed = trace(trial_pack, shape, folder, seeds, graphs=graphs)
        row = {"responses": 0, "differing": 0, "scores": 0.0, "logprobs": 0.0, "weights": 0.0}
        for k, own in enumerate(alone):
            for u in range(CHECKED_UPDATES):
                same = (packed.tokens[u, k] == own.tokens[u, 0]).all(-1)
                row["responses"] += len(same)
                row["differing"] += int((~same).sum())
                for name in ("scores", "logprobs"):
                    ours, theirs = getattr(packed, name)[u, k][same], getattr(own, name)[u, 0][same]
                    row[name] = max(row[name], difference(ours, theirs))
                if not same.all():
                    break
            else:
                row["weights"] = max(row["weights"], difference(packed.moved[k], own.moved[0]))
        found[mode] = row
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
        if "decode" in parts:
            found["decode"] = sweep(
                trial_pack, trial_pack.rows, lambda rows: decode(trial_pack, shape, folder, rows)
            )
            print_decode(found["decode"])
        if "packs" in parts:
            peaks, flops = [trial_pack.peak()], count_flops(trial_pack, shape, folder)
            found["packs"] = sweep(trial_pack, trial_pack.packs, lambda k: pack(trial_pack, shape, folder, k))
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


def print_decode(times: dict[int, Milliseconds]) -> None:
    """Milliseconds by rows."""
    print(f"\n{'rows':>6s}{'ms per decode step, eager':>28s}{'as graph':>10s}{'eager / graph':>15s}")
    for rows, by_mode in times.items():
        eager, graph = by_mode["eager"], by_mode["graph"]
        print(f"{rows:6d}{say(eager, 28)}{say(graph, 10)}{say(quotient(eager, graph), 15)}")


def print_packs(times: dict[int, dict[str, Any]], floor: float) -> None:
    """Mini-batches and updates by pack."""
    solo = times[min(times)]["update"]["eager"]
    print(f"\n{'K':>4s}{'ms per mini-batch':>19s}{'per trial':>11s}   {'ms per trial-update':>23s}"
          f"{'eager solo / this':>19s}{'of floor':>10s}{'peak GiB':>10s}")  # fmt: skip
    for k, row in times.items():
        for mode in MODES:
            own, step = row["update"][mode], row["mini_batch"]
            head = f"{k:4d}{say(step, 19)}{say(quotient(step, k), 11)}" if mode == "eager" else " " * 34
            share = quotient(floor, own)
            print(
                f"{head}   {mode:>8s}{say(own, 15)}{say(quotient(solo, own), 19)}"
                f"{f'{share:.0%}' if share else '–':>10s}{say(row['gibibytes'][mode], 10)}"
            )


def print_check(rows: dict[str, dict[str, float]]) -> None:
    """Packed against alone, by mode."""
    print("\nfloat32, packed against alone, greatest relative difference where the samples are the same")
    print(
        f"{'':8s}{'responses':>10s}{'differing':>10s}{'scores':>10s}{'log-probs':>11s}{'weights moved':>15s}"
    )
    for mode, row in rows.items():
        print(f"{mode:8s}{row['responses']:10d}{row['differing']:10d}{row['scores']:10.1e}"
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
    parser.add_argument("--tiny", action="store_true", help="small models, rows and packs")
    parser.add_argument("--models", nargs="+", choices=GPU_SHAPES, default=list(GPU_SHAPES))
    parts = ("decode", "packs", "check")
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
        trial_pack = replace(trial_pack, gemm=512, rows=(8, 32), packs=(1, 2, 4))
        shapes = {name: tiny(shape) for name, shape in shapes.items()}
    if not on_gpu:
        torch.set_num_threads(1)
    device = torch.cuda.get_device_name(options.device) if on_gpu else "CPU, one thread"
    print(f"{device}, torch {torch.__version__}, transformers {transformers.__version__}")
    found = {name: run_model(trial_pack, name, shape, options.parts) for name, shape in shapes.items()}
    print(json.dumps({"device": device, "torch": torch.__version__, "tiny": options.tiny, **found}))
    for name, result in found.items():
        for mode, row in result.get("check", {}).items():
            worst = max(row["scores"], row["logprobs"], row["weights"])
            assert worst < TOLERANCE, (
                f"{name}, {mode}: packed and alone differ by {worst:.1e} of {TOLERANCE:g}"
            )


if __name__ == "__main__":
    main()
