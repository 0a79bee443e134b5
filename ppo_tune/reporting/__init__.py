"""What a study says, as tables, figures, one page, a short text and pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study

from ppo_tune.config.study import StudyConfig
from ppo_tune.data.user_files import with_paths_from
from ppo_tune.export.gather import provenance
from ppo_tune.export.native import BEST, render
from ppo_tune.files import make_folder, write_text
from ppo_tune.reporting.analysis.exploitation import trials_tables
from ppo_tune.reporting.chapters.history.curves import curves_table
from ppo_tune.reporting.markdown import summary
from ppo_tune.reporting.page import build_chapters, page_html, study_page
from ppo_tune.reporting.pictures import write_pictures
from ppo_tune.reporting.record import StudyRecord, read_record
from ppo_tune.safe_text import writable
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.verdict import Verdict
from ppo_tune.search.winner import full_length

__all__ = ["Report", "curves_table", "report_study", "write_files", "write_report"]

FIGURES = "figures"
"""Folder of the pictures, beside the page."""


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        page: The page.
        best: The winner's config as a file; None where there is no winner.
        headline: What the page says first, in sentences.
        verdict: What the study says.
        params: The winner's searched values; empty where there is none.
    """

    page: Path
    best: Path | None
    headline: tuple[str, ...]
    verdict: Verdict
    params: Mapping[str, Any]


def report_study(
    study: Study, config: StudyConfig, *, out: Path | str = ".", markdown: bool = False, png: bool = False
) -> Report:
    """Write a study's report where the command line writes it, `reports/<study>/`.

    Args:
        study: Optuna's object.
        config: The experiment.
        out: Folder that holds `runs/` and `reports/`.
        markdown: Whether to write `summary.md` too.
        png: Whether to write pictures of the key figures too, into `figures/`.

    Returns:
        Where it is, and what it says first.

    Raises:
        PPOTuneError: If the folder cannot be written, or pictures are wanted and cannot be drawn.
    """
    folder = Path(out) / "reports" / config.name
    record = read_record(study, config, StudyFolder.of(Path(out), config.name).path)
    return write_files(record, folder, markdown=markdown, png=png)


def write_report(
    study: Study,
    config: StudyConfig,
    run_folder: Path,
    folder: Path,
    *,
    markdown: bool = False,
    png: bool = False,
) -> Path:
    """Write `index.html`, `best.yaml`, `trials.csv`, `curves.csv` and `hacking.csv` of a study, finished or running.

    Args:
        study: Optuna's object.
        config: The experiment.
        run_folder: Where the study's trials keep their files.
        folder: Where the report goes.
        markdown: See `report_study`.
        png: See `report_study`.

    Returns:
        The page.

    Raises:
        PPOTuneError: As `report_study` does.
    """
    return write_files(read_record(study, config, run_folder), folder, markdown=markdown, png=png).page


def write_files(record: StudyRecord, folder: Path, *, markdown: bool = False, png: bool = False) -> Report:
    """Like `write_report`, of a record that was read before.

    Raises:
        PPOTuneError: If pictures are wanted and cannot be drawn; all else is there.
    """
    make_folder(folder)
    best_yaml = _write_best(record, folder / BEST)
    page = study_page(record, build_chapters(record))
    write_text(folder / "trials.csv", writable(record.table.to_csv(index=False)))
    for name, table in trials_tables(record).items():
        write_text(folder / name, writable(table.to_csv(index=False)))
    write_text(folder / "curves.csv", curves_table(record).to_csv(index=False))
    write_text(folder / "index.html", page_html(page))
    pictures = write_pictures(page.chapters, folder / FIGURES) if png else []
    if markdown:
        addresses = {picture.stem: f"{FIGURES}/{picture.name}" for picture in pictures}
        write_text(folder / "summary.md", summary(page, best_yaml, addresses))
    return Report(
        page=folder / "index.html",
        best=None if best_yaml is None else folder / BEST,
        headline=tuple(page.headline),
        verdict=record.verdict,
        params={} if record.winner is None else record.winner.params,
    )


def _write_best(record: StudyRecord, path: Path) -> str | None:
    """Write the winner's config at full length; where there is no winner, remove that of an earlier report."""
    if record.winner is None:
        path.unlink(missing_ok=True)
        return None
    facts = provenance(record.config, record.winner, record.verdict)
    text = render(with_paths_from(full_length(record.winner, record.config), path.parent), facts)
    write_text(path, text)
    return text
