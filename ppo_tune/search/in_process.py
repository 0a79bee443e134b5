"""A plan's trials trained in the process that asks for them, where what scores them lives.

It is no runner: what the user's session holds cannot be had by another process, and this one can be neither killed nor
started again. For all else a search goes as under `ppo_tune.search.supervisor`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from optuna.study import Study

from ppo_tune.events import Watcher
from ppo_tune.search.facts import Owner
from ppo_tune.search.pack_size import wanted_pack
from ppo_tune.search.plan import Plan
from ppo_tune.search.storage import close_lost_trials
from ppo_tune.search.supervisor import Failures, stop_on_interrupt
from ppo_tune.search.workers import Channel, Message, Worker


@dataclass
class InProcess(Channel):
    """The only worker of a plan, and what its supervisor would be.

    Args:
        plan: What there is to do.
        study: Whose trials they are; nobody else here may train any of them.
        url: Of its store.
        folder: Where trials' files go.
        search: The identity of the study's folder, see `StudyFolder.identity`.
        watch: Told of everything that happens.
    """

    plan: Plan
    study: Study
    url: str
    folder: Path
    search: str
    watch: Watcher
    _failures: Failures = field(default_factory=Failures)
    _interrupts: int = 0

    def run(self) -> bool:
        """Train until nothing is left to do; says whether the user stopped it before its total.

        Raises:
            PPOTuneError: If something cannot be used, or every trial fails for the same reason.
        """
        from ppo_tune.search.worker import train_as_guest  # torch is loaded where models are

        trials = self.plan.remaining(self.study)
        if not trials:
            return False
        pack = wanted_pack(self.plan.config)
        worker = Worker(Owner.new(self.search), 0, self.plan, self.url, self.folder, trials, pack)
        with stop_on_interrupt(self.stop):
            try:
                train_as_guest(worker, self)
            except KeyboardInterrupt:
                if not self._interrupts:  # it came from somewhere else
                    raise
            finally:
                close_lost_trials(self.study, self.search, "preempted")
        return self._interrupts > 0 and self.plan.remaining(self.study) > 0

    def stop(self) -> None:
        """First call: finish the iteration and stop. Second: stop now.

        Raises:
            KeyboardInterrupt: At the second call.
        """
        self._interrupts += 1
        if self._interrupts > 1:
            raise KeyboardInterrupt

    def send(self, message: Message) -> None:
        """Pass an event on.

        Raises:
            SearchStoppedError: If every trial fails for the same reason.
        """
        assert isinstance(message, Mapping), "all that training sends are events"
        self.watch({**message, "worker": 0})
        if message["kind"] == "ended":
            self._failures.count(message["ending"], message["reason"])

    def stop_requested(self) -> bool:
        """Whether the user stopped it, or its seconds are over."""
        return self._interrupts > 0 or self.plan.budget.is_late
