"""What a study takes: the pace of one worker, and what follows for all of them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.errors import PPOTuneError
from ppo_tune.search import measuring
from ppo_tune.search.measuring import Pace, Takes, _most_resident, what_it_takes
from ppo_tune.trainer.assembly import assemble
from tests.search.recorder import Recorder
from tests.worlds import StudyMaker

PACE = Pace(pack=2, seconds_per_trial=30.0, startup_seconds=5.0, worker_bytes=10, device_bytes=100)


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The pace that workers send; the test fills it in."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(measuring, "answers", lambda *_: sent)
    return sent


def test_workers_share_the_trials(make_study: StudyMaker, paced: list[dict[str, Any]]) -> None:
    paced.append({"kind": "measured", **vars(PACE)})

    takes = what_it_takes(make_study(), 4, worth=20.0, runs=2)

    assert takes == Takes(
        4, PACE, search_seconds=5 + 20 * 30 / 4, confirmation_seconds=2 * 30.0
    )  # one pack of two


def test_workers_share_the_memory_of_devices() -> None:
    assert Takes(4, PACE, 0, 0).bytes_per_device == 40
    assert Takes(4, replace(PACE, devices=3), 0, 0).bytes_per_device == 20


def test_a_worker_that_dies_is_told(make_study: StudyMaker, paced: list[dict[str, Any]]) -> None:
    with pytest.raises(PPOTuneError) as caught:
        what_it_takes(make_study(), 1, worth=1.0, runs=0)

    assert str(caught.value) == (
        "the worker that was measured died, perhaps for want of memory; what it said stands above"
    )


SEARCHED_RANK = {
    "lora_rank": {"type": "int", "low": 1, "high": 4},
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"search": {"pack": 3}}, {3}, id="asked for"),
        pytest.param({"search": {"pack": "auto"}}, {1, 2, 4}, id="auto"),
        pytest.param({"model": {"lora_rank": None}}, {1}, id="all weights"),
        pytest.param({"space": SEARCHED_RANK, "search": {"pack": 2}}, {2}, id="ranks"),
    ],
)
def test_a_worker_times_the_packs_that_it_would_train(
    make_study: StudyMaker, channel: Recorder, changes: dict[str, dict[str, object]], expected: set[int]
) -> None:
    config = make_study(**changes)

    measuring._measure((config, 1), channel)

    (sent,) = channel.sent
    assert isinstance(sent, dict)
    assert sent.pop("kind") == "measured"
    pace = Pace(**sent)
    assert pace.pack in expected
    assert 0 < pace.seconds_per_trial < 60
    assert 0 < pace.worker_bytes < pace.device_bytes


def test_a_trial_is_its_iterations_and_its_milestones(
    make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that stands still but for scoring: 2 milestones, the last on more prompts than the first."""
    config = make_study()
    work = assemble(config)
    ticks = iter([0.0, 12.0])
    monkeypatch.setattr(measuring, "perf_counter", lambda: next(ticks))

    seconds = measuring._seconds_of_scoring(work, config, 1)

    first, last = 6, len(work.evaluator.rows)
    assert last > first - 1
    assert seconds == pytest.approx(12 / min(first, last) * (min(first, last) + last))


def test_a_reward_that_fails_is_told(make_study: StudyMaker, tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(
        "def score(prompts, responses, **columns):\n    raise KeyError('tone')\n", encoding="utf-8"
    )
    config = make_study(task={"reward": {"name": "python", "function": f"{file}:score"}})

    with pytest.raises(PPOTuneError) as caught:
        measuring._try_update(assemble(config), config)

    assert str(caught.value).startswith(
        f"the first update fails (reward_error): reward function {file}:score raised KeyError: 'tone' for prompt "
    )


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="another system tells it otherwise")
def test_the_memory_of_a_process_is_its_own_and_not_that_of_the_one_that_started_it() -> None:
    held = b"1" * 400_000_000
    code = "from ppo_tune.search.measuring import _most_resident; print(_most_resident())"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert len(held) < _most_resident()
    assert 0 < int(told) < _most_resident()
