"""A study that was searched, as data frames, figures and the functions of the commands."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Self

import optuna
import pandas as pd
from plotly import graph_objects as go

from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.data.user_functions import Held
from ppo_tune.errors import StorageError
from ppo_tune.events import Watcher
from ppo_tune.export import Export, export_study
from ppo_tune.reporting import Report, curves_table, write_files
from ppo_tune.reporting.analysis.importance import importance_table
from ppo_tune.reporting.page import build_chapters
from ppo_tune.reporting.record import StudyRecord, read_record
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.run import run_confirmation
from ppo_tune.search.storage import open_study
from ppo_tune.search.verdict import Verdict
from ppo_tune.search.winner import full_length

HEAD = 5
"""Rows of the trials that a notebook shows of a study."""


class Study:
    """A study: its trials, its verdict, its figures. Opening it changes nothing and disturbs nobody.

    All is read when it is first asked for; of a study that is under way, load it again to see more.

    Args:
        name: The study's.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        out: Folder that holds `runs/` and `reports/`.
        held: Objects that only this session has and the study's rewards are; kept for as long as the study is.

    Attributes:
        name: The study's.
        config: The experiment.
        optuna_study: Optuna's object.
        folder: Where its files are.

    Raises:
        PPOTuneError: If there is no such study.
    """

    def __init__(
        self, name: str, *, storage: str | None = None, out: Path | str = ".", held: Sequence[Held] = ()
    ) -> None:
        self.name = name
        self._storage, self._out, self._held = storage, Path(out), tuple(held)
        self.optuna_study: optuna.Study
        self.config: StudyConfig
        self.optuna_study, self.config = open_study(name, storage=storage, out=out)
        self.folder = StudyFolder.of(self._out, name).path

    @classmethod
    def load(cls, name: str | Path, *, storage: str | None = None, out: Path | str = ".") -> Self:
        """Open a study by its name, or by its folder.

        Args:
            name: The study's name, or its folder, `…/runs/<name>`.
            storage: URL of an Optuna store; None takes SQLite beside the trials.
            out: Folder that holds `runs/<name>/`, where the name alone is given.

        Raises:
            ConfigError: If the name cannot be one.
            StorageError: If there is no such study.
        """
        folder = Path(name)
        if str(name) == folder.name:
            return cls(str(name), storage=storage, out=out)
        here = folder.resolve()
        if StudyFolder.of(here.parent.parent, here.name).path != here:
            raise StorageError(f"a study's folder must be …/runs/<name>, but got {str(name)!r}")
        return cls(here.name, storage=storage, out=folder.parent.parent)

    @cached_property
    def record(self) -> StudyRecord:
        """What all below is read from."""
        return read_record(self.optuna_study, self.config, self.folder)

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: its number, ending, score, KL, cost and searched values; as in trials.csv."""
        return self.record.table.copy()

    @cached_property
    def _curves(self) -> pd.DataFrame:
        return curves_table(self.record)

    @property
    def curves(self) -> pd.DataFrame:
        """One row per trial and milestone: episodes, score, judges, KL; as in curves.csv."""
        return self._curves.copy()

    @property
    def verdict(self) -> Verdict:
        """What the study says: a kind, the trial to go on with, whether fresh seeds decided, and a sentence."""
        return self.record.verdict

    @property
    def best(self) -> TrainConfig:
        """The config to go on with, at full length: for `ppo_tune.train`.

        Raises:
            PPOTuneError: If no trial was completed within the KL budget.
        """
        return full_length(self.record.winner, self.config)

    @cached_property
    def importance(self) -> pd.DataFrame:
        """How much each hyperparameter decides about the score; empty with too few trials."""
        return importance_table(self.record)

    @cached_property
    def figures(self) -> Mapping[str, go.Figure]:
        """The figures of the report by the names of their sections, in its order."""
        sections = (section for chapter in build_chapters(self.record) for section in chapter.sections)
        return {section.anchor: section.figure for section in sections if section.figure is not None}

    def report(
        self, folder: Path | str | None = None, *, markdown: bool = False, png: bool = False
    ) -> Report:
        """Write the report.

        Args:
            folder: Where; None takes `reports/<name>/`.
            markdown: Whether to write `summary.md` too.
            png: Whether to write pictures of the key figures too.

        Raises:
            PPOTuneError: If the folder cannot be written, or pictures are wanted and cannot be drawn.
        """
        wanted = self._out / "reports" / self.name if folder is None else Path(folder)
        return write_files(self.record, wanted, markdown=markdown, png=png)

    def export(self, to: str = "native", **settings: Any) -> Export:
        """The best config for full training, in our own format or for another trainer; see `ppo_tune.export_study`.

        Raises:
            PPOTuneError: If there is no such target, or nothing to hand on.
        """
        return export_study(self.name, to, storage=self._storage, out=self._out, **settings)

    def confirm(
        self,
        *,
        top: int | None = None,
        seeds: int | None = None,
        workers: int | None = None,
        watch: Watcher = lambda _: None,
    ) -> Self:
        """Run the best few and the default again on fresh seeds and unseen prompts, or go on with that.

        Args:
            top: How many of the best, instead of the experiment's.
            seeds: How many fresh seeds, instead of the experiment's.
            workers: Processes; None takes one per GPU, or one per core without a GPU.
            watch: Told of everything that happens.

        Returns:
            The study as it then stands.

        Raises:
            PPOTuneError: If there is nothing to confirm, or something cannot be used.
        """
        wanted = {"confirm_top": top, "confirm_seeds": seeds}
        changes = {name: number for name, number in wanted.items() if number is not None}
        search = self.config.search.model_copy(update=changes)
        config = self.config.model_copy(update={"search": search})
        run_confirmation(config, out=self._out, storage=self._storage, workers=workers, watch=watch)
        return type(self)(self.name, storage=self._storage, out=self._out, held=self._held)

    def __repr__(self) -> str:
        return f"<study {self.name}: {self.verdict.sentence}>"

    def _repr_html_(self) -> str:
        """The verdict and the best trials, as a notebook shows them."""
        best = self.trials.sort_values("score", ascending=False, kind="stable").head(HEAD)
        columns = ["number", "role", "ending", "score", "kl", *self.config.space]
        table = best[columns].to_html(index=False, float_format="{:.3g}".format, na_rep="", border=0)
        return f"<p><b>{escape(self.name)}</b>: {escape(self.verdict.sentence)}</p>{table}"
