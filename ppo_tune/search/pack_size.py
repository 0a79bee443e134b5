"""How many trials one worker trains side by side, where a study leaves that open.

A pack shares what every forward pass costs, and so needs less time per trial, up to a size that only a clock
can tell. It also costs a sampler information: what is under way has no result to learn from. So the size is
timed before the first trial, and beyond the start-up design packs are kept small enough to learn in between.

Knows no model: the clock is handed in.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ppo_tune.config.study import StudyConfig
from ppo_tune.search.budget import expected_trials

MIN_ROUNDS = 4
"""A sampler that learns wants so many rounds: at most a quarter of all trials under way at once."""

MOST_PLACES = {"cpu": 8, "cuda": 32}
"""The largest pack that is tried, by kind of device."""

MARGIN = 0.05
"""A pack must need so much less time per trial than a trial alone."""

TIMING_SHARE = 0.03
"""The choice may take about so much of the time that the worker's trials would take alone."""

LOOKS = 3
"""Iterations that trying one size may take: one to warm up, one that counts, one more against noise."""


@dataclass(frozen=True)
class Choice:
    """The size of a pack, and why.

    Attributes:
        pack: How many trials side by side.
        seconds: Seconds per trial of one iteration, by size of the pack; of the sizes that were timed.
    """

    pack: int
    seconds: Mapping[int, float]

    @property
    def speedup(self) -> float:
        """How many times as many trials per second as alone."""
        return self.seconds[1] / self.seconds[self.pack] if self.seconds else 1.0


def wanted_pack(config: StudyConfig) -> int | None:
    """The pack that a study asks for; None where its workers are to find out."""
    if config.widest_model.lora_rank is None:
        return 1
    return None if config.search.pack == "auto" else config.search.pack


def most_under_way(config: StudyConfig, workers: int) -> int | None:
    """How many trials one worker may have under way when it asks for one that learns; None for no limit."""
    if config.search.sampler.learns_after is None or wanted_pack(config) is not None:
        return None
    return max(1, expected_trials(config) // MIN_ROUNDS // workers)


def choose_pack(seconds_per_trial: Callable[[int], float | None], *, most: int, iterations: float) -> Choice:
    """Double the pack while the time per trial falls; keep what it came to if that beats one trial alone.

    Two looks at a size count as the shorter one, for noise only ever adds; and both ends are looked at again
    when the size is found, so that a machine that was busy at the beginning does not flatter the pack.

    Args:
        seconds_per_trial: Times an iteration of a pack of that size, after one to warm up if the size is new;
            None if it failed, as it does where the memory is too small.
        most: The largest pack.
        iterations: Of all trials that the worker can expect; the timing stays small beside them.
    """
    stopwatch = _Stopwatch(seconds_per_trial)
    allowance = TIMING_SHARE * iterations  # in iterations of one trial alone
    if most < 2 or allowance < 2 + LOOKS * 2 or not stopwatch.look(1):
        return Choice(1, {})
    seconds, pack = stopwatch.seconds, 1
    while 2 * pack <= most and stopwatch.spent + LOOKS * 2 * pack * seconds[pack] <= allowance * seconds[1]:
        if not stopwatch.falls(pack, 2 * pack) and not stopwatch.falls(pack, 2 * pack):
            break
        pack *= 2
    if pack > 1:
        again = stopwatch.look(1) and stopwatch.look(pack)
        pack = pack if again and seconds[pack] <= (1 - MARGIN) * seconds[1] else 1
    return Choice(pack, seconds)


class _Stopwatch:
    """The shortest time seen of each size, and the seconds spent on all of them."""

    def __init__(self, seconds_per_trial: Callable[[int], float | None]) -> None:
        self.seconds: dict[int, float] = {}
        self.spent = 0.0
        self._time = seconds_per_trial
        self._too_large = math.inf

    def look(self, pack: int) -> bool:
        """Time a size, perhaps again; says whether that went well."""
        took = self._time(pack) if pack < self._too_large else None
        if took is None:
            self._too_large = pack
            return False
        self.spent += pack * took * (1 if pack in self.seconds else 2)
        self.seconds[pack] = min(took, self.seconds.get(pack, math.inf))
        return True

    def falls(self, before: int, pack: int) -> bool:
        """Whether a trial takes less time in this pack than in the one before."""
        return self.look(pack) and self.seconds[pack] < self.seconds[before]
