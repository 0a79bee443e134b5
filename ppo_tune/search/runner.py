"""Start the workers of a search, watch them, start again what died, and stop when asked.

The parent trains nothing. It makes the store, hands each worker the study's name, and hears of everything
through one pipe per worker; a worker whose parent is gone ends itself. All truth is in the store: whatever
is killed, the same call goes on to the same total.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config.blocks import StudyConfig
from ppo_tune.data.user_files import check_user_files
from ppo_tune.errors import PPOTuneError, SearchStoppedError, StorageError
from ppo_tune.events import Event, Watcher
from ppo_tune.files import make_folder
from ppo_tune.search.confirmation import ConfirmationPlan, open_confirmation
from ppo_tune.search.endings import STATES, count_endings
from ppo_tune.search.pack_size import MIN_ROUNDS, Share, wanted_pack
from ppo_tune.search.plan import Job, Plan, SearchPlan
from ppo_tune.search.results import best_trial, best_trials
from ppo_tune.search.storage import (
    check_same,
    close_lost_trials,
    create_study,
    give_back,
    load_study_from,
    run_folder,
    set_trial_attr,
    storage_url,
)

MAX_ATTEMPTS = 3
"""How often a trial whose worker dies is tried before that is its ending."""

MAX_SAME_FAILURES = 3
"""How many trials may fail in a row for the same reason before the search stops itself."""


class WorkerError(RuntimeError):
    """A worker met a bug of ours; holds its traceback."""


@dataclass
class _Worker:
    """A process and the parent's end of its pipe."""

    process: BaseProcess
    pipe: Connection
    index: int
    share: Share
    stopping: bool = False


@dataclass
class SearchResult:
    """A study when its search ended.

    Attributes:
        study: Optuna's object.
        interrupted: Whether the user stopped it before its total.
        folder: Where its files are.
    """

    study: Study
    interrupted: bool
    folder: Path


@dataclass
class _Failures:
    """Trials that failed one after the other for the same reason."""

    ending: str = ""
    reasons: list[str] = field(default_factory=list)

    def count(self, ending: str, reason: str) -> None:
        if ending not in ("reward_error", "out_of_memory", "crashed"):
            self.ending, self.reasons = "", []
            return
        self.reasons = [*self.reasons, reason] if ending == self.ending else [reason]
        self.ending = ending
        if len(self.reasons) >= MAX_SAME_FAILURES:
            raise SearchStoppedError(
                f"{len(self.reasons)} trials in a row ended with {ending}, so the search stops. "
                f"The first said: {self.reasons[0]}"
            )


def run_search(
    config: StudyConfig,
    *,
    out: Path | str = ".",
    storage: str | None = None,
    workers: int | None = None,
    watch: Watcher = lambda _: None,
    confirm: bool = True,
) -> SearchResult:
    """Run a study to its total of trials, or go on with it; then confirm its best few.

    Call it under `if __name__ == "__main__":`, for workers are fresh Python processes.

    Args:
        config: The experiment.
        out: Folder that gets `runs/<study>/`.
        storage: URL of an Optuna store; None keeps SQLite beside the trials.
        workers: Processes; None takes one per GPU, or one per core without a GPU.
        watch: Told of everything that happens.
        confirm: Whether the best few and the default run again at the end; see `run_confirmation`.

    Returns:
        The study.

    Raises:
        PPOTuneError: If something cannot be used, another search of the study is running here, or every trial
            fails for the same reason.
        WorkerError: If a worker met a bug.
    """
    folder = make_folder(run_folder(Path(out), config.name))
    inputs = check_user_files(config)
    url = storage or storage_url(Path(out), config.name)
    n_workers = workers or default_workers()
    with _only_search(folder, config.name):
        study = create_study(config, url, inputs.hashes)
        close_lost_trials(study)
        watch(_opened(study))
        for note in inputs.notes:
            watch({"kind": "note", "text": note})
        crew = _Crew("search", SearchPlan(config, n_workers), study, url, folder, watch)
        interrupted = crew.run()
        if confirm and not interrupted and not _is_under_way(study):
            interrupted = _confirm(config, study, url, folder, n_workers, watch)
    return SearchResult(study, interrupted, folder)


def run_confirmation(
    config: StudyConfig,
    *,
    out: Path | str = ".",
    storage: str | None = None,
    workers: int | None = None,
    watch: Watcher = lambda _: None,
) -> SearchResult:
    """Run the best few of a study and the default config on fresh seeds and unseen prompts, or go on with it.

    Call it under `if __name__ == "__main__":`, for workers are fresh Python processes.

    Args:
        config: The experiment; `search.confirm_top` and `search.confirm_seeds` say how much is done.
        out: Folder that holds `runs/<study>/`.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        workers: Processes; None takes one per GPU, or one per core without a GPU.
        watch: Told of everything that happens.

    Returns:
        The study.

    Raises:
        PPOTuneError: If there is no such study, nothing to confirm, or something cannot be used.
        WorkerError: If a worker met a bug.
    """
    url = storage or storage_url(Path(out), config.name)
    study = load_study_from(url, config.name)
    folder = make_folder(run_folder(Path(out), config.name))
    if not best_trials(study):
        raise PPOTuneError(
            f"study {config.name!r} has nothing to confirm: no trial besides the default was completed within the "
            f"KL budget of {config.search.kl_budget:g} nats; run more trials with `ppo-tune search --n-trials`"
        )
    with _only_search(folder, config.name):
        check_same(study, config, check_user_files(config).hashes)
        interrupted = _confirm(config, study, url, folder, workers or default_workers(), watch)
    return SearchResult(study, interrupted, folder)


def _confirm(config: StudyConfig, study: Study, url: str, folder: Path, workers: int, watch: Watcher) -> bool:
    """Confirm under the study's lock; says whether the user stopped it."""
    if not config.search.confirm_top or not best_trials(study):
        return False
    opened = open_confirmation(study, config)
    close_lost_trials(opened)
    plan = ConfirmationPlan(config, workers)
    watch({"kind": "confirming", "remaining": plan.remaining(opened), "done": _over(opened)})
    return _Crew("confirmation", plan, opened, url, make_folder(folder / "confirmation"), watch).run()


def _is_under_way(study: Study) -> bool:
    """Whether another machine still trains trials of the study."""
    return bool(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def default_workers() -> int:
    """One worker per GPU, or one per core of this machine."""
    if not version("torch").endswith("+cpu"):  # such a build knows no GPU and need not be loaded to say so
        import torch

        if torch.cuda.is_available():
            return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def crowding(config: StudyConfig, workers: int) -> list[str]:
    """A note where so many trials run at once that the sampler proposes most of them without any result."""
    if config.search.sampler.learns_after is None or workers == 1 or workers * MIN_ROUNDS <= config.n_trials:
        return []
    return [
        f"{workers} workers propose at once, and {config.n_trials} trials are less than {MIN_ROUNDS} rounds of "
        f"them: {config.search.sampler} can learn little; take fewer --workers or more --n-trials"
    ]


def _work(
    job: Job, config_json: str, url: str, folder: str, index: int, share: Share, pipe: Connection
) -> None:
    from ppo_tune.search.worker import work  # torch is loaded where models are, and not in the parent

    work(job, config_json, url, folder, index, share, pipe)


class _Crew:
    """The parent's view of the workers that share a plan."""

    def __init__(self, job: Job, plan: Plan, study: Study, url: str, folder: Path, watch: Watcher) -> None:
        self.job = job
        self.plan = plan
        self.study = study
        self.url = url
        self.folder = folder
        self.watch = watch
        self.workers: list[_Worker] = []
        self.failures = _Failures()
        self.interrupts = 0
        self.idle_deaths = 0

    def run(self) -> bool:
        """Watch until all is done; says whether the user stopped it."""
        with _stop_on_interrupt(self.stop):
            self._watch_workers()
        return self.interrupts > 0 and self.plan.remaining(self.study) > 0

    def _watch_workers(self) -> None:
        try:
            trials = self.plan.remaining(self.study)
            workers = min(self.plan.workers, trials)
            for index in range(workers):
                self._start(index, Share(-(-trials // workers), workers, wanted_pack(self.plan.config)))
            while self.workers:
                for ready in wait([worker.pipe for worker in self.workers], timeout=1.0):
                    worker = next(w for w in self.workers if w.pipe is ready)
                    self._hear(worker)
                self._ask_to_stop()
        finally:
            for worker in self.workers:
                worker.process.kill()
                worker.process.join()
            close_lost_trials(self.study, "preempted")

    def stop(self) -> None:
        """First call: finish the iteration and stop. Second: stop now."""
        self.interrupts += 1
        if self.interrupts > 1:
            for worker in self.workers:
                worker.process.kill()

    def _ask_to_stop(self) -> None:
        for worker in self.workers:
            if self.interrupts and not worker.stopping:
                worker.stopping = True
                with contextlib.suppress(OSError):  # it ended by itself just now
                    worker.pipe.send({"kind": "stop"})

    def _start(self, index: int, share: Share) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        config = self.plan.study_config.model_dump_json()
        arguments = (self.job, config, self.url, str(self.folder), index, share, theirs)
        process = context.Process(target=_work, args=arguments, name=f"ppo-tune-worker-{index}")
        process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours, index, share))

    def _hear(self, worker: _Worker) -> None:
        """Take in one message, or the end of a worker."""
        try:
            event: dict[str, Any] = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._bury(worker)
            return
        if event["kind"] == "refused":
            raise PPOTuneError(event["message"])
        if event["kind"] == "bug":
            raise WorkerError(f"worker {worker.index} met a bug; please report it:\n{event['traceback']}")
        self.watch({**event, "worker": worker.index})
        if event["kind"] == "pack":
            worker.share = replace(worker.share, pack=event["places"])
        if event["kind"] == "started":
            self.idle_deaths = 0
        if event["kind"] == "ended":
            self.failures.count(event["ending"], event["reason"])

    def _bury(self, worker: _Worker) -> None:
        """A worker is gone: done with its work, or dead with a trial under way."""
        worker.process.join()
        self.workers.remove(worker)
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        left = [trial for trial in running if trial.user_attrs.get("pid") == worker.process.pid]
        for trial in left:
            self._rerun_or_give_up(trial, worker)
        # A reward may end the process as if all were done: who leaves a trial, or work that nobody does, is dead.
        unfinished = bool(left) or (not self.workers and self.plan.remaining(self.study) > 0)
        if not self.interrupts and (worker.process.exitcode != 0 or unfinished):
            self._count_idle_death(worker)
            self._start(worker.index, self._share_after(worker.share))

    def _count_idle_death(self, worker: _Worker) -> None:
        """Stop where workers die again and again before any of them begins a trial."""
        self.idle_deaths += 1
        if self.idle_deaths > MAX_ATTEMPTS * self.plan.workers:
            raise SearchStoppedError(
                f"workers died {self.idle_deaths} times in a row before a trial began, the last with exit code "
                f"{worker.process.exitcode}; look above for what they said. A script that starts a search must be a "
                'file, and start it under `if __name__ == "__main__":`'
            )

    def _share_after(self, share: Share) -> Share:
        """What a worker gets in place of a dead one: half its pack, which may have been too much for the memory."""
        if wanted_pack(self.plan.config) is not None:
            return share
        return replace(share, pack=max(1, (share.pack or 1) // 2))

    def _rerun_or_give_up(self, trial: FrozenTrial, worker: _Worker) -> None:
        reason = f"worker {worker.index} died with exit code {worker.process.exitcode}"
        attempt = trial.user_attrs.get("attempt", 1)
        if attempt < MAX_ATTEMPTS or self.interrupts:
            give_back(self.study, trial, "lost")
            self.watch({"kind": "lost", "number": trial.number, "reason": reason, "worker": worker.index})
            return
        set_trial_attr(self.study, trial, "ending", "crashed")
        set_trial_attr(self.study, trial, "reason", f"{reason}, {attempt} times")
        self.study.tell(trial.number, state=STATES["crashed"], skip_if_finished=True)
        self.watch({"kind": "ended", "number": trial.number, "ending": "crashed", "reason": reason, "value": None,
                    "worker": worker.index})  # fmt: skip
        self.failures.count("crashed", reason)


@contextlib.contextmanager
def _only_search(folder: Path, name: str) -> Iterator[None]:
    """Hold the study's lock, so that two searches of it on one machine do not fight."""
    owner = folder / "search.pid"
    lock = FileLock(folder / "search.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = owner.read_text(encoding="utf-8") if owner.is_file() else "unknown"
        raise StorageError(
            f"another search of study {name!r} is running in {folder} (process {pid}); wait for it, or "
            "stop it first"
        ) from None
    try:
        owner.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _stop_on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Within this block Ctrl-C calls `stop`; only the main thread can arrange that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _opened(study: Study) -> Event:
    """What a study held when it was opened: trials over by ending, and the best of them."""
    best = best_trial(study)
    return {
        "kind": "opened",
        "done": _over(study),
        "best": (best.number, best.value, best.params) if best else None,
    }


def _over(study: Study) -> dict[str, int]:
    """How many trials are over, by ending."""
    return {name: n for name, n in count_endings(study).items() if name in STATES}
