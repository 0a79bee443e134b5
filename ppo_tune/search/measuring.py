"""What a study takes of this machine, by the clock and the memory of one of its workers.

The worker does what every worker of the study does first: it loads the models, tries sizes of packs where the study
leaves that open, trains an iteration or two and scores the policy once. Several workers at once share caches and the
bandwidth of memory, and responses become longer or shorter as a policy learns: seconds are a guess.
"""

import resource
import sys
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from time import perf_counter

import psutil
import torch

from ppo_tune.config.study import StudyConfig
from ppo_tune.data.draws import milestone_draws
from ppo_tune.errors import PPOTuneError, TrialError
from ppo_tune.search.beforehand import answers
from ppo_tune.search.budget import expected_trials
from ppo_tune.search.local_workers import LocalWorkers
from ppo_tune.search.pack_size import wanted_pack
from ppo_tune.search.timing import PackTimer, fit_pack
from ppo_tune.search.worker import take_device
from ppo_tune.search.workers import Channel, Worker
from ppo_tune.tasks import prepare_task
from ppo_tune.trainer.assembly import Assembly, assemble

MOST_SECONDS = 20.0
"""For trying sizes of packs; a search may take longer, and find a faster one."""


@dataclass(frozen=True)
class Pace:
    """How fast one worker is, and what it holds.

    Attributes:
        pack: How many trials it trained side by side.
        seconds_per_trial: Of one trial trained to its end and scored at its milestones.
        startup_seconds: Until the models were there.
        worker_bytes: Memory of the worker at its most, on the device.
        device_bytes: Memory of a device in all.
        devices: How many devices share the workers.
    """

    pack: int
    seconds_per_trial: float
    startup_seconds: float
    worker_bytes: int
    device_bytes: int
    devices: int = 1


@dataclass(frozen=True)
class Takes:
    """What a study takes of this machine, by the pace of one worker.

    Attributes:
        workers: How many share the work.
        pace: Of one of them.
        search_seconds: About so long is the search, its start included.
        confirmation_seconds: At most so long is its confirmation.
    """

    workers: int
    pace: Pace
    search_seconds: float
    confirmation_seconds: float

    @property
    def bytes_per_device(self) -> int:
        """Memory of the workers that share a device."""
        return ceil(self.workers / self.pace.devices) * self.pace.worker_bytes


def what_it_takes(config: StudyConfig, workers: int, *, worth: float, runs: int) -> Takes:
    """What so many full trials' worth of a search take so many workers, and so many runs of a confirmation.

    Raises:
        PPOTuneError: If something cannot be used, or the first update fails.
        WorkerError: If the worker that was measured met a bug.
    """
    with LocalWorkers(_no_trials) as processes:
        found = answers(processes, _measure, (config, workers))
    if not found:
        raise PPOTuneError(
            "the worker that was measured died, perhaps for want of memory; what it said stands above"
        )
    pace = Pace(**{key: value for key, value in found[-1].items() if key != "kind"})

    def seconds(trials: float) -> float:
        """By all workers; a few trials do not fill them."""
        at_once = min(workers, max(ceil(trials / pace.pack), 1))
        return trials * pace.seconds_per_trial / at_once

    return Takes(workers, pace, pace.startup_seconds + seconds(worth), seconds(runs))


def _no_trials(worker: Worker, channel: Channel) -> None:
    """Nothing is trained."""


def _measure(given: tuple[StudyConfig, int], channel: Channel) -> None:
    """Send the pace of this process."""
    (config, workers), started = given, perf_counter()
    device = take_device(0)
    prepare_task(config.task)
    work = assemble(config, places=wanted_pack(config) or 1, device=device)
    startup = perf_counter() - started
    pack, seconds = _time_updates(work, config, workers)
    on_gpu = device.type == "cuda"
    pace = Pace(
        pack=pack,
        seconds_per_trial=config.ppo.iterations * seconds + _seconds_of_scoring(work, config, pack),
        startup_seconds=startup,
        worker_bytes=torch.cuda.max_memory_reserved() if on_gpu else _most_resident(),
        device_bytes=torch.cuda.get_device_properties(0).total_memory
        if on_gpu
        else psutil.virtual_memory().total,
        devices=torch.cuda.device_count() if on_gpu else 1,
    )
    channel.send({"kind": "measured", **asdict(pace)})


def _time_updates(work: Assembly, config: StudyConfig, workers: int) -> tuple[int, float]:
    """The size of a pack, and the seconds per trial of one iteration in it.

    Raises:
        PPOTuneError: If an iteration fails.
    """
    _try_update(work, config)
    pack = wanted_pack(config)
    if pack is None:
        until, trials = perf_counter() + MOST_SECONDS, ceil(expected_trials(config) / workers)
        tried = fit_pack(work, config, trials, should_stop=lambda: perf_counter() > until).seconds
        if tried:
            pack = min(tried, key=lambda size: tried[size])
            work.policy.resize(pack)
            return pack, tried[pack]
    seconds = PackTimer(work, config)(pack or 1)
    if seconds is None:
        raise PPOTuneError(f"a pack of {pack} trials does not fit into memory; take a smaller search.pack")
    return pack or 1, seconds


def _try_update(work: Assembly, config: StudyConfig) -> None:
    """One iteration of the default config.

    Raises:
        PPOTuneError: If it fails; says why.
    """
    work.trainer.start(0, config.ppo_of(config.baseline), config.search.seed)
    try:
        (result,) = work.trainer.step().values()
        if isinstance(result, TrialError):
            raise PPOTuneError(f"the first update fails ({result.ending}): {result}")
    finally:
        work.trainer.drop(0)


def _seconds_of_scoring(work: Assembly, config: StudyConfig, pack: int) -> float:
    """Seconds in which a trial is scored at its milestones, in a pack of so many.

    Raises:
        PPOTuneError: If it fails; says why.
    """
    evaluator, every = work.evaluator, len(work.evaluator.rows)
    few = min(milestone_draws(config).on_the_way or every, every)
    started = perf_counter()
    for judged in evaluator(range(pack), n_prompts=few).values():
        if isinstance(judged, TrialError):
            raise PPOTuneError(f"held-out responses cannot be scored ({judged.ending}): {judged}")
    per_prompt = (perf_counter() - started) / (few * pack)
    return per_prompt * ((len(config.milestone_episodes()) - 1) * few + every)


def _most_resident() -> int:
    """Memory that this process held at its most, in bytes.

    On Linux as its own memory says: what is told of its usage begins with that of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="utf-8").splitlines()
        peak = next((line for line in lines if line.startswith("VmHWM:")), None)
        if peak is not None:
            return 1024 * int(peak.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
