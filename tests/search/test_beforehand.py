"""What the first worker's process looks at before there is a study."""

import os
from pathlib import Path

import pytest

from ppo_tune.config.study import StudyConfig
from ppo_tune.errors import PPOTuneError
from ppo_tune.search.beforehand import answers, look_beforehand, needs_look
from ppo_tune.search.facts import Owner
from ppo_tune.search.local_workers import LocalWorkers
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.supervisor import WorkerError
from ppo_tune.search.workers import Channel, Worker
from tests.search.stub_work import act
from tests.worlds import StudyMaker


def tell(given: str, channel: Channel) -> None:
    """Do what the text says."""
    channel.send({"kind": "note", "text": given, "pid": os.getpid()})
    match given:
        case "refuse":
            raise PPOTuneError("no such thing")
        case "fail":
            raise ValueError("a bug")
        case "die":
            os._exit(1)


def test_the_process_is_that_of_the_first_worker(make_study: StudyMaker) -> None:
    """So what it imported, seconds of a core, is there when the worker starts."""
    with LocalWorkers(act) as processes:
        found = [*answers(processes, tell, "go on"), *answers(processes, tell, "go on")]
        processes.start(Worker(Owner.new("here"), 0, SearchPlan(make_study()), "count", Path(), 1))
        while processes.alive():
            found += [m for _, m in processes.events(timeout=1.0) if isinstance(m, dict) and "pid" in m]

    assert [event["kind"] for event in found] == ["note", "note", "begun"]
    assert len({event["pid"] for event in found}) == 1


def test_a_refusal_and_a_bug_are_told_and_a_death_is_left_to_the_workers() -> None:
    with LocalWorkers(act) as processes:
        with pytest.raises(PPOTuneError, match=r"^no such thing$"):
            answers(processes, tell, "refuse")
        with pytest.raises(
            WorkerError, match=r"a worker met a bug; please report it:[\s\S]*ValueError: a bug"
        ):
            answers(processes, tell, "fail")
        assert [event["text"] for event in answers(processes, tell, "die")] == ["die"]


def test_the_embedded_task_needs_no_look(make_study: StudyMaker) -> None:
    embedded = {"task": {"name": "support"}, "space": {"gamma": {"type": "float", "low": 0.9, "high": 1.0}}}

    def config(**changes: object) -> StudyConfig:
        return StudyConfig.model_validate({"name": "s", **embedded, **changes})

    assert not needs_look(config())
    assert needs_look(config(model={"name": "a/b"}))
    assert needs_look(config(model={"compile": True}))
    assert needs_look(config(task={"name": "support", "gold": {"name": "rule", "include": {"a": 1.0}}}))
    assert needs_look(make_study())


def _never(worker: Worker, channel: Channel) -> None:
    raise AssertionError


def test_a_look_finds_what_a_worker_would_stumble_over(make_study: StudyMaker) -> None:
    with LocalWorkers(_never) as processes:
        assert look_beforehand(processes, make_study()) == []
        with pytest.raises(PPOTuneError, match=r"^task\.stop: "):
            look_beforehand(processes, make_study(task={"stop": ["\u4e2d"]}))
