"""The command that shows a study in Optuna's dashboard."""

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

import ppo_tune
from ppo_tune.cli.terminal import Out, Storage, StudyName, say


def dashboard(
    study: StudyName,
    live: Annotated[
        bool, typer.Option("--live", help="Serve the store itself, which the page can change.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")
    ] = 8080,
    storage: Storage = None,
    out: Out = Path(),
) -> None:
    """Show a study in Optuna's dashboard, a copy of it unless --live, to this machine only."""
    with ppo_tune.study_dashboard(study, live=live, port=port, storage=storage, out=out) as shown:
        say(f"dashboard  {shown.page}", final=True)
        say(_warning(live))
        if shown.ignored:
            say(shown.ignored)
        with contextlib.suppress(KeyboardInterrupt):
            shown.server.serve_forever()


def _warning(live: bool) -> Text:
    if live:
        return Text.assemble(
            ("careful: ", "yellow"), "this is the store itself; the page can change and delete trials"
        )
    return Text(
        f"a copy of {datetime.now():%H:%M:%S}: start it again to see more; Ctrl-C ends it and deletes the copy"
    )
