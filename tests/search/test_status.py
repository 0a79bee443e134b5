# mypy: ignore-errors
"""How a study stands: what the store says, whose process searches, and what is left to do, worked by hand."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config.methods import GridSamplerConfig
from ppo_tune.files import append_json_line
from ppo_tune.search.confirmation import confirmation_name
from ppo_tune.search.status import StudyStatus, read_status
from tests.reporting.conftest import HandMade, confirm, fill_usual

PARAMS = {"learning_rate": 1e-3, "batch_size": 16, "ppo_epochs": 2}


@pytest.fixture
def hand_made(tmp_path: Path) -> HandMade:
    return HandMade(tmp_path)


def look(made: HandMade, now: datetime | None = None) -> StudyStatus:
    return read_status(made.study, made.config, made.folder, now=now)


def search_by(folder: Path, pid: int, *, at: float | None = None) -> datetime:
    """Leave the note of a search that a process began, now or at another time."""
    note = folder / "search.pid"
    note.write_text(str(pid), encoding="utf-8")
    if at is not None:
        os.utime(note, (at, at))
    return datetime.fromtimestamp(note.stat().st_mtime)


def test_best_and_default_are_told_by_their_last_scores(hand_made: HandMade) -> None:
    fill_usual(hand_made)

    status = look(hand_made)

    assert status.study == "hand"
    assert status.endings == {"completed": 3, "pruned": 1, "kl_limit": 1, "diverged": 1}
    assert (status.done, status.total, status.episodes, status.kl_budget) == (6, 8, 640, 3.0)
    best, default = status.best, status.default
    assert best is not None
    assert (best.number, best.score, best.gold, best.kl, best.feasible) == (1, 1.0, 0.8, 2.5, True)
    assert best.params == PARAMS
    assert default is not None
    assert (default.number, default.score, default.gold, default.kl) == (0, 0.5, 0.5, 0.5)
    (running,) = status.running
    assert (running.number, running.episodes, running.score, running.ending) == (6, 128, 0.3, "running")
    assert status.failure == "trial 5 diverged: why diverged"


def test_a_trial_beyond_the_budget_is_not_the_best_and_said_to_be_beyond(hand_made: HandMade) -> None:
    hand_made.add("completed", [2.0], kl=3.5, baseline=True)

    status = look(hand_made)

    assert status.best is None
    assert status.default is not None
    assert not status.default.feasible


def test_a_running_trials_log_is_ahead_of_the_store(hand_made: HandMade) -> None:
    number = hand_made.add("running", [0.3])
    folder = hand_made.folder / "trials" / f"{number:04d}"
    folder.mkdir(parents=True)
    for episodes in (64, 128, 192):
        append_json_line(folder / "metrics.jsonl", {"episodes": episodes})

    (running,) = look(hand_made).running

    assert running.episodes == 192


def test_the_process_that_searches_is_named_while_it_lives(hand_made: HandMade) -> None:
    started = search_by(hand_made.folder, os.getpid())

    status = look(hand_made)

    assert (status.state, status.pid, status.started) == ("running", os.getpid(), started)


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_search_that_died_left_trials_running(hand_made: HandMade) -> None:
    hand_made.add("running", [0.3])
    pid = dead_process()
    search_by(hand_made.folder, pid)

    status = look(hand_made)

    assert (status.state, status.pid, status.started) == ("died", pid, None)


def test_a_process_that_only_got_the_number_of_a_dead_one_is_not_taken_for_it(hand_made: HandMade) -> None:
    before = psutil.Process().create_time() - 3600
    hand_made.add("running", [0.3])
    search_by(hand_made.folder, os.getpid(), at=before)

    assert look(hand_made).state == "died"


@pytest.mark.skipif(sys.platform == "win32", reason="zombies are POSIX")
def test_a_process_that_is_dead_and_only_not_buried_is_dead(hand_made: HandMade) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        search_by(hand_made.folder, process.pid)
        hand_made.add("running", [0.3])

        assert look(hand_made).state == "died"


HOLDER = """
import sys
from pathlib import Path
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.holding import only_search
with only_search(StudyFolder(Path(sys.argv[1])), "hand"):
    print("searching", flush=True)
    sys.stdin.readline()
"""


def test_the_lock_of_a_search_is_left_alone(hand_made: HandMade) -> None:
    arguments = [sys.executable, "-c", HOLDER, str(hand_made.folder)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "searching\n"

        status = look(hand_made)

        assert (status.state, status.pid) == ("running", holder.pid)
        second = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert f"is running in {hand_made.folder} (process {holder.pid})" in second.stderr
        holder.communicate("\n")

    assert look(hand_made).state == "stopped"


@pytest.mark.parametrize("note", ["", "not a number"])
def test_a_note_that_says_nothing_is_as_none(hand_made: HandMade, note: str) -> None:
    (hand_made.folder / "search.pid").write_text(note, encoding="utf-8")

    status = look(hand_made)

    assert (status.state, status.pid) == ("stopped", None)


def test_trials_of_another_machine_are_not_called_dead(hand_made: HandMade) -> None:
    add(hand_made, TrialState.RUNNING, attrs={"host": "far-away"})

    status = look(hand_made)

    assert (status.state, status.hosts) == ("elsewhere", ("far-away",))


def test_a_study_is_complete_when_all_its_trials_are_over(hand_made: HandMade) -> None:
    states = []
    for _ in range(8):
        states.append(look(hand_made).state)
        hand_made.add("completed", [1.0])

    assert states == ["stopped"] * 8
    assert look(hand_made).state == "complete"


def test_a_study_that_grew_since_it_was_made_has_the_larger_total(hand_made: HandMade) -> None:
    for _ in range(9):
        hand_made.add("completed", [1.0])
    hand_made.add("running", [0.3])

    status = look(hand_made)

    assert (status.done, status.total, status.state) == (9, 10, "died")


def add(
    made: HandMade,
    state: TrialState,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> None:
    """A trial with times of its own."""
    made.study.add_trial(
        FrozenTrial(
            number=0,
            state=state,
            value=1.0 if state == TrialState.COMPLETE else None,
            datetime_start=start or datetime.now(),
            datetime_complete=(end or datetime.now()) if state.is_finished() else None,
            params=PARAMS,
            distributions=made.config.space.distributions(),
            user_attrs=dict(attrs or {}),
            system_attrs={},
            intermediate_values={},
            trial_id=0,
        )
    )


def test_pace_and_time_left_are_those_of_the_search_that_runs(hand_made: HandMade) -> None:
    """Of 8 trials: 1 of an earlier search; since then 1 completed, 1 pruned, 1 half done, 1 lost, in 100 seconds."""
    began = search_by(hand_made.folder, os.getpid())

    def at(seconds: float) -> datetime:
        return began + timedelta(seconds=seconds)

    done = {"ending": "completed", "episodes": 640}
    add(hand_made, TrialState.COMPLETE, start=at(-500), end=at(-400), attrs=done)
    add(hand_made, TrialState.COMPLETE, start=at(10), end=at(60), attrs=done)
    add(hand_made, TrialState.PRUNED, start=at(10), end=at(40), attrs={"ending": "pruned", "episodes": 320})
    add(hand_made, TrialState.FAIL, start=at(40), end=at(50), attrs={"ending": "lost", "episodes": 100})
    point = dict.fromkeys(
        ("gold", "gold_error", "score", "score_error", "kl", "seconds", "response_tokens"), 0.5
    )
    add(hand_made, TrialState.RUNNING, start=at(60), attrs={"curve": [{**point, "episodes": 320}]})

    status = look(hand_made, now=at(110))

    assert status.state == "running"
    assert status.episodes_per_second == pytest.approx((640 + 320 + 100 + 320) / 100)
    # 2.5 trials in 100 s, and 8 - 3 - 0.5 to go
    assert status.seconds_left == pytest.approx(4.5 * 100 / 2.5)


def test_there_is_no_pace_before_a_trial_began_and_none_without_a_search(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0])
    without = look(hand_made)
    search_by(hand_made.folder, os.getpid())
    before = look(hand_made)

    assert (without.episodes_per_second, without.seconds_left) == (None, None)
    assert (before.state, before.episodes_per_second, before.seconds_left) == ("running", None, None)


def test_a_lost_trial_is_no_failure_and_the_last_failure_is_told(hand_made: HandMade) -> None:
    hand_made.add("reward_error", [])
    hand_made.add("out_of_memory", [])
    hand_made.add("lost", [])
    hand_made.add("pruned", [0.1])
    hand_made.add("kl_limit", [0.1], kl=9.0)

    status = look(hand_made)

    assert status.failure == "trial 1 out_of_memory: why out_of_memory"
    assert status.endings == {"reward_error": 1, "out_of_memory": 1, "pruned": 1, "kl_limit": 1}


def test_runs_of_the_confirmation_are_counted_by_ending(hand_made: HandMade) -> None:
    for baseline in (True, *[False] * 7):
        hand_made.add("completed", [1.0], baseline=baseline)
    before = look(hand_made)
    runs = optuna.create_study(storage=hand_made.study._storage, study_name=confirmation_name("hand"))
    begun = look(hand_made)
    for ending in ("completed", "completed", "diverged"):
        trial = runs.ask()
        facts = {"ending": ending, "confirms": 1, "seed_index": 0, "scores": [1.0], "golds": [0.0]}
        for name, value in {**facts, "heldout/score": 1.0, "heldout/kl_per_sequence": 1.0}.items():
            trial.set_user_attr(name, value)
        runs.tell(trial, 1.0)
    over = look(hand_made)
    runs.ask()
    running = look(hand_made)
    runs.enqueue_trial({})
    waiting = look(hand_made)

    assert (before.confirmation, before.to_confirm) == (None, True)
    assert (begun.confirmation, begun.to_confirm) == ({}, True)
    assert (over.confirmation, over.to_confirm) == ({"completed": 2, "diverged": 1}, False)
    assert running.confirmation == {"completed": 2, "diverged": 1, "running": 1}
    assert (running.state, over.state) == ("died", "complete")
    assert waiting.to_confirm


def test_nothing_is_to_be_confirmed_where_only_the_default_is_good(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0], baseline=True)
    hand_made.add("completed", [2.0], kl=3.5)

    assert not look(hand_made).to_confirm


@pytest.mark.parametrize(
    ("means", "kind", "expected"),
    [({0: 0.4, 1: 0.9}, "better", 1), ({0: 0.5, 1: 0.5}, "no_better", 0)],
)
def test_the_best_is_whom_a_finished_confirmation_chose(
    hand_made: HandMade, means: dict[int, float], kind: str, expected: int
) -> None:
    hand_made.add("completed", [1.0], gold=[0.5], baseline=True)
    hand_made.add("completed", [2.0], gold=[0.5])
    hand_made.add("completed", [2.5], gold=[0.5])
    before = look(hand_made)
    confirm(hand_made, means)
    after = look(hand_made)

    assert before.best is not None
    assert (before.best.number, before.verdict.kind, before.verdict.confirmed) == (2, "not_confirmed", False)
    assert after.best is not None
    assert (after.best.number, after.verdict.kind, after.verdict.confirmed) == (expected, kind, True)


def test_a_confirmation_under_way_leaves_the_best_of_the_search(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0], baseline=True)
    hand_made.add("completed", [2.0])
    confirm(hand_made, {0: 0.4, 1: 0.9}, runs=3)

    status = look(hand_made)

    assert status.best is not None
    assert (status.best.number, status.verdict.confirmed) == (1, False)


def test_cells_of_a_grid_that_repeat_are_counted(hand_made: HandMade) -> None:
    """Two cells; the default is one of them and does not count, the running one does, and the lost one ran again."""
    search = hand_made.config.search.model_copy(update={"sampler": GridSamplerConfig(name="grid")})
    first, second = PARAMS, {**PARAMS, "batch_size": 8}
    hand_made.add("completed", [1.0], baseline=True, params=first)
    for ending, params in (("lost", first), ("completed", first), ("pruned", second), ("pruned", second)):
        hand_made.add(ending, [1.0], params=params)
    hand_made.add("running", [1.0], params=first)
    as_tpe = look(hand_made)
    hand_made.config = hand_made.config.model_copy(update={"search": search})

    assert as_tpe.repeats == 0
    assert look(hand_made).repeats == 2


def test_the_best_is_told_by_the_mean_of_all_trials_of_its_config(hand_made: HandMade) -> None:
    """0.9 and 0.7 at 1 and 2 nats are 0.8 at 1.5; another config came to 0.75."""
    cells = [{"learning_rate": rate, "batch_size": 16, "ppo_epochs": 2} for rate in (1e-4, 1e-3, 2e-3)]
    hand_made.add("completed", [0.2], params=cells[0], baseline=True)
    for cell, score, kl in ((cells[1], 0.9, 1.0), (cells[2], 0.75, 1.0), (cells[1], 0.7, 2.0)):
        hand_made.add("completed", [score], gold=[score / 2], params=cell, kl=kl)

    status = look(hand_made)

    best, default = status.best, status.default
    assert best is not None
    assert default is not None
    assert (best.number, best.score, best.kl, best.gold) == pytest.approx((1, 0.8, 1.5, 0.4))
    assert (best.runs, default.runs) == ((1, 3), (0,))
