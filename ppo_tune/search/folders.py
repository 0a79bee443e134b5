"""Where a study keeps its files: every name below its folder stands here and nowhere else."""

import uuid
from dataclasses import dataclass
from pathlib import Path

from ppo_tune.files import write_text


@dataclass(frozen=True)
class TrialFolder:
    """The files of one trial.

    Attributes:
        path: The folder, called by the trial's number.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The hyperparameters that its trainer really used."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """A line per iteration, and one per milestone."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Some of its last held-out responses."""
        return self.path / "samples.json"

    @property
    def adapter(self) -> Path:
        """The trained adapter of a completed trial."""
        return self.path / "adapter"


@dataclass(frozen=True)
class StudyFolder:
    """The files of one study.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def of(cls, out: Path, study_name: str) -> "StudyFolder":
        """The folder of a study by its name.

        Args:
            out: Holds `runs/` and `reports/`.
            study_name: As in the study file.
        """
        return cls(out / "runs" / study_name)

    @classmethod
    def of_objective(cls, out: Path, study_name: str) -> Path:
        """Holds one folder per Optuna study that `ppo_tune.Objective` trained for."""
        return out / "runs" / f"{study_name}-objective"

    @property
    def store(self) -> Path:
        """The SQLite file of a study that names no other store."""
        return self.path / "study.db"

    @property
    def base(self) -> Path:
        """What the untrained model does."""
        return self.path / "base.json"

    @property
    def packs(self) -> Path:
        """What workers found out about the size of packs and about compiling."""
        return self.path / "packs.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the search that runs here."""
        return self.path / "search.lock"

    @property
    def pid(self) -> Path:
        """The process that holds the lock, for people."""
        return self.path / "search.pid"

    @property
    def ask_lock(self) -> Path:
        """Held by the worker that asks for its next trial."""
        return self.path / "ask.lock"

    @property
    def claim(self) -> Path:
        """Which of the user's own Optuna studies a folder belongs to."""
        return self.path / "owner.json"

    @property
    def claim_lock(self) -> Path:
        """Held while a folder is claimed."""
        return self.path / "owner.lock"

    @property
    def confirmation(self) -> "StudyFolder":
        """That of the study's confirmation."""
        return StudyFolder(self.path / "confirmation")

    def trial(self, number: int) -> TrialFolder:
        """That of one trial."""
        return TrialFolder(self.path / "trials" / f"{number:04d}")

    def identity(self) -> str:
        """A random name that no other folder has, made at the first call; call it under the search's lock.

        Whoever holds the lock knows that no worker which was started from this folder is alive.
        """
        file = self.path / "search.id"
        if not file.is_file():
            write_text(file, uuid.uuid4().hex)
        return file.read_text(encoding="utf-8")
