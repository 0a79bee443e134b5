"""The command that shows and copies the study files that come with ppo-tune."""

from pathlib import Path
from typing import Annotated

import typer

from ppo_tune.cli.terminal import say, tell
from ppo_tune.config.shipped import about, copy_shipped, shipped


def examples(
    name: Annotated[str | None, typer.Argument(help="Which to copy; without it they are listed.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets search_spaces/ with the copy.")] = Path(),
) -> None:
    """List the study files that come with ppo-tune, or copy one to start from."""
    if name is None:
        for known, path in shipped().items():
            tell(f"{known:<12} {about(path)}", indent=13)
        say("`ppo-tune search NAME` runs one; `ppo-tune examples NAME` copies it.")
        return
    for path in copy_shipped(name, out):
        say(f"wrote {path}")
