"""A landscape is recorded: which configs, that a killed recording goes on, and that a replay can use the table."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import landscape, replay
from benchmarks.worlds.recording import DEFAULT_ID, Row
from benchmarks.worlds.table import TABLE, read_landscape, read_study
from ppo_tune.config.space import Space
from ppo_tune.config.study import StudyConfig


def record(words: Sequence[str], *, killed_after: int | None = None) -> int | None:
    """Record in a process of its own; returns its exit code. It can be killed in the middle of a line."""

    def run() -> None:
        added: list[Row] = []

        def add(self: landscape.Log, row: Row) -> None:
            if len(added) == killed_after:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write('{"config_id": 1, "rep"')
                os.kill(os.getpid(), signal.SIGKILL)
            added.append(row)
            usual(self, row)

        usual, landscape.Log.add = landscape.Log.add, add  # type: ignore[method-assign]
        landscape.main(words)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    return process.exitcode


def lines(path: Path) -> list[Row]:
    """The whole lines of a log without what a clock said."""
    return [{**row, "seconds": 0} for row in landscape.Log(path).rows]


def test_a_config_has_the_same_id_in_every_landscape_of_a_space(quickstart: StudyConfig) -> None:
    recorded = [row for row in pq.read_table(TABLE).to_pylist() if row["design"] == "sobol"]

    params = landscape.sobol_params(quickstart.space, 384)

    assert len(recorded) > 200
    for row in recorded:
        for name, value in params[row["config_id"]].items():
            assert row[name] == pytest.approx(value, rel=1e-12)


def test_values_fill_their_ranges_evenly() -> None:
    space = Space.model_validate({
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "ppo_epochs": {"type": "int", "low": 1, "high": 5, "step": 2},
        "whiten_rewards": {"type": "categorical", "choices": [True, False]},
    })  # fmt: skip

    params = landscape.sobol_params(space, 256)

    rates = [row["learning_rate"] for row in params]
    assert 1e-4 <= min(rates) < 1.1e-4
    assert 0.9e-2 < max(rates) <= 1e-2
    assert np.median(rates) == pytest.approx(1e-3, rel=0.05)
    for name, choices in (("ppo_epochs", (1, 3, 5)), ("whiten_rewards", (True, False))):
        counts = [sum(row[name] == choice for row in params) for choice in choices]
        assert sum(counts) == 256
        assert max(counts) - min(counts) <= 2


def test_the_default_config_comes_first_and_has_four_times_the_runs(quickstart: StudyConfig) -> None:
    jobs = landscape.jobs_of(quickstart, range(DEFAULT_ID, 70), 2)

    assert len({(job.config_id, job.rep) for job in jobs}) == len(jobs) == 8 + 140
    assert len({job.seed for job in jobs}) == len(jobs)
    assert {job.config_id for job in jobs[:8]} == {DEFAULT_ID}
    assert {job.config_id for job in jobs[8:72]} == set(range(64))


def test_a_killed_recording_goes_on_and_ends_as_one_that_was_not(
    tmp_path: Path, write_study: Callable[..., Path]
) -> None:
    study = str(write_study())
    words = [[study, str(tmp_path / f"{name}.parquet"), "--pack", "1", "--runs", "1", "--configs", "2"]
             for name in ("killed", "whole")]  # fmt: skip

    assert record(words[0], killed_after=3) == -signal.SIGKILL
    before = lines(tmp_path / "killed.jsonl")
    assert [record(each) for each in words] == [0, 0]

    killed, whole = (lines(tmp_path / f"{name}.jsonl") for name in ("killed", "whole"))
    assert len(before) == 3
    assert killed[:3] == before
    assert killed == whole
    assert len(whole) == 4 + 2


def test_another_study_does_not_go_on_with_a_recording(
    tmp_path: Path, write_study: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "table.parquet")
    small, other = write_study(), write_study("other", ppo={"episodes": 16})

    assert record([str(small), out, "--ids", "0", "--runs", "1"]) == 0
    assert record([str(other), out, "--ids", "1", "--runs", "1"]) == 1

    assert "was recorded with another study; name another file" in capfd.readouterr().err
    assert len(lines(tmp_path / "table.jsonl")) == 1


def test_a_table_is_all_that_a_replay_needs(
    tmp_path: Path, make_study: Callable[..., StudyConfig], write_study: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    changes = {"task": {"gold": {"name": "rule", "include": {"green": 1.0}}}}
    out = tmp_path / "table.parquet"

    assert record([str(write_study(**changes)), str(out), "--configs", "3"]) == 0

    study, table = read_study(out), pq.read_table(out)
    assert study == make_study(**changes)
    assert table.num_rows == 8 + 6
    assert set(table.column("ending").to_pylist()) == {"completed"}
    assert table.column("episodes")[0].as_py() == [8, 16, 24, 32]
    assert len(table.column("train_kl")[0]) == 4
    for name in ("score", "gold", "kl"):
        assert table.column(name)[5].as_py()[-1] == table.column(f"final_{name}")[5].as_py()
    assert read_landscape(study, out).numbers.shape == (14, 3 * 2 + 2)

    replay.main(["--landscape", str(out), "--totals", "6", "--repetitions", "1", "--jobs", "1"])

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["value"].keys() == told["trees"]["value"].keys() == {"6"}
