# mypy: ignore-errors
"""TensorBoard reads back what was logged, by its own readers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.config.space import Space
from ppo_tune.tracking import Tracked
from ppo_tune.tracking.tensorboard import TensorBoard

pytest.importorskip("tensorboard", reason="needs the extra: pip install 'ppo-tune[tensorboard]'")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2

from tests.tracking.hparams_tab import HParamsTab

SPACE = Space.model_validate({
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
    "ppo_epochs": {"type": "int", "low": 1, "high": 4},
    "batch_size": {"type": "categorical", "choices": [8, 16, 32]},
    "clip_range_value": {"type": "categorical", "choices": [None, 0.2]},
    "whiten_rewards": {"type": "categorical", "choices": [False, True]},
    "lr_schedule": {"type": "categorical", "choices": ["linear", "constant"]},
})  # fmt: skip

CONFIG: dict[str, Any] = {
    "learning_rate": 1e-3, "ppo_epochs": 2, "batch_size": 8, "clip_range_value": None, "whiten_rewards": True,
    "lr_schedule": "linear", "gamma": 1.0,
}  # fmt: skip


def tracked(folder: Path, name: str = "0000", space: Space | None = SPACE, **changes: object) -> Tracked:
    return Tracked("study", name, folder, {**CONFIG, **changes}, space)


def test_curves_are_drawn_over_episodes(tmp_path: Path) -> None:
    logger = TensorBoard(tracked(tmp_path))
    logger.log(64, {"objective/score": 0.5, "policy/entropy": 2.0})
    logger.log(128, {"objective/score": 0.25})
    logger.log(128, {"heldout/score": -1.5})
    logger.finish("completed", failed=False)

    read = EventAccumulator(str(tmp_path / "tensorboard" / "0000"))
    read.Reload()

    assert set(read.Tags()["scalars"]) == {"objective/score", "policy/entropy", "heldout/score"}
    assert [(e.step, e.value) for e in read.Scalars("objective/score")] == [(64, 0.5), (128, 0.25)]
    assert [(e.step, e.value) for e in read.Scalars("heldout/score")] == [(128, -1.5)]


def test_what_is_logged_can_be_read_while_the_training_runs(tmp_path: Path) -> None:
    logger = TensorBoard(tracked(tmp_path))
    logger.log(64, {"objective/score": 0.5})

    read = EventAccumulator(str(tmp_path / "tensorboard" / "0000"))
    read.Reload()

    assert [e.value for e in read.Scalars("objective/score")] == [0.5]
    logger.finish("completed", failed=False)


def test_the_hparams_tab_has_one_row_per_trial_with_its_last_scores(tmp_path: Path) -> None:
    for name, rate, score in (("0000", 1e-3, 0.5), ("0001", 2e-3, 0.75)):
        logger = TensorBoard(tracked(tmp_path, name, learning_rate=rate))
        logger.log(64, {"heldout/score": 0.0, "heldout/gold": 0.25, "heldout/kl_per_sequence": 1.0})
        logger.log(128, {"heldout/score": score, "heldout/gold": 0.5, "heldout/kl_per_sequence": 2.0})
        logger.finish("completed", failed=False)

    tab = HParamsTab(tmp_path)

    assert [metric.name.tag for metric in tab.experiment.metric_infos] == [
        "heldout/score", "heldout/gold", "heldout/kl_per_sequence",
    ]  # fmt: skip
    assert tab.rows.keys() == {"0000", "0001"}
    assert tab.rows["0001"].hparams["learning_rate"].number_value == 2e-3
    assert tab.rows["0001"].hparams["lr_schedule"].string_value == "linear"
    assert "gamma" not in tab.rows["0001"].hparams  # the same for all trials
    values = {value.name.tag: (value.training_step, value.value) for value in tab.rows["0001"].metric_values}
    assert values == {
        "heldout/score": (128, 0.75),
        "heldout/gold": (128, 0.5),
        "heldout/kl_per_sequence": (128, 2.0),
    }


def test_a_hyperparameter_has_one_type_in_all_trials(tmp_path: Path) -> None:
    odd = {
        "clip_range_value": 0.2,
        "whiten_rewards": False,
        "ppo_epochs": 4,
        "batch_size": 32,
        "learning_rate": 1,
    }
    for name, changes in (("0000", {}), ("0001", odd)):
        TensorBoard(tracked(tmp_path, name, **changes)).finish("completed", failed=False)

    tab = HParamsTab(tmp_path)

    kinds = [
        {name: value.WhichOneof("kind") for name, value in row.hparams.items()} for row in tab.rows.values()
    ]
    assert kinds[0] == kinds[1]
    assert kinds[0] == {
        "learning_rate": "number_value", "ppo_epochs": "number_value", "batch_size": "number_value",
        "clip_range_value": "string_value", "whiten_rewards": "bool_value", "lr_schedule": "string_value",
    }  # fmt: skip
    types = {info.name: info.type for info in tab.experiment.hparam_infos}
    assert types["clip_range_value"] == api_pb2.DATA_TYPE_STRING
    assert types["whiten_rewards"] == api_pb2.DATA_TYPE_BOOL
    assert types["batch_size"] == types["learning_rate"] == types["ppo_epochs"] == api_pb2.DATA_TYPE_FLOAT64


def test_the_tab_knows_the_ranges(tmp_path: Path) -> None:
    TensorBoard(tracked(tmp_path)).finish("completed", failed=False)

    infos = {info.name: info for info in HParamsTab(tmp_path).experiment.hparam_infos}

    assert list(infos) == sorted(SPACE)
    rate = infos["learning_rate"].domain_interval
    assert (rate.min_value, rate.max_value) == (1e-5, 1e-2)
    assert list(infos["batch_size"].domain_discrete) == [8, 16, 32]
    assert list(infos["clip_range_value"].domain_discrete) == ["0.2", "None"]


def test_the_tab_shows_how_a_trial_ended_even_without_a_score(tmp_path: Path) -> None:
    TensorBoard(tracked(tmp_path, "0000")).finish("pruned", failed=False)
    TensorBoard(tracked(tmp_path, "0001")).finish("out_of_memory", failed=True)
    TensorBoard(tracked(tmp_path, "0002"))

    tab = HParamsTab(tmp_path)

    assert tab.status("0000") == api_pb2.STATUS_SUCCESS
    assert tab.status("0001") == api_pb2.STATUS_FAILURE
    assert tab.status("0002") == api_pb2.STATUS_UNKNOWN


def test_a_training_that_goes_on_leaves_no_second_line(tmp_path: Path) -> None:
    first = TensorBoard(tracked(tmp_path, space=None))
    for episodes in (64, 128, 192):
        first.log(episodes, {"objective/score": 1.0})
    second = TensorBoard(tracked(tmp_path, space=None))
    second.forget_after(128)
    second.log(192, {"objective/score": 2.0})
    for logger in (first, second):
        logger.finish("completed", failed=False)

    read = EventAccumulator(str(tmp_path / "tensorboard" / "0000"))
    read.Reload()

    assert [(e.step, e.value) for e in read.Scalars("objective/score")] == [(64, 1.0), (128, 1.0), (192, 2.0)]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from ppo_tune.tracking import Tracked, Tracking
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # no file may grow beyond 2,000 bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
tracking = Tracking(("tensorboard",), Tracked("study", "0007", Path(sys.argv[1]), {}), print)
for i in range(100):
    tracking.log({"episodes": i, **{f"metric/{j}": 1.0 for j in range(20)}})
tracking.finish("completed")
print("went on")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_full_disk_is_told_once_and_the_training_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == [
        "tensorboard failed and gets nothing more of 0007, which goes on: [Errno 27] File too large",
        "went on",
    ]
    assert done.stderr == ""
    read = EventAccumulator(str(tmp_path / "tensorboard" / "0007"))
    read.Reload()
    assert [e.step for e in read.Scalars("metric/19")] == [0, 1, 2, 3, 4]  # 380 bytes each


def test_a_trial_without_a_value_that_is_not_always_searched_stands_in_the_table_too(tmp_path: Path) -> None:
    horizon = {"type": "float", "low": 100.0, "high": 900.0, "when": {"lr_schedule": "linear"}}
    space = Space.model_validate({**SPACE.model_dump(), "kl_horizon": horizon})
    for name, value in (("0000", None), ("0001", 200.0)):
        logger = TensorBoard(tracked(tmp_path, name, space, kl_horizon=value))
        logger.log(64, {"heldout/score": 0.5})
        logger.finish("completed", failed=False)

    rows = HParamsTab(tmp_path).rows

    assert rows.keys() == {"0000", "0001"}
    assert rows["0001"].hparams["kl_horizon"].number_value == 200.0
