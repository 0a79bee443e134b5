"""The command that writes a study's report."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.progress import describe
from ppo_tune.cli.terminal import Out, Storage, StudyName, say, tell
from ppo_tune.search.next_steps import flags_of

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
    flags = flags_of(storage, out)
    written = write_and_tell(opened, config, out, flags=flags, markdown=markdown, png=png)
    return Facts(facts_of(written, study, flags))


def write_and_tell(
    study: "Study",
    config: "ppo_tune.StudyConfig",
    out: Path,
    *,
    flags: str,
    is_stopped: bool = False,
    markdown: bool = False,
    png: bool = False,
) -> "ppo_tune.Report":
    """Write the report's files, and say what the study says, where they are, and what to do next.

    Args:
        study: Optuna's object.
        config: The experiment.
        out: Folder that holds runs/ and reports/.
        flags: Of commands about the study, which say where it is.
        is_stopped: Whether the user stopped it just now, and is told how to go on with that.
        markdown: Whether to write `summary.md` too.
        png: Whether to draw pictures too.
    """
    written = ppo_tune.report_study(study, config, out=out, markdown=markdown, png=png)
    for sentence in written.headline[:2]:
        tell(sentence, final=True)
    if written.best is not None:
        say(f"values     {describe(written.params)}")
    next_step = _next(written, flags)
    if not is_stopped and next_step != written.verdict.advice:  # which stands in the headline
        (say if next_step.startswith("ppo-tune ") else tell)(f"go on with {next_step}")
    say(f"report     {written.page}", final=True)
    return written


def _next(report: "ppo_tune.Report", flags: str) -> str:
    return replace(report.next_steps, flags=flags).next(report.best)


def facts_of(report: "ppo_tune.Report", study: str, flags: str) -> dict[str, Any]:
    """What a report says, for scripts."""
    return {
        "study": study, "verdict": asdict(report.verdict), "headline": report.headline, "params": report.params,
        "page": report.page, "best": report.best, "next": _next(report, flags),
    }  # fmt: skip
