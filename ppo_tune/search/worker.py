"""A worker: one process that trains trials of a study until none is left, and tells its parent by a pipe."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import optuna
import torch
import transformers
from filelock import FileLock
from optuna.study import Study
from optuna.trial import Trial

from ppo_tune.config.blocks import StudyConfig
from ppo_tune.errors import PPOTuneError
from ppo_tune.events import Event
from ppo_tune.files import append_json_line
from ppo_tune.search.confirmation import ConfirmationPlan
from ppo_tune.search.facts import Owner
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.pack_size import Share
from ppo_tune.search.plan import Job, Plan, SearchPlan
from ppo_tune.search.storage import load_study_from
from ppo_tune.search.timing import fit_compiling, fit_pack
from ppo_tune.search.trial_loop import TrialPack, run_trials
from ppo_tune.tasks import prepare_task

PLANS: Mapping[Job, type[Plan]] = {"search": SearchPlan, "confirmation": ConfirmationPlan}

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of options in glibc's malloc.h."""


def ask(study: Study, plan: Plan, lock: FileLock, owner: Owner, *, under_way: int = 0) -> Trial | None:
    """The next trial of a plan; None when all are given out, or for now.

    Args:
        study: Of which.
        plan: What there is to do.
        lock: Held meanwhile, for one process at a time may ask.
        owner: Whose the trial will be.
        under_way: How many trials the worker has.
    """
    with lock:
        return plan.ask(study, under_way, owner)


def work(
    job: Job,
    config_json: str,
    url: str,
    folder: str,
    owner: Owner,
    index: int,
    share: Share,
    pipe: Connection,
) -> None:
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        plan = PLANS[job](StudyConfig.model_validate_json(config_json), share.workers)
        _train(plan, url, Path(folder), owner, index, share, pipe)
    except PPOTuneError as error:
        _send(pipe, {"kind": "refused", "message": str(error)})
    except Exception:
        _send(pipe, {"kind": "bug", "traceback": traceback.format_exc()})


def _train(
    plan: Plan, url: str, folder: Path, owner: Owner, index: int, share: Share, pipe: Connection
) -> None:
    device = _device(index)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
        keep_freed_memory()
    _quiet()
    parent = _Parent(pipe)
    prepare_task(
        plan.config.task, lambda name, done: parent.tell({"kind": "stage", "name": name, "done": done})
    )
    study = load_study_from(url, plan.study_name)
    study.pruner = plan.pruner()
    lock = FileLock(StudyFolder(folder).ask_lock)
    trial_pack = TrialPack(
        plan.config, folder, places=share.pack or 1, device=device, emit=parent.tell, plan=plan
    )
    for note in trial_pack.work.notes if index == 0 else ():
        parent.tell({"kind": "note", "text": note})
    with lock:
        trial_pack.join(study)
    plan.begin(study, folder)
    if share.pack is None:
        _find_pack(trial_pack, share, index, parent)
    if plan.config.model.compile == "auto":
        _try_compiling(trial_pack, share, index, parent)

    def next_trial() -> Trial | None:
        if parent.wants_a_stop():
            return None
        return ask(study, plan, lock, owner, under_way=len(trial_pack.runs))

    run_trials(trial_pack, study, next_trial=next_trial, should_stop=parent.wants_a_stop)


def _find_pack(trial_pack: TrialPack, share: Share, index: int, parent: "_Parent") -> None:
    """Time packs, take the best, and note it in the study's folder."""
    choice = fit_pack(
        trial_pack.work,
        trial_pack.config,
        share,
        announce=lambda places: parent.tell({"kind": "timing", "places": places}),
        should_stop=parent.wants_a_stop,
    )
    if choice.seconds:
        parent.tell({"kind": "pack", "places": choice.pack, "speedup": choice.speedup})
        append_json_line(trial_pack.folder.packs, {"worker": index, **asdict(choice)})


def _try_compiling(trial_pack: TrialPack, share: Share, index: int, parent: "_Parent") -> None:
    """Compile the learning pass if there is much to do, keep it if it is faster, and note it in the study's folder."""
    found = fit_compiling(
        trial_pack.work,
        trial_pack.config,
        share,
        announce=lambda: parent.tell({"kind": "compiling"}),
        should_stop=parent.wants_a_stop,
    )
    if found is not None:
        parent.tell(
            {"kind": "compiled", "speedup": found.speedup, "kept": found.pays, "failure": found.failure}
        )
        append_json_line(trial_pack.folder.packs, {"worker": index, **asdict(found)})


class _Parent:
    """The process that started this one, at the other end of a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._stop = False

    def tell(self, event: Event) -> None:
        """Send an event."""
        _send(self._pipe, event)

    def wants_a_stop(self) -> bool:
        """Whether it ever asked for one."""
        self._stop = self._stop or (self._pipe.poll() and self._pipe.recv()["kind"] == "stop")
        return self._stop


def _device(index: int) -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", index % torch.cuda.device_count())
    return torch.device("cpu")


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, where it is glibc: for this process only.

    It would return large pieces to the system and ask for them again, page by page, many times per update.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1)):
            libc.mallopt(option, value)


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
