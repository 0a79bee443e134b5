"""Trials trained in the process that asks for them: a search as any other, and a process as it was."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import transformers
from optuna.study import Study

from ppo_tune.config.study import StudyConfig
from ppo_tune.data.user_functions import Held, hold
from ppo_tune.errors import SearchStoppedError
from ppo_tune.events import Event
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.run import SearchResult, run_search
from tests.worlds import StudyMaker

Scores = Callable[..., list[float]]


def count_red(prompts: Sequence[str], responses: Sequence[str], **columns: Any) -> list[float]:
    return [response.split().count("red") - 0.5 for response in responses]


@pytest.fixture
def search(
    make_study: StudyMaker, tmp_path: Path, keep: list[Held]
) -> Callable[..., tuple[StudyConfig, Callable[..., SearchResult]]]:
    """A study whose reward is a function of this process, and a way to search it into a folder."""

    def make(
        scores: Scores = count_red, **changes: dict[str, object]
    ) -> tuple[StudyConfig, Callable[..., SearchResult]]:
        stub = tmp_path / "lone.py"
        stub.write_text("raise ImportError('no other process may read this')\n", encoding="utf-8")
        keep.append(hold(f"{stub}:score", Held(scores, "scores", "is of this session")))
        changes["search"] = {"pack": 1, **changes.get("search", {})}
        config = make_study(task={"reward": {"name": "python", "function": f"{stub}:score"}}, **changes)

        def run(out: str, watch: Callable[[Event], None] = lambda _: None) -> SearchResult:
            return run_search(config, out=tmp_path / out, watch=watch)

        return config, run

    return make


@pytest.fixture
def keep() -> list[Held]:
    """What a session keeps."""
    return []


Search = Callable[..., tuple[StudyConfig, Callable[..., SearchResult]]]


def came_to(study: Study) -> dict[int, object]:
    """The configs and values of the completed trials, by the number that each had first."""
    done = (trial for trial in study.get_trials() if trial.user_attrs.get("ending") == "completed")
    return {TrialFacts(trial).origin: (trial.params, trial.value) for trial in done}


class Interrupt:
    """Sends this process Ctrl-C so many times when a trial first makes progress."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if event["kind"] == "progress":
            for _ in range(self.times):
                self.times -= 1
                os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("times", [1, 2])
def test_a_search_that_was_stopped_goes_on_to_what_it_comes_to_undisturbed(
    search: Search, times: int
) -> None:
    """Once finishes the iteration, twice stops at once; the trial under way runs again."""
    _, run = search()
    before = signal.getsignal(signal.SIGINT)
    whole = run("whole")
    interrupt = Interrupt(times)

    stopped = run("stopped", interrupt)
    done = came_to(stopped.study)
    resumed = run("stopped")

    assert stopped.interrupted
    assert not resumed.interrupted
    assert done == {}
    assert len([e for e in interrupt.events if e["kind"] == "progress"]) == 1
    assert stopped.study.get_trials()[0].user_attrs["ending"] == "preempted"
    assert len(came_to(resumed.study)) == len(came_to(whole.study)) == 4
    assert came_to(resumed.study)[0] == came_to(whole.study)[0]  # the others are proposed by their numbers
    assert signal.getsignal(signal.SIGINT) is before


def test_a_search_whose_trials_all_fail_alike_stops_itself(search: Search) -> None:
    calls = []

    def failing(prompts: Sequence[str], responses: Sequence[str], **columns: Any) -> list[float]:
        calls.append(len(responses))
        if len(calls) > 1:  # the untrained model is scored first
            raise ValueError("bad")
        return count_red(prompts, responses)

    _, run = search(failing)

    with pytest.raises(
        SearchStoppedError, match=r"3 trials in a row ended with reward_error.*reward function scores raised"
    ):
        run("out")


def test_a_search_ends_when_its_seconds_are_over(search: Search) -> None:
    _, run = search(search={"max_seconds": 0.01})

    result = run("out")

    assert not result.interrupted
    assert len(came_to(result.study)) < 4


def test_the_process_is_left_as_it_was(search: Search) -> None:
    """Its threads, and what libraries say; trained is with one thread, as by a worker."""
    seen: list[int] = []

    def scores(prompts: Sequence[str], responses: Sequence[str], **columns: Any) -> list[float]:
        seen.append(torch.get_num_threads())
        return count_red(prompts, responses)

    def settings() -> tuple[object, ...]:
        bars = transformers.utils.logging.is_progress_bar_enabled()
        return (
            torch.get_num_threads(),
            optuna.logging.get_verbosity(),
            transformers.logging.get_verbosity(),
            bars,
        )

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    before, state = settings(), torch.get_rng_state()
    try:
        search(scores)[1]("out")

        assert settings() == before
        assert set(seen) == {1}
        assert torch.get_rng_state().equal(state)
    finally:
        torch.set_num_threads(threads)


def test_nothing_is_loaded_where_nothing_is_left_to_do(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = search()
    run("out")
    monkeypatch.setattr("ppo_tune.search.worker.train_as_guest", lambda *_: pytest.fail("was called"))

    assert not run("out").interrupted
