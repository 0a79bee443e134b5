"""Seconds per PPO update: TRL 1.12.0, the last release with PPO, and ours, on equal work.

    make benchmark                                    # makes TRL's environment, then runs all shapes: 35 to 40 minutes
    .venv/bin/python benchmarks/throughput.py --quick # S0 and S1, the main ratios, under 3 minutes

Every contestant works when told; they take turns, every other round in reverse, so a slow minute of the machine hits
all alike. A turn is as many updates as take a second (half of one with --quick), one at least, and counts as their
median: the first of them finds the caches cold, which no training does. Work is equal and asserted: model shape,
tokenizer, prompts, response length, episodes, epochs, optimizer steps. Ours always has one thread per process; TRL
has one, and two in turns of their own, which want a machine that does nothing else.

A ratio is the median over rounds of two contestants' times in the same round, with a bootstrap interval. Each
median time stands beside its floor, counted FLOPs over the GEMM peak of one thread, measured before and after. The
last line is one JSON object.
"""

import argparse
import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from scipy.stats import bootstrap
from shapes import SHAPES, Shape, build, describe

from ppo_tune.models.fast.linear import product as linear_product

HERE = Path(__file__).parent
PEER = HERE.parent / ".venv-trl" / "bin" / "python"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Plan:
    """How much of a shape is measured.

    Attributes:
        rounds: Measured rounds, unless time is up.
        seconds: For loading, warm-up and rounds; two rounds are run in any case.
        packs: Trials per pack.
        turn: Seconds, about.
        brief: Only what the ratios between us and the peer need: ours with LoRA in float32, packs not compiled, and
            after the warm-up the peer in its better dtype.
        rarely: Every how many rounds take their turns: TRL without gc and ours with all weights in the first of them,
            packs in the last.
    """

    rounds: int
    seconds: float
    packs: tuple[int, ...]
    turn: float = 1.0
    brief: bool = False
    rarely: int = 1


PLANS = {
    "S0": Plan(rounds=15, seconds=360, packs=(2, 4, 8)),
    "S1": Plan(rounds=15, seconds=420, packs=(2, 4, 8)),
    "S2": Plan(rounds=12, seconds=420, packs=(2, 4)),
    "S3": Plan(rounds=8, seconds=900, packs=(2, 4), rarely=2),
}
QUICK = {
    "S0": Plan(rounds=8, seconds=70, packs=(4,), turn=0.5, brief=True),
    "S1": Plan(rounds=8, seconds=90, packs=(4,), turn=0.5, brief=True),
}


@dataclass
class Process:
    """One of the processes that do updates.

    Attributes:
        command: How it is started.
        flops: Of one turn, counted; None for the peer.
    """

    command: list[str]
    flops: float | None = None
    popen: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "TRL_EXPERIMENTAL_SILENCE": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        self.popen = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment,
        )  # fmt: skip
        self.flops = self.answer().get("flops")

    def stop(self) -> None:
        """Kill it if it runs."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()

    def answer(self) -> dict[str, Any]:
        """Its next line."""
        assert self.popen is not None and self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise SystemExit(f"a contestant died; run it by hand: {' '.join(self.command)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def go(self, setting: dict[str, Any]) -> None:
        """Let it do some updates."""
        assert self.popen is not None and self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(setting) + "\n")
        self.popen.stdin.flush()


@dataclass
class Contestant:
    """One or several processes at once, each of which does the same updates in a turn.

    Attributes:
        name: In tables.
        processes: Who does it; contestants that differ in the setting alone may share a process.
        trials: How many trials one update advances.
        setting: What the processes are told of each turn.
        every: It takes a turn in every so many rounds,
        phase: in this one of them.
        updates: In a turn.
        seconds: Of its turns, by round.
    """

    name: str
    processes: list[Process]
    trials: int = 1
    setting: dict[str, Any] = field(default_factory=dict)
    every: int = 1
    phase: int = 0
    updates: int = 1
    seconds: dict[int, float] = field(default_factory=dict)

    def turn(self, shape: Shape) -> float:
        """Seconds of one update, whose work was the shape's."""
        for process in self.processes:
            process.go({**self.setting, "updates": self.updates})
        answers = [process.answer() for process in self.processes]
        for answer in answers:
            assert answer["work"] == shape.work(), (self.name, answer["work"], shape.work())
        return max(float(answer["seconds"]) for answer in answers)

    @property
    def dtype(self) -> str:
        """Of its matrix products."""
        return "bfloat16" if "bfloat16" in self.name else "float32"

    @property
    def per_trial(self) -> float:
        """Median seconds per update of one trial."""
        return statistics.median(self.seconds.values()) / self.trials

    @property
    def flops(self) -> float:
        """Of one trial's update, counted; 0 for the peer."""
        return sum(process.flops or 0.0 for process in self.processes) / self.trials


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one contestant is as another, with a 95 % interval where there were enough turns."""

    text: str
    median: float
    interval: tuple[float, float] | None


def ratio(slow: Contestant, fast: Contestant) -> Ratio:
    """Median and bootstrap interval of the ratios of turns in the same round."""
    turns = sorted(slow.seconds.keys() & fast.seconds.keys())
    ratios = np.array([slow.seconds[t] / slow.trials / (fast.seconds[t] / fast.trials) for t in turns])
    interval = None
    if len(ratios) > 2:
        found = bootstrap((ratios,), np.median, method="percentile", rng=0).confidence_interval
        interval = (float(found.low), float(found.high))
    return Ratio(f"{fast.name} against {slow.name}", float(np.median(ratios)), interval)


def contestants(name: str, folder: Path, plan: Plan) -> list[Contestant]:
    """The peer at both dtypes, with and without its garbage collections; ours alone, with all weights, packed."""
    common = ["--shape", name, "--folder", str(folder)]
    ours, theirs = [sys.executable, str(HERE / "contestant.py")], [str(PEER), str(HERE / "contestant_trl.py")]
    found = []
    for dtype in DTYPES:
        process = [Process([*theirs, *common, "--dtype", dtype])]
        stock = {"threads": 1, "gc": True}
        found += [
            Contestant(f"TRL stock, {dtype}", process, setting=stock),
            Contestant(f"TRL stock, {dtype}, two threads", process, setting={**stock, "threads": 2}),
            Contestant(
                f"TRL without gc, {dtype}", process, setting={**stock, "gc": False}, every=plan.rarely
            ),
        ]
    for dtype, k in product(["float32"] if plan.brief else DTYPES, (1, *plan.packs)):
        process = [Process([*ours, *common, "--dtype", dtype, "--places", str(k)])]
        turns = {"every": plan.rarely, "phase": plan.rarely - 1} if k > 1 else {}
        found += [
            Contestant(
                f"ours, LoRA, {dtype}{', compiled' * compiles}{f', pack of {k}' * (k > 1)}", process, trials=k,
                setting={"compiles": compiles}, **turns,
            )
            for compiles in (False, True)[: 1 if plan.brief and k > 1 else 2]
        ]  # fmt: skip
    if plan.brief:
        return found
    full = [Process([*ours, *common, "--full"])]
    found += [
        Contestant(
            f"ours, all weights, float32{', compiled' * compiles}", full, setting={"compiles": compiles},
            every=plan.rarely,
        )
        for compiles in (False, True)
    ]  # fmt: skip
    return found


def by_pairs(jobs: Iterable[Callable[[], object]]) -> None:
    """Do what is not timed, on both cores."""
    with ThreadPoolExecutor(2) as cores:
        for done in [cores.submit(job) for job in jobs]:
            done.result()


def warm_up(members: Iterable[Contestant], shape: Shape, turn: float) -> dict[str, float]:
    """Seconds of everybody's update of a trial, which does not count, but tells how many make a turn."""
    once = {}
    for member in members:
        seconds = member.turn(shape)
        member.updates = max(1, round(turn / seconds))
        once[member.name] = seconds / member.trials
    return once


def peers_left_out(once: dict[str, float], plan: Plan) -> set[str]:
    """Who need not go on after the warm-up.

    The peer goes on with two threads in its better dtype; and not at all where another process is in their way, which
    makes them many times slower than one. In brief it goes on with one thread in its better dtype, too.
    """
    two, worse = sorted((f"TRL stock, {dtype}, two threads" for dtype in DTYPES), key=lambda name: once[name])
    left_out, one = {worse}, once[two.removesuffix(", two threads")]
    if once[two] > 2 * one:
        print(f"{two}: {once[two]:.1f} s in the warm-up, {one:.1f} with one: left out; is the machine idle?")
        left_out.add(two)
    if plan.brief:
        slower = max(DTYPES, key=lambda dtype: once[f"TRL stock, {dtype}"])
        left_out |= {f"TRL stock, {slower}", f"TRL without gc, {slower}"}
    return left_out


def get_ready(members: list[Contestant], shape: Shape, plan: Plan, stack: contextlib.ExitStack) -> Contestant:
    """Start, warm up and compile everybody, and leave out who need not go on.

    Returns:
        Two workers, already among the members: the best of ours with LoRA in the warm-up before compiling, compiled
        where that is in the plan; a single update each would not tell a compiled pack from a plain one.
    """
    processes = list({id(process): process for member in members for process in member.processes}.values())
    for process in processes:
        stack.callback(process.stop)
    by_pairs(process.start for process in processes)
    compiled = [member for member in members if member.setting.get("compiles")]
    once = warm_up([member for member in members if member not in compiled], shape, plan.turn)
    by_pairs(functools.partial(member.turn, shape) for member in compiled)
    once |= warm_up(compiled, shape, plan.turn)
    lora = [member for member in members if member.name.startswith("ours, LoRA")]
    plain = min((m for m in lora if m not in compiled), key=lambda member: once[member.name])
    best = [member for member in lora if member.processes is plain.processes][-1]  # compiled, where it can be
    left_out = peers_left_out(once, plan)
    members[:] = [member for member in members if member.name not in left_out]
    twin = Process(best.processes[0].command)
    stack.callback(twin.stop)
    twin.start()
    cores = Contestant(
        f"two workers: {best.name}",
        [*best.processes, twin],
        2 * best.trials,
        best.setting,
        updates=best.updates,
    )
    cores.turn(shape)
    members.append(cores)
    return cores


def race(members: Sequence[Contestant], shape: Shape, plan: Plan, ends: float) -> None:
    """Turns round by round, every other round in reverse, until there were enough or the next would be too long."""
    expected: dict[int, float] = {}
    for number in range(plan.rounds):
        started, kind = time.monotonic(), number % plan.rarely
        if number > 1 and started + expected.get(kind, 0.0) > ends:
            break
        for member in members[:: -1 if number % 2 else 1]:
            if number % member.every == member.phase:
                member.seconds[number] = member.turn(shape)
        expected[kind] = time.monotonic() - started


def gemm_peak(dtype: torch.dtype) -> float:
    """FLOP/s of a square product on one thread, the best of several, by the library that is faster at it."""
    torch.set_num_threads(1)
    a, b = torch.randn(1024, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype)
    best = 0.0
    for multiply in [torch.matmul, linear_product] * 10:
        started = time.perf_counter()
        multiply(a, b)
        best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
    return best


def fastest(members: Sequence[Contestant], *names: str) -> Contestant:
    """Of the contestants with such a name, in either dtype, the one with the best median."""
    wanted = {name.format(dtype=dtype) for name in names for dtype in DTYPES}
    return min((m for m in members if m.name in wanted), key=attrgetter("per_trial"))


def find_ratios(members: Sequence[Contestant], cores: Contestant) -> dict[str, Ratio]:
    """What the targets are about."""
    by_name = {member.name: member for member in members}
    plain = fastest(members, "ours, LoRA, {dtype}")
    solo = fastest(members, "ours, LoRA, {dtype}", "ours, LoRA, {dtype}, compiled")
    stock, nogc = (fastest(members, f"TRL {kind}, {{dtype}}") for kind in ("stock", "without gc"))
    best_stock = fastest(members, "TRL stock, {dtype}", "TRL stock, {dtype}, two threads")

    def best_pack(alone: Contestant) -> Ratio:
        packs = [m for m in members if m.name.startswith(f"{alone.name}, pack")]
        return max((ratio(alone, pack) for pack in packs), key=attrgetter("median"))

    packed = best_pack(plain)
    if packed.median < 1:
        packed = Ratio(f"{plain.name}: no pack is faster", 1.0, (1.0, 1.0))
    found = {
        "solo_vs_trl_stock": ratio(stock, solo),
        "solo_vs_trl_nogc": ratio(nogc, solo),
        "plain_solo_vs_trl_stock": ratio(stock, plain),
        "compiled_vs_plain": ratio(plain, by_name[f"{plain.name}, compiled"]),
        "packed_vs_solo": packed,
        "cores_vs_trl": ratio(best_stock, cores),
    }
    if "ours, all weights, float32" in by_name:
        full = fastest(members, "ours, all weights, float32", "ours, all weights, float32, compiled")
        found["full_vs_trl_nogc_float32"] = ratio(by_name["TRL without gc, float32"], full)
        found["packed_vs_solo_bf16"] = best_pack(by_name["ours, LoRA, bfloat16"])
    return found


def run_shape(name: str, folder: Path, plan: Plan) -> dict[str, Any]:
    """Race one shape, print its tables, and return its ratios."""
    shape, ends = SHAPES[name], time.monotonic() + plan.seconds
    build(shape, folder)
    before = {dtype: gemm_peak(kind) for dtype, kind in DTYPES.items()}
    members = contestants(name, folder, plan)
    with contextlib.ExitStack() as stack:
        cores = get_ready(members, shape, plan, stack)
        race(members, shape, plan, ends)
    after = {dtype: gemm_peak(kind) for dtype, kind in DTYPES.items()}
    peaks = {dtype: max(before[dtype], after[dtype]) for dtype in DTYPES}
    ratios = find_ratios(members, cores)
    alone = fastest(
        [m for m in members if m.dtype == "float32"], "ours, LoRA, {dtype}", "ours, LoRA, {dtype}, compiled"
    )
    share = alone.flops / peaks["float32"] / alone.per_trial

    print(f"\n{name}: {describe(shape)}, mini-batches of {shape.episodes // shape.mini_batches}")
    print_times(members, peaks)
    print_ratios(ratios)
    peak = ", ".join(
        f"{d} {before[d] / 1e9:.0f} before and {after[d] / 1e9:.0f} GFLOP/s after" for d in DTYPES
    )
    print(f"floor: {share:.0%} of the GEMM peak for {alone.name}; peak of one thread: {peak}", flush=True)
    return {
        **{key: round(found.median, 3) for key, found in ratios.items()},
        "floor_share_float32": round(share, 3),
        "intervals": {
            key: None if found.interval is None else [round(end, 3) for end in found.interval]
            for key, found in ratios.items()
        },
    }


def print_times(members: Sequence[Contestant], peaks: dict[str, float]) -> None:
    """Everybody's milliseconds per update of one trial."""
    print(f"{'':52s}{'ms per trial-update':>20s}{'min':>9s}{'max':>9s}{'turns':>7s}{'of floor':>10s}")
    for member in members:
        low, high = (1e3 * end(member.seconds.values()) / member.trials for end in (min, max))
        counted = member.flops and len(member.processes) == 1
        floor = f"{member.flops / peaks[member.dtype] / member.per_trial:.0%}" if counted else "–"
        print(
            f"{member.name:52s}{1e3 * member.per_trial:20.1f}{low:9.1f}{high:9.1f}{len(member.seconds):7d}{floor:>10s}"
        )


def print_ratios(ratios: dict[str, Ratio]) -> None:
    """Each ratio with its interval and who it is between."""
    print(f"{'':26s}{'median':>8s}{'95 % interval':>18s}  of the ratios round by round")
    for key, found in ratios.items():
        interval = "–" if found.interval is None else "{:.2f} to {:.2f}".format(*found.interval)
        print(f"{key:26s}{found.median:8.2f}{interval:>18s}  {found.text}")


def main() -> None:
    """Race every shape."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="S0 and S1, the main ratios, in under three minutes"
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, help="only these")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    if not PEER.is_file():
        raise SystemExit(f"{PEER} is missing; run `make benchmark`, which installs the peer")
    plans = QUICK if options.quick else PLANS
    if missing := [name for name in options.shapes or () if name not in plans]:
        parser.error(f"--quick has no {', '.join(missing)}")
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.shapes or plans:
            started = time.monotonic()
            results[name] = run_shape(name, Path(temporary) / name, plans[name])
            print(f"({time.monotonic() - started:.0f} s)", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
