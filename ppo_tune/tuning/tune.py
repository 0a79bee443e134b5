"""A search whose prompts, model, reward and space are objects of Python."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppo_tune.data.given import Given
from ppo_tune.errors import PPOTuneError, StudyMismatchError
from ppo_tune.events import Event, Watcher
from ppo_tune.plurals import counted
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.run import run_search
from ppo_tune.search.storage import OF_A_FILE, forget_unbegun, has_study, storage_url
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
    folder, store = StudyFolder.of(Path(out), name), storage_url(Path(out), name)
    is_new = storage is None and not has_study(store, name)
    try:
        config = given.write(folder.given)
        result = run_search(config, out=out, storage=storage, workers=workers, watch=watch, confirm=confirm)
    except StudyMismatchError as error:
        given.take_back()
        what = str(error).replace(OF_A_FILE, "call it with what it had, or with another name")
        raise StudyMismatchError(what) from None
    except PPOTuneError:
        if is_new and forget_unbegun(store, name):  # a reward that is mended may try again
            folder.base.unlink(missing_ok=True)
            given.take_back()
        raise
    if result.interrupted:
        watch({"kind": "note", "text": "stopped; the same call goes on"})
    return Study(name, storage=storage, out=out, held=given.held)


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
