"""TensorBoard: one folder per training, and the HParams tab over all that a study has.

Event files are written record by record, without the usual thread that writes later: a full disk is then an
exception here and now, and whatever is killed leaves all that it logged.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2 as api  # without TensorFlow there is no public name for it
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.metadata import NULL_TENSOR, SESSION_END_INFO_TAG, create_summary_metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from ppo_tune.config.ranges import CategoricalParam, FloatParam, IntParam
from ppo_tune.files import make_folder
from ppo_tune.tracking.base import Logger, Tracked


class TensorBoard(Logger):
    """Writes `tensorboard/<name>/` in the tracked folder.

    The table of the HParams tab belongs to the curves, for both are of one folder, and names the same
    hyperparameters with the same types for every trial, for TensorBoard leaves out trials that differ in them.

    Raises:
        OSError: Here and in every method, if the disk does not take it.
    """

    def __init__(self, tracked: Tracked) -> None:
        folder = make_folder(tracked.folder / "tensorboard" / tracked.name)
        name = f"events.out.tfevents.{time.time():017.6f}.{os.getpid()}"  # read in the order of their names
        self._path = folder / name
        self._write(file_version="brain.Event:2")
        if tracked.space is not None:
            params = {name: tracked.space[name] for name in tracked.space}
            values = {name: _value(param, tracked.config[name]) for name, param in params.items()}
            columns = [api.HParam(name, _domain(param)) for name, param in params.items()]
            metrics = [api.Metric(tag, display_name=title) for tag, title in _shown(tracked.judges).items()]
            self._write(summary=api.hparams_config_pb(columns, metrics))
            self._write(summary=api.hparams_pb(values, trial_id=tracked.name))
        self._has_hparams = tracked.space is not None

    def log(self, episodes: int, numbers: Mapping[str, float]) -> None:
        """One event with all numbers."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._write(step=episodes, summary=Summary(value=values))

    def finish(self, ending: str, *, failed: bool) -> None:
        """Note in the HParams tab how it went."""
        if self._has_hparams:
            status = STATUS_FAILURE if failed else STATUS_SUCCESS
            end = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()))
            value = Summary.Value(
                tag=SESSION_END_INFO_TAG, metadata=create_summary_metadata(end), tensor=NULL_TENSOR
            )
            self._write(summary=Summary(value=[value]))

    def forget_after(self, episodes: int) -> None:
        """Have the curves drop what comes again."""
        self._write(step=episodes + 1, session_log=SessionLog(status=SessionLog.START))

    def _write(self, **facts: Any) -> None:
        with self._path.open("ab") as file:
            RecordWriter(file).write(Event(wall_time=time.time(), **facts).SerializeToString())


def _domain(param: FloatParam | IntParam | CategoricalParam) -> api.Domain:
    """What TensorBoard needs to know of a range to draw its axis and its filter."""
    if isinstance(param, CategoricalParam):
        return api.Discrete([_value(param, choice) for choice in param.choices])
    if isinstance(param, IntParam):
        return api.IntInterval(param.low, param.high)
    return api.RealInterval(*param.ends)


def _value(param: FloatParam | IntParam | CategoricalParam, value: Any) -> bool | float | str:
    """A value in the one type that its hyperparameter has in all trials."""
    if not isinstance(param, CategoricalParam):
        return math.nan if value is None else float(value)  # of a trial in which it is not searched
    kinds = {type(choice) for choice in param.choices}
    if kinds == {bool}:
        return bool(value)
    return float(value) if kinds <= {int, float} else str(value)


def _shown(judges: Sequence[str]) -> dict[str, str]:
    """What the HParams tab shows of a trial, by the name of its curve: the last value of each."""
    judged = {f"heldout/{name}": f"{name} score" for name in judges or ("gold",)}
    return {"heldout/score": "score", **judged, "heldout/kl_per_sequence": "KL"}
