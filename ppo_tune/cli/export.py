"""The command that hands a study's winner on: to another trainer, or in our own format."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.terminal import Out, Storage, StudyName, console, heard, note, say, tell
from ppo_tune.plurals import counted


def export(
    study: StudyName,
    to: Annotated[
        str, typer.Option(help="native, openrlhf, verl, skyrl, or trl (1.12, the last with PPO).")
    ] = "native",
    trial: Annotated[
        int | None, typer.Option(min=0, help="Number of another completed trial, instead of the best config.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder to write; default: <out>/exports/<study>-<target>.")
    ] = None,
    params_ratio: Annotated[
        float | None, typer.Option(help="Suggest values for a model of so many times the parameters.")
    ] = None,
    response_length: Annotated[
        int | None, typer.Option(help="Suggest values for responses of up to so many tokens.")
    ] = None,
    copy_models: Annotated[
        bool,
        typer.Option("--copy-models", help="Copy model folders of yours, too, instead of linking to them."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds something.")] = False,
    to_terminal: Annotated[
        bool, typer.Option("--print", help="Print the main file, and write nothing.")
    ] = False,
    storage: Storage = None,
    out: Out = Path(),
) -> Facts:
    """Write the best config for full training: in our own format, or for another trainer."""
    made = ppo_tune.export_study(
        study,
        to,
        trial=trial,
        params_ratio=params_ratio,
        response_length=response_length,
        copy_models=copy_models,
        storage=storage,
        out=out,
    )
    facts = {
        "study": study, "target": to, "main": made.main, "verdict": made.verdict, "advice": made.advice,
        "notes": made.notes,
        "cannot_do": [str(remark) for remark in made.conversion.unsupported],
        "does_otherwise": [str(remark) for remark in made.conversion.approximated],
    }  # fmt: skip
    if to_terminal:
        text = made.printed or made.files[made.main]
        with heard(True):
            if not console.quiet:
                console.file.write(text)
        return Facts({**facts, "text": text})
    which = "" if trial is None else f"-trial-{trial}"
    target = folder or out / "exports" / f"{study}{which}-{to}"
    written = made.write(target, force=force)
    for file in written:
        say(f"wrote      {file}", final=True)
    for text in made.notes:
        note(text)
    tell(made.verdict, final=True)
    if made.advice:
        tell(made.advice)
    elif made.command and not made.missing:
        say(f"go on with {shlex.join([*made.command, str(target / made.main)])}")
    losses = {"cannot do": made.conversion.unsupported, "does otherwise": made.conversion.approximated}
    for what, remarks in losses.items():
        if remarks:
            say(f"{counted(len(remarks), 'thing')} that {to} {what}: see {target / made.main}")
    return Facts({**facts, "folder": target, "files": written})
