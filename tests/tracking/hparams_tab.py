"""TensorBoard's table of hyperparameters, as its backend answers."""

from pathlib import Path

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.get_experiment import Handler as GetExperiment
from tensorboard.plugins.hparams.list_session_groups import Handler as ListSessionGroups


class HParamsTab:
    """What the tab asks its backend for."""

    def __init__(self, folder: Path) -> None:
        runs = EventMultiplexer()
        runs.AddRunsFromDirectory(str(folder / "tensorboard"))
        runs.Reload()
        context = Context(TBContext(data_provider=MultiplexerDataProvider(runs, str(folder))))
        about = (RequestContext(), context, "")
        self.experiment = GetExperiment(*about, api_pb2.GetExperimentRequest()).run()
        every = [
            api_pb2.STATUS_UNKNOWN,
            api_pb2.STATUS_SUCCESS,
            api_pb2.STATUS_FAILURE,
            api_pb2.STATUS_RUNNING,
        ]
        wanted = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=100, allowed_statuses=every)
        self.rows = {group.name: group for group in ListSessionGroups(*about, wanted).run().session_groups}

    def status(self, name: str) -> int:
        return int(self.rows[name].sessions[0].status)
