"""What a worker does: train trials of a study until none is left, and send every event to its supervisor."""

import contextlib
import ctypes
import logging
import os
from dataclasses import asdict

import optuna
import torch
import transformers
from filelock import FileLock
from optuna.trial import Trial

from ppo_tune.events import LOG_FORMAT, VERBOSE
from ppo_tune.files import append_json_line
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import load_study_from
from ppo_tune.search.timing import fit_compiling, fit_pack
from ppo_tune.search.trial_loop import TrialPack, run_trials
from ppo_tune.search.workers import Channel, Worker
from ppo_tune.tasks import prepare_task

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of options in glibc's malloc.h."""


def train(worker: Worker, channel: Channel) -> None:
    """Train trials of a worker's plan until none is left, or its supervisor wants a stop; in a process of its own.

    Raises:
        PPOTuneError: If something cannot be used.
    """
    _train_on(take_device(worker.index), worker, channel)


def train_as_guest(worker: Worker, channel: Channel) -> None:
    """Like `train`, in a process that is the user's, which finds its threads and what libraries say as they were.

    Raises:
        PPOTuneError: If something cannot be used.
    """
    threads, device = torch.get_num_threads(), _device(worker.index)
    optuna_says = optuna.logging.get_verbosity()
    transformers_says = transformers.logging.get_verbosity()
    had_bars = transformers.utils.logging.is_progress_bar_enabled()
    if device.type == "cpu":
        torch.set_num_threads(1)  # sums of several threads round otherwise
    _settle_logs()
    try:
        _train_on(device, worker, channel)
    finally:
        torch.set_num_threads(threads)
        optuna.logging.set_verbosity(optuna_says)
        transformers.logging.set_verbosity(transformers_says)
        if had_bars:
            transformers.utils.logging.enable_progress_bar()


def _train_on(device: torch.device, worker: Worker, channel: Channel) -> None:
    plan, folder = worker.plan, worker.folder
    prepare_task(
        plan.config.task, lambda name, done: channel.send({"kind": "stage", "name": name, "done": done})
    )
    study = load_study_from(worker.url, plan.study_name)
    study.pruner = plan.pruner()
    lock = FileLock(StudyFolder(folder).ask_lock)
    trial_pack = TrialPack(plan, folder, places=worker.pack or 1, device=device, emit=channel.send)
    for note in trial_pack.work.notes if worker.index == 0 else ():
        channel.send({"kind": "note", "text": note})
    with lock:
        trial_pack.join(study)
    plan.begin(study, folder)
    if worker.pack is None:
        _find_pack(trial_pack, worker, channel)
    if plan.config.model.compile == "auto":
        _try_compiling(trial_pack, worker, channel)

    def next_trial() -> Trial | None:
        if channel.stop_requested():
            return None
        with lock:
            return plan.ask(study, len(trial_pack.runs), worker.owner)

    run_trials(trial_pack, study, next_trial=next_trial, should_stop=channel.stop_requested)
    plan.end(study)


def _find_pack(trial_pack: TrialPack, worker: Worker, channel: Channel) -> None:
    """Time packs, take the best, and note it in the study's folder."""
    choice = fit_pack(
        trial_pack.work,
        trial_pack.config,
        worker.trials,
        announce=lambda places: channel.send({"kind": "timing", "places": places}),
        should_stop=channel.stop_requested,
    )
    if choice.seconds:
        channel.send({"kind": "pack", "places": choice.pack, "speedup": choice.speedup})
        append_json_line(trial_pack.folder.packs, {"worker": worker.index, **asdict(choice)})


def _try_compiling(trial_pack: TrialPack, worker: Worker, channel: Channel) -> None:
    """Compile the learning pass if there is much to do, keep it if it is faster, and note it in the study's folder."""
    found = fit_compiling(
        trial_pack.work,
        trial_pack.config,
        worker.trials,
        announce=lambda: channel.send({"kind": "compiling"}),
        should_stop=channel.stop_requested,
    )
    if found is not None:
        kept, failure = found.pays, found.failure
        channel.send({"kind": "compiled", "speedup": found.speedup, "kept": kept, "failure": failure})
        append_json_line(trial_pack.folder.packs, {"worker": worker.index, **asdict(found)})


def take_device(index: int) -> torch.device:
    """Make this process the worker of that index, and say where its model goes."""
    device = _device(index)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.cuda.empty_cache()  # of what this process did before
    else:
        torch.set_num_threads(1)
        keep_freed_memory()
    _settle_logs()
    return device


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


def _settle_logs() -> None:
    """Leave the terminal to our own words, unless somebody wants all of them."""
    if os.environ.get(VERBOSE):
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
