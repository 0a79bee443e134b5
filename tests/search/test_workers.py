"""What every kind of runner promises, each member with real workers that train nothing."""

import importlib
import inspect
import os
import pkgutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import ppo_tune.search
from ppo_tune.errors import PPOTuneError
from ppo_tune.search.confirmation import ConfirmationPlan
from ppo_tune.search.facts import Owner
from ppo_tune.search.local_workers import LocalWorkers
from ppo_tune.search.plan import Plan, SearchPlan
from ppo_tune.search.workers import (
    Channel,
    Done,
    Ended,
    Failed,
    Message,
    Refused,
    Work,
    Worker,
    Workers,
    carry_out,
)
from tests.search.recorder import Recorder
from tests.search.stub_work import act, given
from tests.worlds import StudyMaker

for _module in pkgutil.walk_packages(ppo_tune.search.__path__, "ppo_tune.search."):
    importlib.import_module(_module.name)


@pytest.fixture(autouse=True)
def start_workers() -> None:
    """As for users."""


def kinds_below(kind: type[Any]) -> list[type[Workers]]:
    """All subclasses, also those of subclasses."""
    return [one for child in kind.__subclasses__() for one in (child, *kinds_below(child))]


MEMBERS = [
    member
    for member in dict.fromkeys(kinds_below(Workers))
    if member.__module__.startswith("ppo_tune.") and not inspect.isabstract(member)
]
"""Every runner, in whatever module of the search it stands; a new one is found here by itself."""

members = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)

Found = dict[str, list[Message | Ended]]
"""What came of workers, by their URLs."""


def collect(runner: Workers, found: Found, *, until: str = "", seconds: float = 300) -> Found:
    """Take in what comes until none is alive, or an event of that kind came from each."""
    deadline = time.monotonic() + seconds
    while runner.alive() and time.monotonic() < deadline:
        for worker, message in runner.events(timeout=1.0):
            found.setdefault(worker.url, []).append(message)
        if until and all(until in kinds(found.get(worker.url, [])) for worker in runner.alive()):
            break
    return found


def kinds(messages: list[Message | Ended]) -> list[str]:
    return [m["kind"] if isinstance(m, dict) else type(m).__name__ for m in messages]


@members
def test_a_runner_keeps_its_promises(member: type[Workers], make_study: StudyMaker) -> None:
    """Everything comes in its order; who is asked to stop can know it; who is killed is gone; each has one end."""
    space = {"learning_rate": {"type": "float", "low": 0.1 + 0.2, "high": 1.0, "log": True}}
    plans: list[Plan] = [plan(make_study(space=space), 5) for plan in Plan.__subclasses__()]
    workers = {
        url: Worker(Owner("here", str(i)), i, plans[i % len(plans)], url, Path("runs"), 2, 5)
        for i, url in enumerate(("count", "die", "fail", "wait", "hang"))
    }
    with member(act) as runner:
        for worker in workers.values():
            runner.start(worker)

        found = collect(runner, {}, until="begun")
        begun = {url: messages[0] for url, messages in found.items()}
        runner.stop(workers["wait"])
        runner.kill(workers["hang"])
        alive = psutil.pid_exists(begun["hang"]["pid"])  # type: ignore[index]
        collect(runner, found)
        assert runner.alive() == []
        for worker in workers.values():  # nothing happens to those that have ended
            runner.stop(worker)
            runner.kill(worker)
        assert list(runner.events(timeout=0.01)) == []

    assert not alive
    for url, event in begun.items():
        assert isinstance(event, dict)
        assert event["given"] == given(workers[url])  # and so a plan comes through as it was
    assert kinds(found["count"]) == ["begun", *["counted"] * 100, "Done", "Ended"]
    assert [m["i"] for m in found["count"][1:-2] if isinstance(m, dict)] == list(range(100))
    assert kinds(found["die"]) == ["begun", "Ended"]  # who ends as if all were done has not said so
    assert kinds(found["fail"]) == ["begun", "Failed", "Ended"]
    assert found["wait"][1:-1] == [{"kind": "stopping", "still": True}, Done()]
    assert kinds(found["hang"]) == ["begun", "Ended"]
    assert all(isinstance(messages[-1], Ended) and messages[-1].reason for messages in found.values())


@members
def test_a_runner_is_used_again_and_again_and_leaves_nothing(
    member: type[Workers], make_study: StudyMaker
) -> None:
    """A confirmation's workers follow the search's: whatever became of those, they are as good as the first."""
    plan = SearchPlan(make_study())

    def at_work(url: str) -> Worker:
        return Worker(Owner.new("here"), 0, plan, url, Path(), 1)

    with member(act) as runner:
        for url in ("count", "count", "fail", "wait", "count", "die", "count"):
            runner.start(worker := at_work(url))
            found = collect(runner, {}, until="begun")
            runner.stop(worker)  # too late for most of them, and not meant for the next
            counted = kinds(collect(runner, found)[url]).count("counted")
            assert counted == (100 if url == "count" else 0)

    deadline = time.monotonic() + 20
    while left := [
        child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())
    ]:
        assert time.monotonic() < deadline, left


def test_a_process_of_this_machine_is_imported_into_once(make_study: StudyMaker) -> None:
    """Imports are five seconds of a core; another place may be another GPU's, and gets a process of its own."""
    plan, pids = SearchPlan(make_study()), []
    with LocalWorkers(act) as runner:
        for index in (0, 1, 0, 1):
            runner.start(Worker(Owner.new("here"), index, plan, "count", Path(), 1))
            begun = collect(runner, {})["count"][0]
            assert isinstance(begun, dict)
            pids.append(begun["pid"])
    assert pids[:2] == pids[2:] and pids[0] != pids[1]


@members
def test_a_process_that_dies_while_it_waits_for_work_is_told_of(
    member: type[Workers], make_study: StudyMaker
) -> None:
    """So that its worker is started again, which then succeeds."""
    plan = SearchPlan(make_study())
    with member(act) as runner:
        runner.start(Worker(Owner.new("here"), 0, plan, "count", Path(), 1))
        begun = collect(runner, {})["count"][0]
        assert isinstance(begun, dict)
        psutil.Process(begun["pid"]).kill()
        endings = []
        for _ in range(2):
            runner.start(Worker(Owner.new("here"), 0, plan, "count", Path(), 1))
            endings.append(kinds(collect(runner, {})["count"]))
    assert endings[-1] == ["begun", *["counted"] * 100, "Done", "Ended"]
    assert endings[0] in (["Ended"], endings[1])


@members
def test_an_interrupt_does_not_end_a_worker_that_is_still_starting(
    member: type[Workers], make_study: StudyMaker
) -> None:
    """The terminal sends Ctrl-C to all; what becomes of a worker is its supervisor's to say."""
    with member(act) as runner:
        runner.start(Worker(Owner.new("here"), 0, SearchPlan(make_study()), "count", Path(), 1))
        for process in psutil.Process().children():
            process.send_signal(signal.SIGINT)

        assert kinds(collect(runner, {})["count"]) == ["begun", *["counted"] * 100, "Done", "Ended"]


def raising(error: BaseException) -> Work:
    def work(worker: Worker, channel: Channel) -> None:
        raise error

    return work


def test_a_workers_last_message_is_how_its_work_ended(make_study: StudyMaker, channel: Recorder) -> None:
    worker = Worker(Owner.new("here"), 0, SearchPlan(make_study()), "", Path(), 1)

    carry_out(lambda *_: None, worker, channel)
    carry_out(raising(PPOTuneError("no such model")), worker, channel)
    carry_out(raising(ValueError("a bug")), worker, channel)
    with pytest.raises(SystemExit):
        carry_out(raising(SystemExit(0)), worker, channel)

    assert channel.sent[:2] == [Done(), Refused("no such model")]
    assert isinstance(channel.sent[2], Failed) and "ValueError: a bug" in channel.sent[2].traceback
    assert len(channel.sent) == 3  # a reward that ends its process has not done the work


def test_every_plan_is_tried() -> None:
    assert set(Plan.__subclasses__()) == {SearchPlan, ConfirmationPlan}


SUPERVISOR = """
import importlib, sys, time
from pathlib import Path
from ppo_tune.config.study_file import load_study
from ppo_tune.search.facts import Owner
from ppo_tune.search.local_workers import LocalWorkers
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.workers import Worker
from tests.search.stub_work import act
if __name__ == "__main__":
    module, name, file = sys.argv[1:]
    runner = getattr(importlib.import_module(module), name)(act)
    runner.start(Worker(Owner.new("here"), 0, SearchPlan(load_study(file)), "hang", Path(), 1))
    begun = []
    while not begun:
        begun = [event["pid"] for _, event in runner.events(timeout=1.0)]
    print(begun[0], flush=True)
    time.sleep(3600)
"""


BARE = """
import importlib, sys
from pathlib import Path
from ppo_tune.config.study_file import load_study
from ppo_tune.search.facts import Owner
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.workers import Worker
from tests.search.stub_work import act
module, name, file = sys.argv[1:]
with getattr(importlib.import_module(module), name)(act) as runner:
    runner.start(Worker(Owner.new("here"), 0, SearchPlan(load_study(file)), "count", Path(), 1))
    found = []
    while runner.alive():
        found += [message for _, message in runner.events(timeout=1.0)]
print(len(found), __name__)
"""


@members
@pytest.mark.parametrize("how", ["a file", "the standard input", "a command"])
def test_a_worker_does_not_run_the_script_that_started_it(
    member: type[Workers], how: str, tmp_path: Path
) -> None:
    """Which guards nothing by its name, and need not be a file."""
    root, script = Path(__file__).parents[2], tmp_path / "bare.py"
    script.write_text(BARE, encoding="utf-8")
    first = {"a file": [str(script)], "the standard input": ["-"], "a command": ["-c", BARE]}[how]
    study = root / "search_spaces" / "quickstart.yaml"

    done = subprocess.run(
        [sys.executable, *first, member.__module__, member.__name__, str(study)],
        input=BARE, capture_output=True, text=True, timeout=200, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip

    assert done.stdout.split() == ["103", "__main__"], done.stderr


@members
def test_a_worker_whose_supervisor_was_killed_ends(member: type[Workers], tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    script, study = tmp_path / "supervisor.py", root / "search_spaces" / "quickstart.yaml"
    script.write_text(SUPERVISOR, encoding="utf-8")
    arguments = [sys.executable, str(script), member.__module__, member.__name__, str(study)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as supervisor:
        assert supervisor.stdout is not None
        process = psutil.Process(int(supervisor.stdout.readline()))

        supervisor.kill()

        assert psutil.wait_procs([process], timeout=20)[1] == []
