"""The command that writes a study's report."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.progress import describe
from ppo_tune.cli.terminal import Out, Storage, StudyName, say, tell

if TYPE_CHECKING:
    from optuna.study import Study


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
) -> Facts:
    """Write reports/<study>/: the page index.html, trials.csv, curves.csv and best.yaml."""
    opened, config = ppo_tune.open_study(study, storage=storage, out=out)
    return Facts(facts_of(write_and_tell(opened, config, out, markdown=markdown, png=png), study))


def write_and_tell(
    study: "Study",
    config: "ppo_tune.StudyConfig",
    out: Path,
    *,
    markdown: bool = False,
    png: bool = False,
) -> "ppo_tune.Report":
    """Write the report's files, and say what the study says and where they are."""
    written = ppo_tune.report_study(study, config, out=out, markdown=markdown, png=png)
    for sentence in written.headline[:2]:
        tell(sentence, final=True)
    if written.best is not None:
        say(f"values     {describe(written.params)}")
        if written.verdict.advice:
            pass
        elif written.train:
            tell(f"go on with {written.train}")
        else:
            say(f"go on with ppo-tune train {shlex.quote(str(written.best))}")
    say(f"report     {written.page}", final=True)
    return written


def facts_of(report: "ppo_tune.Report", study: str) -> dict[str, Any]:
    """What a report says, for scripts."""
    return {
        "study": study, "verdict": asdict(report.verdict), "headline": report.headline, "params": report.params,
        "page": report.page, "best": report.best,
    }  # fmt: skip
