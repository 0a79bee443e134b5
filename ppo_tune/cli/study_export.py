"""The command that hands a study's winner on: to another trainer, or in our own format."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppo_tune.cli.terminal import Out, Storage, StudyName, app, open_study, say, tell

if TYPE_CHECKING:
    from ppo_tune.export import Export


@app.command()
def export(
    study: StudyName,
    to: Annotated[
        str, typer.Option(help="native, openrlhf, verl, skyrl, or trl (1.12, the last with PPO).")
    ] = "native",
    folder: Annotated[
        Path | None, typer.Option(help="Folder to write; default: <out>/exports/<study>-<target>.")
    ] = None,
    params_ratio: Annotated[
        float | None, typer.Option(help="Suggest values for a model of so many times the parameters.")
    ] = None,
    response_length: Annotated[
        int | None, typer.Option(help="Suggest values for responses of up to so many tokens.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds something.")] = False,
    to_terminal: Annotated[
        bool, typer.Option("--print", help="Print the main file, and write nothing.")
    ] = False,
    storage: Storage = None,
    out: Out = Path(),
) -> None:
    """Write the best config for full training: in our own format, or for another trainer."""
    from ppo_tune.export import Scale, exporter
    from ppo_tune.export.gather import gather

    make, scale = exporter(to), Scale(params_ratio, response_length)
    opened, config = open_study(study, storage, out)
    winner = gather(opened, config, out=out, for_others=to != "native")
    made = make(winner, scale)
    if to_terminal:
        sys.stdout.write(made.files[made.main])
        return
    target = folder or out / "exports" / f"{config.name}-{to}"
    _write(made, target, force=force)
    _tell(made, target, to, winner.provenance)


def _write(made: "Export", folder: Path, *, force: bool) -> None:
    """All files of an export, into a folder that is empty unless the user insists.

    Raises:
        StorageError: If it is not, or cannot be written.
    """
    from ppo_tune.errors import StorageError
    from ppo_tune.files import make_folder, write_text

    if not force and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StorageError(
            f"{folder} holds something already; choose another with --folder, or insist with --force"
        )
    make_folder(folder)
    for name, text in made.files.items():
        write_text(folder / name, text)


def _tell(made: "Export", folder: Path, target: str, provenance: Mapping[str, str]) -> None:
    from ppo_tune.export.native import ADVICE

    for name in made.files:
        say(f"wrote      {folder / name}")
    tell(provenance["verdict"])
    if ADVICE in provenance:
        tell(provenance[ADVICE])
    elif target == "native":
        say(f"go on with ppo-tune train {shlex.quote(str(folder / made.main))}")
    if target == "native":
        return
    for what, remarks in (
        ("cannot do", made.conversion.unsupported),
        ("does otherwise", made.conversion.approximated),
    ):
        say(
            f"{len(remarks)} thing{'s' if len(remarks) != 1 else ''} that {target} {what}: see {folder / made.main}"
        )
