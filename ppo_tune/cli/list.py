"""The command that says which studies there are."""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

import ppo_tune
from ppo_tune.cli.terminal import Out, Storage, printable, say, tell
from ppo_tune.errors import PPOTuneError
from ppo_tune.files import finite
from ppo_tune.search.status import StudyStatus


def list(
    storage: Storage = None,
    out: Out = Path(),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per study, for scripts.")
    ] = False,
) -> None:
    """Say which studies there are, how each stands and what it says; changes nothing and disturbs nobody."""
    names = ppo_tune.study_names(storage=storage, out=out)
    if not names and not as_json:
        say(f"there is no study in {out if storage is None else 'that store'} yet")
    for name in names:
        try:
            found = ppo_tune.study_status(name, storage=storage, out=out)
        except PPOTuneError as error:  # of something else than ppo-tune, say
            if not as_json:
                say(Text.assemble(name, ("  cannot be read", "yellow")))
                tell(f"  {printable(str(error))}", indent=2)
            continue
        if as_json:
            sys.stdout.write(json.dumps(finite(asdict(found)), default=datetime.isoformat) + "\n")
        else:
            say(Text.assemble(name, (f"  {_stands(found)}", "dim")))
            tell(f"  {printable(found.verdict.sentence)}", indent=2)


def _stands(found: StudyStatus) -> str:
    of = "" if found.total is None else f" of {found.total}"
    ended = "" if found.last_ended is None else f", the last on {found.last_ended:%d %b %Y}"
    return f"{found.state}, {found.done}{of} trials over{ended}"
