"""What the supervisor makes of what its workers send and of how they end; workers that follow a script stand in."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, Trial, TrialState

from ppo_tune.errors import PPOTuneError, SearchStoppedError
from ppo_tune.events import Event
from ppo_tune.search.budget import Budget
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.results import STATES, ending_of
from ppo_tune.search.storage import create_study
from ppo_tune.search.supervisor import MAX_ATTEMPTS, Supervisor, WorkerError
from ppo_tune.search.workers import Done, Ended, Failed, Message, Refused, Worker, Workers
from tests.worlds import StudyMaker

Life = Iterator[Message]


class Scripted(Workers):
    """Workers in this process, each of which goes on by one message whenever the supervisor looks.

    Args:
        lives: What the workers do, in the order in which they are started; the last one is that of all later ones.
    """

    def __init__(self, *lives: Callable[[Worker], Life]) -> None:
        super().__init__(lambda *_: None)
        self.lives = list(lives)
        self.started: list[Worker] = []
        self.asked_to_stop: list[Worker] = []
        self.killed: list[Worker] = []
        self._alive: dict[Worker, Life] = {}

    def start(self, worker: Worker) -> None:
        life = self.lives.pop(0) if len(self.lives) > 1 else self.lives[0]
        self.started.append(worker)
        self._alive[worker] = life(worker)

    def events(self, timeout: float) -> Iterator[tuple[Worker, Message | Ended]]:
        for worker, life in list(self._alive.items()):
            message = next(life, None)
            if message is None:
                del self._alive[worker]
            yield worker, Ended("exit code 9") if message is None else message

    def stop(self, worker: Worker) -> None:
        self.asked_to_stop.append(worker)

    def kill(self, worker: Worker) -> None:
        self.killed.append(worker)
        self._alive[worker] = iter(())

    def alive(self) -> Sequence[Worker]:
        return list(self._alive)

    def close(self) -> None: ...


class Search:
    """A study of random proposals, and what a supervisor made of it."""

    def __init__(self, make_study: StudyMaker, folder: Path, n_trials: int, n_workers: int = 1) -> None:
        self.plan = SearchPlan(make_study(search={"n_trials": n_trials}), n_workers)
        self.study = create_study(self.plan.config, f"sqlite:///{folder / 'study.db'}", {})
        self.events: list[Event] = []
        self.supervisor: Supervisor | None = None

    def run(self, *lives: Callable[[Worker], Life]) -> tuple[bool, Scripted]:
        workers = Scripted(*lives)
        watch = self.events.append
        self.supervisor = Supervisor(workers, self.plan, self.study, "", Path(), "here", watch)
        return self.supervisor.run(), workers

    def ask(self, worker: Worker) -> Trial | None:
        return self.plan.ask(self.study, 0, worker.owner)

    def train_all(self, worker: Worker) -> Life:
        """What a healthy worker does."""
        while (trial := self.ask(worker)) is not None:
            yield {"kind": "started", "number": trial.number}
            yield self.end(trial, "completed", 1.0)
        yield Done()

    def end(self, trial: Trial, ending: str, value: float | None = None) -> Event:
        trial.set_user_attr("ending", ending)
        self.study.tell(trial, value, state=STATES[ending])
        return {"kind": "ended", "number": trial.number, "ending": ending, "reason": "so", "value": value}

    def take_one_and_die(self, worker: Worker) -> Life:
        trial = self.ask(worker)
        assert trial is not None
        yield {"kind": "started", "number": trial.number}

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials()

    def endings(self) -> list[str]:
        return [ending_of(trial) for trial in self.trials()]


def die(worker: Worker) -> Life:
    return iter(())


def test_who_is_done_is_not_started_again(make_study: StudyMaker, tmp_path: Path) -> None:
    search = Search(make_study, tmp_path, n_trials=3, n_workers=2)

    interrupted, workers = search.run(search.train_all)

    assert not interrupted
    assert [worker.index for worker in workers.started] == [0, 1]
    assert search.endings() == ["completed"] * 3
    assert [event["worker"] for event in search.events if event["kind"] == "ended"] == [0, 1, 0]


def test_a_dead_workers_trial_runs_again_and_another_machines_goes_on(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    search = Search(make_study, tmp_path, n_trials=4, n_workers=1)
    search.study.enqueue_trial({"learning_rate": 0.05, "kl_coef": 0.05})
    far = search.study.ask(
        search.plan.config.space.distributions()
    )  # no owner of ours, this host and this pid

    _, workers = search.run(search.take_one_and_die, search.train_all)

    lost = search.trials()[1]
    assert search.trials()[far.number].state is TrialState.RUNNING
    assert ending_of(lost) == "lost"
    (again,) = (
        t for t in search.trials() if TrialFacts(t).origin == lost.number and t is not lost and t.number > 1
    )
    assert (again.params, ending_of(again)) == (lost.params, "completed")
    assert [worker.index for worker in workers.started] == [0, 0]
    assert len({worker.owner for worker in workers.started}) == 2
    (event,) = (event for event in search.events if event["kind"] == "lost")
    assert (event["number"], event["reason"]) == (lost.number, "worker 0 died with exit code 9")


def test_a_worker_that_dies_while_the_sampler_proposes_costs_the_search_no_trial(
    make_study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(make_study, tmp_path, n_trials=2)
    suggest = Trial._suggest

    def die_proposing(worker: Worker) -> Life:
        def killed(*_: object) -> float:
            raise KeyboardInterrupt

        monkeypatch.setattr(Trial, "_suggest", killed)
        with pytest.raises(KeyboardInterrupt):
            search.ask(worker)
        monkeypatch.setattr(Trial, "_suggest", suggest)
        yield from ()

    search.run(die_proposing, search.train_all)

    assert search.endings().count("completed") == 2
    assert TrialState.RUNNING not in [trial.state for trial in search.trials()]
    assert sum(TrialFacts(t).is_default and ending_of(t) == "completed" for t in search.trials()) == 1


def test_a_trial_that_kills_its_worker_every_time_is_given_up(make_study: StudyMaker, tmp_path: Path) -> None:
    search = Search(make_study, tmp_path, n_trials=1)

    search.run(*[search.take_one_and_die] * MAX_ATTEMPTS, search.train_all)

    assert search.endings() == [*["lost"] * (MAX_ATTEMPTS - 1), "crashed"]
    assert TrialFacts(search.trials()[-1]).reason == "worker 0 died with exit code 9, 3 times"
    assert [event["kind"] for event in search.events] == ["started", "lost"] * 2 + ["started", "ended"]


def test_workers_that_die_before_any_trial_stop_the_search(make_study: StudyMaker, tmp_path: Path) -> None:
    search = Search(make_study, tmp_path, n_trials=4, n_workers=2)

    with pytest.raises(
        SearchStoppedError, match=r"workers died 7 times in a row .* the last died with exit code 9; look"
    ):
        search.run(die)


def test_a_reward_that_ends_the_process_as_if_all_were_done_is_a_death(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    search = Search(make_study, tmp_path, n_trials=2)

    def say_done_too_early(worker: Worker) -> Life:
        yield Done()

    _, workers = search.run(say_done_too_early, search.train_all)

    assert len(workers.started) == 2
    assert search.endings() == ["completed"] * 2


@pytest.mark.parametrize(
    ("message", "error", "words"),
    [
        (Refused("no such model"), PPOTuneError, r"^no such model$"),
        (Failed("Traceback: 1/0"), WorkerError, r"^worker 0 met a bug; please report it:\nTraceback: 1/0$"),
    ],
)
def test_a_worker_that_cannot_go_on_ends_them_all(
    message: Message, error: type[Exception], words: str, make_study: StudyMaker, tmp_path: Path
) -> None:
    search = Search(make_study, tmp_path, n_trials=2, n_workers=2)

    def give_up(worker: Worker) -> Life:
        yield message

    def keep(worker: Worker) -> Life:
        yield from search.take_one_and_die(worker)

    workers = Scripted(give_up, keep)
    with pytest.raises(error, match=words):
        Supervisor(workers, search.plan, search.study, "", Path(), "here", lambda _: None).run()

    assert [worker.index for worker in workers.killed] == [0, 1]


def test_three_failures_in_a_row_stop_the_search_and_others_between_them_do_not(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    search = Search(make_study, tmp_path, n_trials=9)
    names = iter(
        ["reward_error", "reward_error", "completed", "reward_error", "out_of_memory", *["reward_error"] * 9]
    )

    def fail(worker: Worker) -> Life:
        while (trial := search.ask(worker)) is not None:
            name = next(names)
            yield search.end(trial, name, 1.0 if name == "completed" else None)

    with pytest.raises(SearchStoppedError) as caught:
        search.run(fail)

    assert str(caught.value) == (
        "3 trials in a row ended with reward_error, so the search stops. The first said: so"
    )
    assert len(search.endings()) == 8


def test_the_first_interrupt_asks_once_and_the_second_kills(make_study: StudyMaker, tmp_path: Path) -> None:
    search = Search(make_study, tmp_path, n_trials=3)

    def interrupted(worker: Worker) -> Life:
        yield from search.take_one_and_die(worker)
        for times in (1, 0, 1):
            for _ in range(times):
                assert search.supervisor is not None
                search.supervisor.stop()
            yield {"kind": "progress", "number": 0, "episodes": 8}
        raise AssertionError("it should be dead")

    stopped, workers = search.run(interrupted)

    assert stopped
    assert len(workers.asked_to_stop) == len(workers.killed) == 1
    assert search.endings() == ["lost", "waiting"]
    assert len(workers.started) == 1


def test_workers_are_asked_to_stop_when_the_seconds_are_over_and_none_is_started_again(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    search = Search(make_study, tmp_path, n_trials=3)

    def late(worker: Worker) -> Life:
        yield from search.take_one_and_die(worker)
        search.plan.budget = Budget(search.plan.config, deadline=time.time())
        yield {"kind": "progress", "number": 0, "episodes": 8}
        yield {"kind": "progress", "number": 0, "episodes": 16}

    stopped, workers = search.run(late)

    assert not stopped
    assert len(workers.asked_to_stop) == len(workers.started) == 1
    assert search.endings() == ["lost", "waiting"]
    assert TrialFacts(search.trials()[1]).origin == 0


def test_a_trial_under_way_at_a_stop_is_no_failed_attempt(make_study: StudyMaker, tmp_path: Path) -> None:
    search = Search(make_study, tmp_path, n_trials=2)

    def fail_ours(worker: Worker) -> Life:
        yield from search.take_one_and_die(worker)
        raise KeyError("of the test")

    with pytest.raises(KeyError):
        search.run(fail_ours)

    assert search.endings() == ["preempted", "waiting"]
    assert TrialFacts(search.trials()[1]).attempt == 1
