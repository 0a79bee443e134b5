"""A worker: one process that trains trials of a study until none is left, and tells its parent by a pipe."""

import contextlib
import multiprocessing
import os
import platform
import signal
import threading
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import optuna
import torch
import transformers
from filelock import FileLock
from optuna.study import Study
from optuna.trial import Trial

from ppo_tune.config import StudyConfig
from ppo_tune.errors import PPOTuneError
from ppo_tune.events import Event
from ppo_tune.search.objective import Bench, run_trials
from ppo_tune.search.pruners import make_pruner
from ppo_tune.search.samplers import make_sampler
from ppo_tune.search.storage import load_study_from, remaining
from ppo_tune.tasks import prepare_task


def ask(study: Study, config: StudyConfig, lock: FileLock) -> Trial | None:
    """The next trial, or None when the total is given out; one process at a time."""
    with lock:
        if remaining(study, config.n_trials) == 0:
            return None
        study.sampler = make_sampler(config, len(study.get_trials(deepcopy=False)))
        trial = study.ask(config.space.distributions())
        trial.set_user_attr("host", platform.node())
        trial.set_user_attr("pid", os.getpid())
        return trial


def work(config_json: str, url: str, folder: str, index: int, pipe: Connection) -> None:
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _train(StudyConfig.model_validate_json(config_json), url, Path(folder), index, pipe)
    except PPOTuneError as error:
        _send(pipe, {"kind": "refused", "message": str(error)})
    except Exception:
        _send(pipe, {"kind": "bug", "traceback": traceback.format_exc()})


def _train(config: StudyConfig, url: str, folder: Path, index: int, pipe: Connection) -> None:
    device = _device(index)
    if device.type == "cpu":
        torch.set_num_threads(1)
    _quiet()

    def emit(event: Event) -> None:
        _send(pipe, event)

    prepare_task(config.task, lambda name, done: emit({"kind": "stage", "name": name, "done": done}))
    study = load_study_from(url, config.name)
    study.pruner = make_pruner(config.search.pruner, len(config.milestone_episodes()))
    lock = FileLock(folder / "ask.lock")
    bench = Bench(config, folder, places=config.search.pack, device=device, emit=emit)
    run_trials(
        bench,
        study,
        next_trial=lambda: ask(study, config, lock),
        should_stop=lambda: pipe.poll() and pipe.recv()["kind"] == "stop",
    )


def _device(index: int) -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", index % torch.cuda.device_count())
    return torch.device("cpu")


def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _send(pipe: Connection, event: Event) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        pipe.send(dict(event))
