"""A search whose prompts, model, reward and space are objects of Python."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ppo_tune.data.given import Given
from ppo_tune.errors import PPOTuneError, StorageError, StudyMismatchError
from ppo_tune.events import Event, Watcher
from ppo_tune.plurals import counted
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.holding import only_search
from ppo_tune.search.run import run_search
from ppo_tune.search.storage import (
    OF_A_FILE,
    forget_unbegun,
    has_study,
    load_study_from,
    storage_url,
    stored_config,
)
from ppo_tune.tuning.study import Study

OTHERS = ("storage", "workers", "watch", "confirm")
"""What `tune` takes besides the experiment, its name and its folder."""


def tune(  # noqa: PLR0913 all of them are named
    *,
    space: Mapping[str, Any],
    prompts: Any = None,
    reward: Any = None,
    model: Any = None,
    name: str = "tune",
    out: Path | str = ".",
    storage: str | None = None,
    workers: int | None = None,
    watch: Watcher | None = None,
    confirm: bool = True,
    **settings: Any,
) -> Study:
    """Search hyperparameters for a model, prompts and a reward; the same call goes on with the study.

    What is given becomes a study file, `runs/<name>/<name>.yaml`, and objects become files beside it, in
    `runs/<name>/given/`: `ppo-tune status`, `report`, `export` and all other commands work on it. The same name with
    other arguments is refused, with what differs.

    Where no other process can import the reward (a lambda, a function of a notebook, an object), one worker trains in
    this process, and a note says so. Else workers are fresh Python processes, as many as there are cores or GPUs.

    Args:
        space: What is searched, by name: (low, high), a list of choices, or a mapping as in a study file, whose `type`
            may be left out: `{"learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}, "batch_size": [16, 32]}`.
        prompts: A list of texts, of conversations (lists of messages) or of mappings of columns; a data frame; a
            `datasets.Dataset`; the name of a file. None where `task` names the embedded one.
        reward: A function that is called by `prompts`, `responses` and the other columns, all of them lists, and
            returns one number per response; a `ppo_tune.Reward`; the folder or hub name of a reward model, or such a
            model as (model, tokenizer); a mapping such as `{"name": "rule", "include": {"please": 1.0}}`.
        model: A folder or hub name, or (model, tokenizer). None where the task brings one.
        name: Of the study.
        out: Folder that gets `runs/<name>/`.
        storage: URL of an Optuna store; None keeps SQLite beside the trials.
        workers: Processes; None takes one per GPU, or one per core without a GPU.
        watch: Told of everything that happens; None prints what a person wants to know.
        confirm: Whether the best few and the default run again at the end, on fresh seeds and unseen prompts.
        settings: `objective`, `judges` and `gold`, as the reward; `constraints`, a list of comparisons; and every
            key of the blocks task, model, ppo and search of a study file, by its own name (`episodes=640,
            n_trials=16, reference="answer"`) or in a mapping (`ppo={"episodes": 640}`).

    Returns:
        The study.

    Raises:
        PPOTuneError: If something cannot be used, the study was made by other arguments, or every trial fails for the
            same reason.
    """
    watch = watch or Teller().watch
    given = Given(dict(settings, space=space, prompts=prompts, reward=reward, model=model), name, OTHERS)
    try:
        with _nothing_left_if_refused(given, name, Path(out), storage):
            config = given.write(StudyFolder.of(Path(out), name).given)
            result = run_search(
                config, out=out, storage=storage, workers=workers, watch=watch, confirm=confirm
            )
    except StudyMismatchError as error:
        what = str(error).replace(OF_A_FILE, "call it with what it had, or with another name")
        raise StudyMismatchError(what) from None
    if result.interrupted:
        watch({"kind": "note", "text": "stopped; the same call goes on"})
    return Study(name, storage=storage, out=out, held=given.held)


@contextmanager
def _nothing_left_if_refused(given: Given, name: str, out: Path, storage: str | None) -> Iterator[None]:
    """Where no study comes of this block its files go again, and its folder too if it was not there before.

    A study of which no trial could begin is none, where nobody else can have it: so a reward that is mended may try
    again under the same name.
    """
    folder, url = StudyFolder.of(out, name), storage or storage_url(out, name)
    made = [path for path in (folder.path, folder.path.parent, out) if not path.exists()]
    is_new = storage is None and _names_of(url, name) is None
    try:
        yield
    except BaseException:
        named = _names_of(url, name, unbegun=not is_new)
        given.take_back(kept=named or ())
        if named is None and is_new:
            folder.base.unlink(missing_ok=True)
        if named is None and folder.path in made and folder.path.exists():
            with suppress(StorageError), only_search(folder, name):  # whoever searches there holds it
                shutil.rmtree(folder.path)
        for path in made:
            with suppress(OSError):  # it was never made, or holds something
                path.rmdir()
        raise


def _names_of(url: str, name: str, *, unbegun: bool = True) -> list[Path] | None:
    """The files and folders that a study names; None where there is no such study.

    Args:
        url: Of its store.
        name: The study's.
        unbegun: Whether one of which no trial ever began is left; else it is deleted.
    """
    try:
        if not has_study(url, name) or (not unbegun and forget_unbegun(url, name)):
            return None
        return [Path(named.path).resolve() for named in stored_config(load_study_from(url, name)).names()]
    except PPOTuneError:  # the store cannot be opened, or something else than ppo-tune made the study
        return None


class Teller:
    """Prints what a person wants to know of a search, one line each."""

    def __init__(self) -> None:
        self._labels: dict[int, str] = {}

    def watch(self, event: Event) -> None:
        """Take in an event."""
        line = self._line(event)
        if line:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    def _line(self, event: Event) -> str:
        match event["kind"]:
            case "started":
                self._labels[event["number"]] = event["label"]
            case "ended":
                value, reason = event["value"], event["reason"]
                score = "" if value is None else f", score {value:.3f}"
                beyond = "" if value is None or event["feasible"] else ", over the KL budget"
                why = f" ({reason})" if reason else ""
                return (
                    f"{self._labels.get(event['number'], '')} {event['ending']}{score}{beyond}{why}".strip()
                )
            case "note":
                return f"note: {event['text']}"
            case "over":
                return str(event["text"])
            case "confirming" if event["remaining"]:
                return f"confirming on fresh seeds and unseen prompts: at most {counted(event['remaining'], 'run')}"
            case "stage" if event["done"] == 0:
                return f"building the task's {event['name']} (once, then cached)"
        return ""
