"""The command that shows and copies the study files that come with ppo-tune."""

from pathlib import Path
from typing import Annotated

import typer

from ppo_tune.cli.output import Facts
from ppo_tune.cli.terminal import say, tell
from ppo_tune.config.shipped import about, copy_shipped, shipped


def examples(
    name: Annotated[str | None, typer.Argument(help="Which to copy; without it they are listed.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets search_spaces/ with the copy.")] = Path(),
) -> Facts:
    """List the study files that come with ppo-tune, or copy one to start from."""
    if name is None:
        told = {known: about(path) for known, path in shipped().items()}
        for known, text in told.items():
            tell(f"{known:<12} {text}", indent=13, final=True)
        say("`ppo-tune search NAME` runs one; `ppo-tune examples NAME` copies it.")
        return Facts({"examples": told})
    written = copy_shipped(name, out)
    for path in written:
        say(f"wrote {path}", final=True)
    return Facts({"files": written})
