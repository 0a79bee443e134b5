"""Keep the workers of a plan going until its trials are over, whatever ends them, and stop when asked.

The supervisor trains nothing. All truth is in the store: whatever is killed, the same call goes on to the same total.
Where workers are and how they are reached is `ppo_tune.search.workers`' business.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial

from ppo_tune.config.study import StudyConfig
from ppo_tune.errors import PPOTuneError, SearchStoppedError
from ppo_tune.events import Event, Watcher
from ppo_tune.search.facts import Owner, TrialFacts
from ppo_tune.search.pack_size import wanted_pack
from ppo_tune.search.plan import Plan
from ppo_tune.search.storage import close_lost_trials, end_trial, give_back, running_of
from ppo_tune.search.workers import Done, Ended, Failed, Message, Refused, Worker, Workers

MAX_ATTEMPTS = 3
"""How often a trial whose worker dies is tried before that is its ending."""

MAX_SAME_FAILURES = 3
"""How many trials may fail in a row for the same reason before the search stops itself."""


class WorkerError(RuntimeError):
    """A worker met a bug of ours; holds its traceback."""


@dataclass
class Failures:
    """Trials that failed one after the other for the same reason."""

    ending: str = ""
    reasons: list[str] = field(default_factory=list)

    def count(self, ending: str, reason: str) -> None:
        """Count a trial that is over.

        Raises:
            SearchStoppedError: If too many have failed so.
        """
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


@dataclass
class Supervisor:
    """Starts the workers that share a plan, and starts again what died.

    Args:
        workers: Where they run; none may be alive.
        plan: What there is to do.
        study: Whose trials they are; nobody else here may train any of them.
        url: Of its store.
        folder: Where trials' files go.
        search: The identity of the study's folder, see `StudyFolder.identity`; its workers' trials belong to it.
        watch: Told of everything that happens.
    """

    workers: Workers
    plan: Plan
    study: Study
    url: str
    folder: Path
    search: str
    watch: Watcher
    _packs: dict[Owner, int] = field(default_factory=dict)
    _done: set[Owner] = field(default_factory=set)
    _asked_to_stop: set[Owner] = field(default_factory=set)
    _failures: Failures = field(default_factory=Failures)
    _interrupts: int = 0
    _idle_deaths: int = 0

    def run(self) -> bool:
        """Supervise until all workers have ended for good; says whether the user stopped it before its total.

        Raises:
            PPOTuneError: If a worker cannot use something, or every trial fails for the same reason.
            WorkerError: If a worker met a bug.
        """
        with stop_on_interrupt(self.stop):
            try:
                self._start_all()
                while self.workers.alive():
                    for worker, message in self.workers.events(timeout=1.0):
                        self._take_in(worker, message)
                    self._ask_to_stop()
            finally:
                for worker in self.workers.alive():
                    self.workers.kill(worker)
                close_lost_trials(self.study, self.search, "preempted")
        return self._interrupts > 0 and self.plan.remaining(self.study) > 0

    def stop(self) -> None:
        """First call: finish the iteration and stop. Second: stop now."""
        self._interrupts += 1
        if self._interrupts > 1:
            for worker in self.workers.alive():
                self.workers.kill(worker)

    @property
    def _is_stopping(self) -> bool:
        """Whether the user stopped it, or its seconds are over."""
        return self._interrupts > 0 or self.plan.budget.is_late

    def _ask_to_stop(self) -> None:
        for worker in self.workers.alive():
            if self._is_stopping and worker.owner not in self._asked_to_stop:
                self._asked_to_stop.add(worker.owner)
                self.workers.stop(worker)

    def _start_all(self) -> None:
        trials = self.plan.remaining(self.study)
        n_workers = min(self.plan.workers, trials)
        for index in range(n_workers):
            owner, each, pack = Owner.new(self.search), -(-trials // n_workers), wanted_pack(self.plan.config)
            self.workers.start(Worker(owner, index, self.plan, self.url, self.folder, each, pack))

    def _take_in(self, worker: Worker, message: Message | Ended) -> None:
        match message:
            case Done():
                self._done.add(worker.owner)
            case Refused():
                raise PPOTuneError(message.message)
            case Failed():
                raise WorkerError(f"worker {worker.index} met a bug; please report it:\n{message.traceback}")
            case Ended():
                self._replace_if_dead(worker, f"died with {message.reason}")
            case _:
                self._take_in_event(worker, message)

    def _take_in_event(self, worker: Worker, event: Event) -> None:
        self.watch({**event, "worker": worker.index})
        if event["kind"] == "pack":
            self._packs[worker.owner] = event["places"]
        if event["kind"] == "started":
            self._idle_deaths = 0
        if event["kind"] == "ended":
            self._failures.count(event["ending"], event["reason"])

    def _replace_if_dead(self, worker: Worker, how: str) -> None:
        """A worker is gone: done with its work, or dead, perhaps with trials under way."""
        left = running_of(self.study, worker.owner)
        for trial in left:
            self._rerun_or_give_up(trial, worker, f"worker {worker.index} {how}")
        # A reward may end the process as if all were done: who leaves a trial, or work that nobody does, is dead.
        unfinished = bool(left) or (not self.workers.alive() and self.plan.remaining(self.study) > 0)
        if not self._is_stopping and (worker.owner not in self._done or unfinished):
            self._count_idle_death(how)
            pack = pack_after(self.plan.config, self._packs.get(worker.owner, worker.pack))
            self.workers.start(replace(worker, owner=Owner.new(self.search), pack=pack))

    def _count_idle_death(self, how: str) -> None:
        """Stop where workers die again and again before any of them begins a trial."""
        self._idle_deaths += 1
        if self._idle_deaths > MAX_ATTEMPTS * self.plan.workers:
            raise SearchStoppedError(
                f"workers died {self._idle_deaths} times in a row before a trial began, the last {how}; look above "
                "for what they said"
            )

    def _rerun_or_give_up(self, trial: FrozenTrial, worker: Worker, reason: str) -> None:
        attempt, number = TrialFacts(trial).attempt, trial.number
        if attempt < MAX_ATTEMPTS or self._is_stopping:
            if give_back(self.study, trial, "lost"):
                self.watch({"kind": "lost", "number": number, "reason": reason, "worker": worker.index})
        elif end_trial(self.study, trial, "crashed", f"{reason}, {attempt} times"):
            self.watch({"kind": "ended", "number": number, "ending": "crashed", "reason": reason, "value": None,
                        "worker": worker.index})  # fmt: skip
            self._failures.count("crashed", reason)


def pack_after(config: StudyConfig, pack: int | None) -> int | None:
    """What a worker gets in place of a dead one: half its pack, which may have been too much for the memory."""
    if wanted_pack(config) is not None:
        return pack
    return max(1, (pack or 1) // 2)


@contextlib.contextmanager
def stop_on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Within this block Ctrl-C calls `stop`; only the main thread can arrange that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
