"""A trial under way belongs to one incarnation of a worker: nobody else gives it back, and no restart forgets it."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from ppo_tune.config.study import StudyConfig
from ppo_tune.search.facts import Owner, TrialFacts, begin_trial, pid_namespace
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.results import ending_of
from ppo_tune.search.samplers import make_sampler
from ppo_tune.search.storage import ask_as, close_lost_trials, create_study, give_back, running_of
from ppo_tune.search.supervisor import Supervisor
from ppo_tune.search.workers import Done, Ended, Message, Worker, Workers
from tests.worlds import OWNER, StudyMaker


@pytest.fixture
def config(make_study: StudyMaker) -> StudyConfig:
    return make_study(search={"n_trials": 2})


@pytest.fixture
def study(config: StudyConfig, tmp_path: Path) -> Study:
    return create_study(config, f"sqlite:///{tmp_path / 'study.db'}", {})


class OneTrialEach(Workers):
    """Workers that begin a trial each; they tell it if they are to end well, and die with it if not."""

    def __init__(self, study: Study, *, ends_well: bool) -> None:
        super().__init__(lambda *_: None)
        self.study = study
        self.ends_well = ends_well
        self.living: list[Worker] = []

    def start(self, worker: Worker) -> None:
        self.living.append(worker)

    def events(self, timeout: float) -> Iterator[tuple[Worker, Message | Ended]]:
        worker = self.living[0]
        trial = ask_as(self.study, worker.plan.config.space, worker.owner)
        if self.ends_well:
            self.study.tell(trial, 0.1)
            yield worker, Done()
        self.ends_well = True
        self.living.remove(worker)
        yield worker, Ended("exit code 0")

    def stop(self, worker: Worker) -> None: ...

    def kill(self, worker: Worker) -> None: ...

    def alive(self) -> Sequence[Worker]:
        return list(self.living)

    def close(self) -> None: ...


def supervise(
    study: Study, config: StudyConfig, folder: Path, search: str, *, ends_well: bool = True
) -> None:
    workers = OneTrialEach(study, ends_well=ends_well)
    Supervisor(workers, SearchPlan(config), study, "", folder, search, lambda _: None).run()


def test_a_worker_that_ends_leaves_the_trial_of_another_machine_alone(
    study: Study, config: StudyConfig, tmp_path: Path
) -> None:
    """The other machine has the same host name, and its worker the same process number, as containers do."""
    theirs = ask_as(study, config.space, Owner.new("another machine's search"))

    supervise(study, config, tmp_path, "our search")
    study.tell(theirs, 0.9)

    first, second = study.get_trials(deepcopy=False)
    assert (first.state, first.value) == (TrialState.COMPLETE, 0.9)
    assert (second.state, second.value) == (TrialState.COMPLETE, 0.1)
    assert [(t.host, t.pid) for t in map(TrialFacts, (first, second))] == [(platform.node(), os.getpid())] * 2


def test_a_dead_workers_trial_runs_again(study: Study, config: StudyConfig, tmp_path: Path) -> None:
    supervise(study, config, tmp_path, "our search", ends_well=False)

    assert [ending_of(trial) for trial in study.get_trials()] == ["lost", "complete", "complete"]
    assert TrialFacts(study.get_trials()[1]).origin == 0


def test_what_a_killed_search_left_is_given_back_by_the_next_one_from_the_same_folder(
    study: Study, config: StudyConfig, tmp_path: Path
) -> None:
    ours, theirs = StudyFolder(tmp_path / "ours"), StudyFolder(tmp_path / "theirs")
    for folder in (ours, theirs):
        folder.path.mkdir()
    killed = Owner.new(ours.identity())
    ask_as(study, config.space, killed)
    ask_as(study, config.space, Owner.new(theirs.identity()))

    closed = close_lost_trials(study, ours.identity())

    assert closed == [0]
    assert study.get_trials()[1].state is TrialState.RUNNING


def test_two_incarnations_of_a_worker_are_two_owners() -> None:
    assert Owner.new("a search") != Owner.new("a search")


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("facts", "is_given_back"),
    [
        pytest.param({"host": platform.node(), "pid": dead_pid()}, True, id="dead, here"),
        pytest.param({"host": platform.node(), "pid": os.getpid()}, False, id="alive, here"),
        pytest.param({"host": "elsewhere", "pid": dead_pid()}, False, id="elsewhere"),
        pytest.param({}, False, id="nobody knows where"),
    ],
)
def test_of_trials_without_an_owner_those_of_dead_processes_here_are_given_back(
    study: Study, facts: dict[str, Any], is_given_back: bool
) -> None:
    """Version 0.1.0 noted host and process number alone."""
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=facts))

    assert close_lost_trials(study, OWNER.search) == ([1] if is_given_back else [])


OTHERS = {"owner": {"search": "another folder", "worker": "a worker"}, "host": platform.node()}


@pytest.mark.parametrize(
    ("facts", "is_given_back"),
    [
        pytest.param({"pid": dead_pid(), "pid_namespace": pid_namespace()}, True, id="dead, here"),
        pytest.param({"pid": os.getpid(), "pid_namespace": pid_namespace()}, False, id="alive, here"),
        pytest.param(
            {"pid": dead_pid(), "pid_namespace": "another container"}, False, id="of the same host name"
        ),
        pytest.param({"pid": dead_pid()}, False, id="nobody knows where"),
    ],
)
def test_a_search_from_another_folder_gives_back_what_dead_processes_of_this_machine_left(
    study: Study, facts: dict[str, Any], is_given_back: bool
) -> None:
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=OTHERS | facts))

    assert close_lost_trials(study, OWNER.search) == ([1] if is_given_back else [])


class Watching(optuna.samplers.RandomSampler):
    """Notes whose trials are running whenever it proposes something."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.seen: list[Owner | None] = []

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self.seen += [TrialFacts(trial).owner for trial in running]
        return {}


def test_no_trial_ever_runs_without_its_owner(study: Study, config: StudyConfig) -> None:
    study.sampler = watching = Watching()
    owners = [Owner.new("a search") for _ in range(3)]

    for owner in owners:
        ask_as(study, config.space, owner)

    assert set(watching.seen) == set(owners)


def test_a_waiting_trial_that_two_machines_want_is_the_quicker_ones_and_stays_it(
    study: Study, config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one has seen the trial waiting, and says that it wants it, when the quicker one trains it already."""
    quicker, slower = Owner.new("here"), Owner.new("there")
    waiting = study.get_trials(states=(TrialState.WAITING,))
    ask_as(study, config.space, quicker)

    with monkeypatch.context() as late:
        late.setattr(study, "get_trials", lambda **_: waiting)
        begin_trial(study, slower)

    assert [TrialFacts(trial).owner for trial in study.get_trials()] == [quicker, slower]
    assert close_lost_trials(study, slower.search) == [1]


def test_who_dies_between_beginning_a_waiting_trial_and_owning_it_is_known(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying, write = Owner.new("a search"), study._storage.set_trial_user_attr

    def die(trial_id: int, key: str, value: Any) -> None:
        if key == "owner":
            raise KeyboardInterrupt
        write(trial_id, key, value)

    with monkeypatch.context() as dies:
        dies.setattr(study._storage, "set_trial_user_attr", die)
        with pytest.raises(KeyboardInterrupt):
            begin_trial(study, dying)

    assert [trial.number for trial in running_of(study, dying)] == [0]
    assert running_of(study, Owner.new("a search")) == []


def test_a_trial_that_its_own_worker_ended_meanwhile_is_not_given_back(
    study: Study, config: StudyConfig
) -> None:
    trial = ask_as(study, config.space, OWNER)
    (seen,) = study.get_trials(states=(TrialState.RUNNING,))
    trial.set_user_attr("ending", "completed")
    study.tell(trial, 0.5)

    give_back(study, seen, "lost")

    assert [(t.state, ending_of(t)) for t in study.get_trials()] == [(TrialState.COMPLETE, "completed")]


def test_a_trial_that_its_own_worker_ends_while_it_is_given_back_counts_once(
    study: Study, config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, write = ask_as(study, config.space, OWNER), study._storage.set_trial_user_attr
    (seen,) = study.get_trials(states=(TrialState.RUNNING,))

    def be_late(trial_id: int, key: str, value: Any) -> None:
        write(trial_id, key, value)
        study.tell(trial.number, 0.5)

    with monkeypatch.context() as late:
        late.setattr(study._storage, "set_trial_user_attr", be_late)
        give_back(study, seen, "lost")

    assert [(t.state, ending_of(t)) for t in study.get_trials()] == [(TrialState.COMPLETE, "completed")]


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
def test_a_trial_with_an_owner_has_the_values_that_optuna_would_give_it(
    make_study: StudyMaker, sampler: str
) -> None:
    config = make_study(search={"sampler": sampler})
    one, other = (optuna.create_study(direction="maximize") for _ in range(2))

    for number in range(14):
        for study in (one, other):
            study.sampler = make_sampler(config, number)
        expected = one.ask(config.space.distributions())
        trial = ask_as(other, config.space, OWNER)
        for study, told in ((one, expected), (other, trial)):
            study.tell(told, float(number % 5))

        assert (trial.number, trial.params) == (expected.number, expected.params)
