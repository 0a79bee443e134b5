"""Time packs of throwaway trials, and compiling, on the very model that will train the real ones.

They leave no trace: a trial finds its place made new and draws from generators of its own, so it is the same
after a timing as without one. Only the reward function can tell, for it is called as in any trial.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from ppo_tune.config.study import StudyConfig
from ppo_tune.errors import ModelError, TrialError
from ppo_tune.models.memory import is_out_of_memory
from ppo_tune.search.pack_size import MARGIN, MOST_PLACES, TIMING_SHARE, Choice, choose_pack
from ppo_tune.seeding import derive_seed
from ppo_tune.trainer.assembly import Assembly
from ppo_tune.trainer.compiling import CompiledPass, require_compiler
from ppo_tune.trainer.loss import LearningPass, gradients

WORTH_COMPILING = 1200.0
"""Seconds of training that a worker must have before it beside which compiling, half a minute or so per size of
micro-batch, is little."""


class PackTimer:
    """Trains the default config in every place of a pack, all of them free, for an iteration or two."""

    def __init__(self, work: Assembly, config: StudyConfig, learn: LearningPass = gradients) -> None:
        self.work = work
        self.learn = learn
        self.ppo = config.ppo_of(config.baseline)
        self.seed = config.search.seed
        self._warm: set[int] = set()

    def __call__(self, places: int) -> float | None:
        """Seconds per trial of one iteration; None where the memory does not suffice or a trial fails."""
        trainer = self.work.trainer
        usual, trainer.learn = trainer.learn, self.learn
        try:
            self.work.policy.resize(places)
            trainer.forget_limits()
            for place in range(places):
                trainer.start(place, self.ppo, derive_seed(self.seed, "timing", place))
            if places not in self._warm and not self._step():
                return None
            self._warm.add(places)
            started = perf_counter()
            sound = self._step()
            return (perf_counter() - started) / places if sound else None
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            trainer.learn = usual
            for place in list(trainer.runs):
                trainer.drop(place)

    def _step(self) -> bool:
        return not any(isinstance(result, TrialError) for result in self.work.trainer.step().values())


def fit_pack(
    work: Assembly,
    config: StudyConfig,
    trials: int,
    *,
    announce: Callable[[int], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Choice:
    """Find the pack that suits a worker of so many trials, all its places free, and give its policy so many places.

    Every size that is about to be timed is announced; a wish to stop ends the timing.
    """
    timer = PackTimer(work, config)  # uncompiled, for each size would take its time anew

    def seconds_per_trial(places: int) -> float | None:
        if should_stop():
            return None
        announce(places)
        return timer(places)

    most = min(MOST_PLACES[work.policy.device.type], trials)
    choice = choose_pack(seconds_per_trial, most=most, iterations=config.ppo.iterations * trials)
    work.policy.resize(choice.pack)
    work.trainer.forget_limits()
    if work.policy.device.type == "cuda":
        torch.cuda.empty_cache()  # what a larger pack needed is others' again
    return choice


@dataclass(frozen=True)
class Compiling:
    """What came of compiling the learning pass.

    Attributes:
        seconds: Seconds per trial of one iteration as it was.
        compiled_seconds: Compiled; None if that was not possible.
        failure: Why not, in words.
    """

    seconds: float
    compiled_seconds: float | None
    failure: str = ""

    @property
    def speedup(self) -> float:
        """How many times as fast the compiled pass is; 0 if there is none."""
        return self.seconds / self.compiled_seconds if self.compiled_seconds else 0.0

    @property
    def pays(self) -> bool:
        """Whether it is to be kept."""
        return self.speedup * (1 - MARGIN) >= 1


def fit_compiling(
    work: Assembly,
    config: StudyConfig,
    trials: int,
    *,
    announce: Callable[[], None] = lambda: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Compiling | None:
    """Compile the learning pass of a worker of so many trials where that can pay, and keep it if it is faster.

    All places are free, as many as will be trained. A wish to stop before anything is timed leaves all as it is.

    Returns:
        What was found; None on a GPU, where the worker has too little to do, or a trial of the default config fails.
    """
    places, iterations = work.policy.places, config.ppo.iterations * trials
    has_little_to_do = 3 * places > TIMING_SHARE * iterations
    on_cpu = work.policy.device.type == "cpu"  # what a GPU gains is not measured
    if should_stop() or has_little_to_do or not on_cpu:
        return None
    seconds = _shorter(PackTimer(work, config), places)
    if seconds is None or seconds * iterations < WORTH_COMPILING:
        return None
    announce()
    compiled = CompiledPass.of(work.trainer)
    try:
        require_compiler()
        found = Compiling(seconds, _shorter(PackTimer(work, config, compiled), places))
    except ModelError as error:
        found = Compiling(seconds, None, str(error))
    if found.pays:
        work.trainer.learn = compiled
    return found


def _shorter(timer: PackTimer, places: int) -> float | None:
    """The shorter of two times, for noise only ever adds."""
    first, second = timer(places), timer(places)
    return None if first is None or second is None else min(first, second)
