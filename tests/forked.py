"""Processes that begin with torch imported: forks of a server that has imported what a worker needs and has run none.

What a worker imports takes four seconds of a core, most of what a small search takes. A fork has its own memory, files,
signals and end like any process, and gets the folder, the path and the environment of who starts it. Started as for
users are the processes of `tests/search/test_workers.py` and of the searches that `tests/search/test_run.py` kills.
"""

import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.search import local_workers

IMPORTED = [
    "ppo_tune.search.worker",
    "ppo_tune.trainer.checks",
    "ppo_tune.reporting.page",
    "transformers.models.gpt2.modeling_gpt2",
]
"""By the server, before any process is forked."""


class ForkedProcess(ForkServerProcess):
    """A fork of the server, with the environment of the process that starts it."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._environment = dict(os.environ)

    def run(self) -> None:
        """Do its work."""
        os.environ.clear()
        os.environ.update(self._environment)
        super().run()


class Forked(ForkServerContext):
    """Starts processes as forks of the server."""

    Process = ForkedProcess


FORKED = Forked()
FORKED.set_forkserver_preload(IMPORTED)


@pytest.fixture(autouse=True)
def start_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of workers that a test starts are forked; a module that redefines this has them as users do."""
    monkeypatch.setattr(local_workers, "START", FORKED)


def start_command(words: Sequence[str], said: Path) -> ForkedProcess:
    """Run the command line in a process, and its workers in more, all forked; what it says is written to a file."""
    process = FORKED.Process(target=_command, args=(list(words), said))
    process.start()
    return process


def _command(words: list[str], said: Path) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = ["ppo-tune", *words]
    local_workers.START = FORKED  # type: ignore[assignment]
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]  # it is this one's parent

    from ppo_tune.__main__ import main  # reads the environment

    main()
