"""Where a study keeps its files: every name below its folder stands here and nowhere else."""

import uuid
from dataclasses import dataclass
from pathlib import Path

from ppo_tune.files import write_text


class _Below:
    """A file of a folder, by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: "TrialFolder | StudyFolder", _: type) -> Path:
        return folder.path / self._name


@dataclass(frozen=True)
class TrialFolder:
    """The files of one trial.

    Attributes:
        path: The folder, called by the trial's number.
        config: The hyperparameters that its trainer really used.
        metrics: A line per iteration, and one per milestone.
        samples: Some of its last held-out responses.
        adapter: The trained adapter of a completed trial.
    """

    path: Path

    config = _Below("config.json")
    metrics = _Below("metrics.jsonl")
    samples = _Below("samples.json")
    adapter = _Below("adapter")


@dataclass(frozen=True)
class StudyFolder:
    """The files of one study.

    Attributes:
        path: The folder.
        store: The SQLite file of a study that names no other store.
        base: What the untrained model does.
        packs: What workers found out about the size of packs and about compiling.
        lock: Held by the search that runs here.
        pid: The process that holds the lock, for people.
        ask_lock: Held by the worker that asks for its next trial.
        claim: Which of the user's own Optuna studies the folder belongs to.
        claim_lock: Held while the folder is claimed.
        given: What the user had as objects of Python, as files.
    """

    path: Path

    store = _Below("study.db")
    base = _Below("base.json")
    packs = _Below("packs.jsonl")
    lock = _Below("search.lock")
    pid = _Below("search.pid")
    ask_lock = _Below("ask.lock")
    claim = _Below("owner.json")
    claim_lock = _Below("owner.lock")
    given = _Below("given")
    _identity = _Below("search.id")

    @classmethod
    def of(cls, out: Path, study_name: str) -> "StudyFolder":
        """The folder of a study by its name; `out` holds `runs/` and `reports/`."""
        return cls(out / "runs" / study_name)

    @classmethod
    def all(cls, out: Path) -> "list[StudyFolder]":
        """Those that keep a store of their own, in order of their names."""
        folders = (cls(path) for path in sorted((out / "runs").glob("*")))
        return [folder for folder in folders if folder.store.is_file()]

    @property
    def confirmation(self) -> "StudyFolder":
        """That of the study's confirmation."""
        return StudyFolder(self.path / "confirmation")

    def trial(self, number: int) -> TrialFolder:
        """That of one trial."""
        return TrialFolder(self.path / "trials" / f"{number:04d}")

    def written(self, name: str) -> Path:
        """The study file as it was last searched; its name is the study's, so that it can be searched itself."""
        return self.path / f"{name}.yaml"

    def identity(self) -> str:
        """A random name that no other folder has, made at the first call; call it under the search's lock.

        Whoever holds the lock knows that no worker which was started from this folder is alive.
        """
        if not self._identity.is_file():
            write_text(self._identity, uuid.uuid4().hex)
        return self._identity.read_text(encoding="utf-8")
