"""What a study says, as tables, figures and one page."""

from pathlib import Path

from optuna.study import Study

from ppo_tune.config import StudyConfig
from ppo_tune.files import write_text
from ppo_tune.reporting.page import write_page
from ppo_tune.reporting.record import read_record

__all__ = ["write_report"]


def write_report(study: Study, config: StudyConfig, run_folder: Path, folder: Path) -> Path:
    """Write `index.html` and `trials.csv` of a study, finished or running.

    Args:
        study: Optuna's object.
        config: The experiment.
        run_folder: Where the study's trials keep their files.
        folder: Where the report goes.

    Returns:
        The page.
    """
    record = read_record(study, config, run_folder)
    write_text(folder / "trials.csv", record.table.to_csv(index=False))
    write_page(record, folder / "index.html")
    return folder / "index.html"
