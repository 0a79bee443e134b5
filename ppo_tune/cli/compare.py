"""The command that puts studies beside each other."""

from pathlib import Path
from typing import Annotated

import typer

import ppo_tune
from ppo_tune.cli.arguments import SQLITE, CanBePath, study_at
from ppo_tune.cli.output import Facts
from ppo_tune.cli.terminal import say, tell

Studies = Annotated[
    list[str],
    typer.Argument(metavar="STUDY", help="Two studies or more: names, files, or folders in runs/."),
    CanBePath(),
]
Storages = Annotated[
    list[str] | None,
    typer.Option(
        "--storage", help="URL of an Optuna store: one for all studies, or one each in their order."
    ),
    CanBePath(SQLITE),
]
Outs = Annotated[
    list[Path] | None,
    typer.Option(
        "--out", help="Folder that holds runs/ and reports/: one for all studies, or one each in their order."
    ),
]


def compare(
    studies: Studies,
    storage: Storages = None,
    out: Outs = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the page goes; default: reports/<study>+<study> in the first --out."),
    ] = None,
) -> Facts:
    """Write a page that compares studies: samplers, tasks, code versions."""
    outs = out or [Path()]
    if len(outs) in (1, len(studies)):
        each = outs * len(studies) if len(outs) == 1 else outs
        found = [study_at(*pair) for pair in zip(studies, each, strict=True)]
        studies, outs = [name for name, _ in found], [place for _, place in found]
    comparison = ppo_tune.compare_studies(studies, storages=storage or [None], outs=outs, folder=folder)
    for sentence in comparison.sentences:
        tell(sentence, final=True)
    say(f"comparison {comparison.page}", final=True)
    return Facts({"page": comparison.page, "sentences": comparison.sentences})
