"""Seconds per PPO update: TRL 1.12.0, the last release with PPO, and ours, on equal work.

    make benchmark                                    # makes TRL's environment, then runs all shapes
    .venv/bin/python benchmarks/throughput.py --quick # S0 and S1 only

Every contestant is a process with one thread that does one update when told; the contestants take turns,
so a slow minute of the machine hits all alike. Work is equal and asserted: model shape, tokenizer, prompts,
response length, episodes, epochs, optimizer steps. Each median stands beside its floor, counted FLOPs over
the GEMM peak measured before and after. The last line is one JSON object.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
import transformers
from shapes import SHAPES, Shape, build, describe

HERE = Path(__file__).parent
PEER = HERE.parent / ".venv-trl" / "bin" / "python"


@dataclass
class Contestant:
    """A process that does one update per turn.

    Attributes:
        name: In tables.
        command: How it is started.
        trials: How many trials one turn advances.
        seconds: Of each turn.
        flops: Of one turn, counted; None for the peer.
    """

    name: str
    command: list[str]
    trials: int = 1
    seconds: list[float] = field(default_factory=list)
    flops: float | None = None
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process; `ready` waits for it."""
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "TRL_EXPERIMENTAL_SILENCE": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment,
        )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        """Its next line."""
        assert self.process is not None and self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} died; run it by hand: {' '.join(self.command)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def go(self) -> None:
        """Let it do one update."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    @property
    def per_trial(self) -> float:
        """Median seconds per update of one trial."""
        return statistics.median(self.seconds) / self.trials


def contestants(name: str, shape: Shape, folder: Path, *, packs: tuple[int, ...]) -> list[Contestant]:
    """The peer at both dtypes, with and without its garbage collections; ours alone, with all weights, packed."""
    common = ["--shape", name, "--folder", str(folder)]
    ours, theirs = [sys.executable, str(HERE / "contestant.py")], [str(PEER), str(HERE / "contestant_trl.py")]
    found = []
    for dtype in ("float32", "bfloat16"):
        kind = [*theirs, *common, "--dtype", dtype]
        found += [
            Contestant(f"TRL stock, {dtype}", kind),
            Contestant(f"TRL without gc, {dtype}", [*kind, "--no-gc"]),
        ]
    for dtype in ("float32", "bfloat16"):
        kind = [*ours, *common, "--dtype", dtype]
        found.append(Contestant(f"ours, LoRA, {dtype}", kind))
        found += [
            Contestant(f"ours, LoRA, {dtype}, pack of {k}", [*kind, "--places", str(k)], trials=k)
            for k in packs
        ]
    found.append(Contestant("ours, all weights, float32", [*ours, *common, "--full"]))
    return found


@contextlib.contextmanager
def running(members: list[Contestant]) -> Iterator[None]:
    """Within this block the contestants are ready for their turns."""
    try:
        for pair in zip(members[::2], [*members[1::2], None], strict=False):  # two cores load two at a time
            for member in filter(None, pair):
                member.start()
            for member in filter(None, pair):
                member.flops = member.answer().get("flops")
        yield
    finally:
        for member in members:
            if member.process is not None:
                member.process.kill()
                member.process.wait()


def race(members: list[Contestant], shape: Shape, rounds: int, seconds: float) -> None:
    """Turns round by round until there were enough, or time is up; the first two rounds do not count."""
    ends = time.monotonic() + seconds
    for turn in range(rounds + 2):
        if turn > 4 and time.monotonic() > ends:
            break
        for member in members:
            member.go()
            answer = member.answer()
            assert answer["work"] == shape.work(), (member.name, answer["work"], shape.work())
            if turn >= 2:
                member.seconds.append(answer["seconds"])


def both_cores(command: list[str], turns: int) -> float:
    """Median seconds per update of one trial when two workers run at once."""
    pair = [Contestant("worker", command), Contestant("worker", command)]
    seconds = []
    with running(pair):
        for _ in range(turns):
            started = time.perf_counter()
            for worker in pair:
                worker.go()
            for worker in pair:
                worker.answer()
            seconds.append((time.perf_counter() - started) / len(pair))
    return statistics.median(seconds[1:])


def gemm_peak(dtype: torch.dtype) -> float:
    """FLOP/s of a square product on one thread, the best of several."""
    torch.set_num_threads(1)
    a, b = torch.randn(1024, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype)
    best = 0.0
    for _ in range(20):
        started = time.perf_counter()
        a @ b
        best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
    return best


def run_shape(
    name: str, folder: Path, *, rounds: int, seconds: float, packs: tuple[int, ...]
) -> dict[str, float]:
    """Race one shape, print its table, and return its ratios."""
    shape = SHAPES[name]
    build(shape, folder)
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    before = {dtype: gemm_peak(kind) for dtype, kind in dtypes.items()}
    members = contestants(name, shape, folder, packs=packs)
    with running(members):
        race(members, shape, rounds, seconds)
    peaks = {dtype: max(before[dtype], gemm_peak(kind)) for dtype, kind in dtypes.items()}
    by_name = {member.name: member for member in members}
    solo = min(
        (m for m in members if m.name in ("ours, LoRA, float32", "ours, LoRA, bfloat16")),
        key=attrgetter("per_trial"),
    )
    cores = both_cores(solo.command, turns=max(5, len(solo.seconds)))
    stock = min((m for m in members if "stock" in m.name), key=attrgetter("per_trial"))
    nogc = min((m for m in members if "without gc" in m.name), key=attrgetter("per_trial"))
    packed = min((m for m in members if "pack" in m.name), key=attrgetter("per_trial"))

    print(f"\n{name}: {describe(shape)}; GEMM peak {peaks['float32'] / 1e9:.0f} GFLOP/s float32, "
          f"{peaks['bfloat16'] / 1e9:.0f} bfloat16, one thread")  # fmt: skip
    print(f"{'':38s}{'ms per update':>14s}{'min':>8s}{'max':>8s}{'turns':>7s}{'of floor':>10s}")
    for member in members:
        dtype = "bfloat16" if "bfloat16" in member.name else "float32"
        floor = (
            ""
            if member.flops is None
            else f"{member.flops / peaks[dtype] / member.per_trial / member.trials:.0%}"
        )
        low, high = (1e3 * f(member.seconds) / member.trials for f in (min, max))
        print(
            f"{member.name:38s}{1e3 * member.per_trial:14.1f}{low:8.1f}{high:8.1f}{len(member.seconds):7d}{floor:>10s}"
        )
    print(f"{'two workers: ' + solo.name:38s}{1e3 * cores:14.1f}")
    full = by_name["ours, all weights, float32"]
    return {
        "solo_vs_trl_stock": stock.per_trial / solo.per_trial,
        "solo_vs_trl_nogc": nogc.per_trial / solo.per_trial,
        "full_vs_trl_nogc_float32": by_name["TRL without gc, float32"].per_trial / full.per_trial,
        "packed_vs_solo": solo.per_trial / packed.per_trial,
        "cores_vs_trl": stock.per_trial / cores,
        "floor_share_float32": (by_name["ours, LoRA, float32"].flops or 0.0)
        / peaks["float32"] / by_name["ours, LoRA, float32"].per_trial,
    }  # fmt: skip


def main() -> None:
    """Race every shape."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="S0 and S1 only, in under three minutes")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, help="only these")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    if not PEER.is_file():
        raise SystemExit(f"{PEER} is missing; run `make benchmark`, which installs the peer")
    names = options.shapes or (["S0", "S1"] if options.quick else list(SHAPES))
    ratios = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            ratios[name] = run_shape(
                name,
                Path(temporary) / name,
                rounds=12 if options.quick else 15,
                seconds=30 if options.quick else 240,
                packs=(4,) if options.quick else (2, 4, 8) if name == "S3" else (2, 4, 8, 16),
            )
    print(json.dumps({name: {k: round(v, 3) for k, v in row.items()} for name, row in ratios.items()}))


if __name__ == "__main__":
    main()
