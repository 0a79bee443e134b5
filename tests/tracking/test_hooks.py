# mypy: ignore-errors
"""A trial and a training log what their metrics.jsonl holds, and end well without their loggers."""

import math
from pathlib import Path

import pytest

pytest.importorskip("tensorboard", reason="needs the extra: pip install 'ppo-tune[tensorboard]'")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2

from ppo_tune.config.run import TrainConfig
from ppo_tune.events import Event
from ppo_tune.files import read_json_lines
from ppo_tune.search.results import ending_of
from ppo_tune.training.full_length import TrainingInterrupted, train
from tests.search.one_worker import Search
from tests.tracking.hparams_tab import HParamsTab
from tests.worlds import StudyMaker


def in_log(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Every number of a metrics.jsonl by its name: episodes and value."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in read_json_lines(path):
        for name, value in line.items():
            if name != "episodes" and value is not None:
                found.setdefault(name, []).append((line["episodes"], value))
    return found


def in_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every point of a run's curves by its name."""
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def assert_same(curves: dict[str, list[tuple[int, float]]], log: dict[str, list[tuple[int, float]]]) -> None:
    assert curves.keys() == log.keys()
    for name, points in log.items():
        assert [step for step, _ in curves[name]] == [episodes for episodes, _ in points]
        assert [value for _, value in curves[name]] == pytest.approx(
            [v for _, v in points], rel=1e-6
        )  # float32


def test_a_trial_logs_what_its_metrics_hold_and_how_it_ended(make_study: StudyMaker, tmp_path: Path) -> None:
    space = {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
             "dual_clip": {"type": "categorical", "choices": [None, 3.0]}}  # fmt: skip
    config = make_study(space=space, search={"log": ["tensorboard"], "kl_budget": 0.1, "kl_limit": 0.2})
    search = Search(config, tmp_path / "run", places=2)

    trials = search.run()

    endings = {f"{trial.number:04d}": ending_of(trial) for trial in trials}
    assert set(endings.values()) == {
        "completed",
        "kl_limit",
    }  # 0.003 nats for the default, over 0.2 for others
    tab = HParamsTab(tmp_path / "run")
    for name, ending in endings.items():
        log = in_log(tmp_path / "run" / "trials" / name / "metrics.jsonl")
        assert len(log) > 10
        assert_same(in_tensorboard(tmp_path / "run" / "tensorboard" / name), log)
        assert tab.status(name) == (
            api_pb2.STATUS_SUCCESS if ending == "completed" else api_pb2.STATUS_FAILURE
        )
        assert tab.rows[name].hparams["dual_clip"].string_value in ("None", "3.0")
    used = {f"{trial.number:04d}": trial.user_attrs["config"]["learning_rate"] for trial in trials}
    assert {name: row.hparams["learning_rate"].number_value for name, row in tab.rows.items()} == used


def test_a_trial_that_is_given_back_is_closed(make_study: StudyMaker, tmp_path: Path) -> None:
    search = Search(make_study(search={"log": ["tensorboard"]}), tmp_path / "run")

    search.run(should_stop=lambda: True)

    assert HParamsTab(tmp_path / "run").status("0000") == api_pb2.STATUS_FAILURE


def test_a_search_without_loggers_makes_no_folder_for_them(make_study: StudyMaker, tmp_path: Path) -> None:
    Search(make_study(search={"n_trials": 1}), tmp_path / "run").run()

    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_logger_that_fails_costs_no_trial_and_is_noted(make_study: StudyMaker, tmp_path: Path) -> None:
    plain = Search(make_study(search={"n_trials": 2}), tmp_path / "plain")
    scores = [trial.value for trial in plain.run()]
    search = Search(make_study(search={"n_trials": 2, "log": ["tensorboard"]}), tmp_path / "run")
    (tmp_path / "run" / "tensorboard").write_text("a file where a folder should be", encoding="utf-8")

    trials = search.run()

    assert [trial.value for trial in trials] == scores
    notes = [event["text"] for event in search.events if event["kind"] == "note"]
    assert len(notes) == 2
    for name, note in zip(("0000", "0001"), notes, strict=True):
        assert note.startswith(f"tensorboard failed and gets nothing more of {name}, which goes on: folder ")


@pytest.fixture
def training(small_world: Path) -> TrainConfig:
    return TrainConfig.model_validate({
        "name": "red",
        "task": {"name": "dataset", "path": str(small_world / "prompts.jsonl"), "heldout_prompts": 6,
                 "reward": {"name": "rule", "include": {"red": 1.0}}},
        "model": {"name": str(small_world / "model"), "lora_rank": 2},
        "ppo": {"rollout_size": 8, "batch_size": 4, "ppo_epochs": 1, "episodes": 64, "max_new_tokens": 4},
        "log": ["tensorboard"],
    })  # fmt: skip


def test_a_training_that_was_stopped_and_resumed_has_one_line(training: TrainConfig, tmp_path: Path) -> None:
    out = tmp_path / "red"
    calls: list[int] = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) == 3

    with pytest.raises(TrainingInterrupted):
        train(training, out=out, should_stop=stop)
    for extra in (48.0, 56.0):  # as if it had been killed two iterations after its checkpoint
        with (out / "metrics.jsonl").open("a", encoding="utf-8") as log:
            log.write(f'{{"episodes": {extra}, "objective/score_mean": 9.0}}\n')
    train(training, out=out, resume=True)

    log = in_log(out / "metrics.jsonl")
    assert [episodes for episodes, _ in log["objective/score_mean"]] == list(range(8, 65, 8))
    assert_same(in_tensorboard(out / "tensorboard" / "red"), log)


def test_a_training_may_be_resumed_with_other_loggers(training: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        train(training.model_copy(update={"log": ()}), out=tmp_path / "red", should_stop=lambda: True)

    train(training, out=tmp_path / "red", resume=True)

    curves = in_tensorboard(tmp_path / "red" / "tensorboard" / "red")
    assert [step for step, _ in curves["objective/score_mean"]] == list(range(16, 65, 8))


def test_a_training_begun_anew_forgets_the_curves_of_the_one_before(
    training: TrainConfig, tmp_path: Path
) -> None:
    old = tmp_path / "red" / "tensorboard" / "red" / "events.out.tfevents.1.0"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"")

    train(training, out=tmp_path / "red")

    assert not old.exists()
    assert len(list(old.parent.iterdir())) == 1


def test_a_training_says_which_logger_failed(training: TrainConfig, tmp_path: Path) -> None:
    events: list[Event] = []
    out = tmp_path / "red"

    def spoil(event: Event) -> None:
        events.append(event)
        if event["kind"] == "iteration" and event["episodes"] == 8:
            for file in (out / "tensorboard" / "red").iterdir():
                file.unlink()
                file.mkdir()

    result = train(training, out=out, watch=spoil)

    assert math.isfinite(result.after.score)
    notes = [event["text"] for event in events if event["kind"] == "note"]
    assert len(notes) == 1
    assert notes[0].startswith("tensorboard failed and gets nothing more of red, which goes on: [Errno 21]")
