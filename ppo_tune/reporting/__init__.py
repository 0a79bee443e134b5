"""What a study says, as tables, figures, one page, a short text and pictures."""

from pathlib import Path

from optuna.study import Study

from ppo_tune.config.blocks import StudyConfig
from ppo_tune.files import write_text
from ppo_tune.reporting.analysis.exploitation import trials_table
from ppo_tune.reporting.chapters.history.curves import curves_table
from ppo_tune.reporting.markdown import summary
from ppo_tune.reporting.page import build_chapters, study_page, write_page
from ppo_tune.reporting.pictures import write_pictures
from ppo_tune.reporting.record import StudyRecord, read_record
from ppo_tune.safe_text import writable

__all__ = ["write_files", "write_report"]

FIGURES = "figures"
"""Folder of the pictures, beside the page."""


def write_report(study: Study, config: StudyConfig, run_folder: Path, folder: Path) -> Path:
    """Write `index.html`, `trials.csv`, `curves.csv` and `hacking.csv` of a study, finished or running.

    Args:
        study: Optuna's object.
        config: The experiment.
        run_folder: Where the study's trials keep their files.
        folder: Where the report goes.

    Returns:
        The page.
    """
    return write_files(read_record(study, config, run_folder), folder)


def write_files(
    record: StudyRecord,
    folder: Path,
    *,
    best_yaml: str | None = None,
    markdown: bool = False,
    png: bool = False,
) -> Path:
    """Like `write_report`, of a record that was read before.

    Args:
        record: The study.
        folder: Where the report goes.
        best_yaml: The winner's config as a file; stands in the summary.
        markdown: Whether to write `summary.md` too.
        png: Whether to write pictures of the key figures too, into `figures/`.

    Returns:
        The page.

    Raises:
        PPOTuneError: If pictures are wanted and cannot be drawn; the page is there.
    """
    page = study_page(record, build_chapters(record))
    write_text(folder / "trials.csv", writable(record.table.to_csv(index=False)))
    write_text(folder / "hacking.csv", writable(trials_table(record).to_csv(index=False)))
    write_text(folder / "curves.csv", curves_table(record).to_csv(index=False))
    write_page(page, folder / "index.html")
    pictures = write_pictures(page.chapters, folder / FIGURES) if png else []
    if markdown:
        addresses = {picture.stem: f"{FIGURES}/{picture.name}" for picture in pictures}
        write_text(folder / "summary.md", summary(page, best_yaml, addresses))
    return folder / "index.html"
