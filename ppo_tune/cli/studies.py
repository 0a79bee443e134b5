"""Commands about a study that has run: look at what was found, hand the winner on."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppo_tune.cli.terminal import (
    Out,
    Storage,
    StudyName,
    app,
    open_study,
    say,
    tell,
)

if TYPE_CHECKING:
    from optuna.study import Study

    from ppo_tune.config.blocks import StudyConfig
    from ppo_tune.search.verdict import Verdict


@app.command()
def report(
    study: StudyName,
    storage: Storage = None,
    out: Out = Path(),
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write summary.md too, for a pull request or a model card.")
    ] = False,
    png: Annotated[
        bool, typer.Option("--png", help="Draw the key figures too; needs the extra `png` and Chromium.")
    ] = False,
) -> None:
    """Write reports/<study>/: the page index.html, trials.csv, curves.csv and best.yaml."""
    opened, config = open_study(study, storage, out)
    write_study_report(opened, config, out, markdown=markdown, png=png)


def write_study_report(
    study: "Study", config: "StudyConfig", out: Path, *, markdown: bool = False, png: bool = False
) -> "Verdict":
    """Write the report's files and say what the study says and where they are."""
    from ppo_tune.cli.progress import describe
    from ppo_tune.export.gather import provenance
    from ppo_tune.export.native import render
    from ppo_tune.files import make_folder, write_text
    from ppo_tune.reporting import write_files
    from ppo_tune.reporting.chapters.results.verdict import headline
    from ppo_tune.reporting.record import read_record
    from ppo_tune.search.storage import run_folder
    from ppo_tune.search.winner import full_length

    folder = make_folder(out / "reports" / config.name)
    record = read_record(study, config, run_folder(out, config.name))
    best = None
    if record.winner is not None:
        facts = provenance(config, record.winner, record.verdict)
        best = render(full_length(record.winner, config), facts)
        write_text(folder / "best.yaml", best)
    else:
        (folder / "best.yaml").unlink(
            missing_ok=True
        )  # of an earlier report, when there was something to go on with
    page = write_files(record, folder, best_yaml=best, markdown=markdown, png=png)
    for sentence in headline(record)[:2]:
        tell(sentence)
    if record.winner is not None:
        say(f"values     {describe(record.winner.params)}")
        if not record.verdict.advice:
            say(f"go on with ppo-tune train {shlex.quote(str(folder / 'best.yaml'))}")
    say(f"report     {page}")
    return record.verdict
