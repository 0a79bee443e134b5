"""The command that gives a study another name."""

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.search import flags_of
from ppo_tune.cli.terminal import Out, Storage, StudyName, say


def rename(
    study: StudyName,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    storage: Storage = None,
    out: Out = Path(),
) -> Facts:
    """Give a study another name, in its store and of its folder; report and exports stay as they are."""
    folder = ppo_tune.rename_study(study, new_name, storage=storage, out=out)
    where = "" if folder is None else f", in {folder}"
    say(f"study {study} is now {new_name}{where}", final=True)
    flags = flags_of(storage, out)
    say(
        f"ppo-tune extend {new_name}{flags} goes on with it, ppo-tune report {new_name}{flags} writes its report"
    )
    say(f"your own file goes on with it by --name {shlex.quote(new_name)}")
    stays = [path for path in (out / "reports" / study, *_exports(study, out)) if path.is_dir()]
    for path in stays:
        say(f"{path} stays, and calls it {study}")
    return Facts({"study": new_name, "before": study, "folder": folder, "stays": stays})


def _exports(study: str, out: Path) -> list[Path]:
    """The folders that `export` writes for a study, unless it is told another."""
    ours = re.compile(rf"{re.escape(study)}(-trial-\d+)?-[a-z]+")
    return [path for path in sorted((out / "exports").glob(f"{study}-*")) if ours.fullmatch(path.name)]
