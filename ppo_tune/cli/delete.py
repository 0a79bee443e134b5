"""The command that deletes a study."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import ppo_tune
from ppo_tune.cli.output import Facts, stoppable
from ppo_tune.cli.terminal import Out, Storage, StudyName, console, say
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.plurals import counted
from ppo_tune.search.studies import StudyContents


def delete(
    study: StudyName,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it without asking.")] = False,
    storage: Storage = None,
    out: Out = Path(),
) -> Facts:
    """Delete a study for good; asks first, and leaves its report."""
    found = ppo_tune.study_contents(study, storage=storage, out=out)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(
                [Problem("--yes", f"must be given where nobody can be asked; it deletes {_told(found)}")]
            )
        say(f"this deletes {_told(found)}", final=True)
        with stoppable(lambda: "Nothing was deleted."):
            wanted = typer.confirm(f"Delete study {study} for good?", err=console.stderr)
        if not wanted:
            say("nothing was deleted", final=True)
            return Facts({**asdict(found), "deleted": False})
    ppo_tune.delete_study(study, storage=storage, out=out)
    say(f"deleted {_told(found)}", final=True)
    if found.report is not None:
        say(f"its report stays in {found.report}")
    return Facts({**asdict(found), "deleted": True})


def _told(found: StudyContents) -> str:
    """What a study consists of, in words."""
    of = [counted(found.trials, "trial")]
    if found.confirmation_runs:
        of.append(f"{counted(found.confirmation_runs, 'run')} of its confirmation")
    files = "" if found.folder is None else f", and {found.folder} with {found.size / 1e6:.1f} MB"
    return f"study {found.study}: {' and '.join(of)}{files}"
