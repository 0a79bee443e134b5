"""The command that puts studies beside each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ppo_tune.cli.terminal import app, open_study, say, tell

Studies = Annotated[list[str], typer.Argument(metavar="STUDY STUDY...", help="Names of two studies or more.")]
Storages = Annotated[
    list[str] | None,
    typer.Option(
        "--storage", help="URL of an Optuna store: one for all studies, or one each in their order."
    ),
]
Outs = Annotated[
    list[Path] | None,
    typer.Option(
        "--out", help="Folder that holds runs/ and reports/: one for all studies, or one each in their order."
    ),
]

T = TypeVar("T")

MAX_NAME = 200
"""Letters of a folder's name; file systems take 255 bytes."""


@app.command()
def compare(
    studies: Studies,
    storage: Storages = None,
    out: Outs = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the page goes; default: reports/<study>+<study> in the first --out."),
    ] = None,
) -> None:
    """Write a page that compares studies: samplers, tasks, code versions."""
    from ppo_tune.files import make_folder
    from ppo_tune.reporting.comparison.comparability import differences_reading, read_contender
    from ppo_tune.reporting.comparison.compare import write_comparison
    from ppo_tune.search.storage import run_folder, storage_url

    outs = _each(out or [Path()], studies, "--out")
    storages = _each(storage or [None], studies, "--storage")
    stores = [
        url or storage_url(place, name) for name, url, place in zip(studies, storages, outs, strict=True)
    ]
    _check_different(studies, stores)
    contenders = []
    for label, name, url, place in zip(_labels(studies, outs), studies, storages, outs, strict=True):
        study, config = open_study(name, url, place)
        contenders.append(read_contender(study, config, run_folder(place, name), label))
    target = make_folder(folder or outs[0] / "reports" / _folder_name(studies))
    words = write_comparison(contenders, target / "index.html")
    for sentence in [differences_reading(contenders), *words]:
        tell(sentence)
    say(f"comparison {target / 'index.html'}")


def _each(given: Sequence[T], studies: Sequence[str], flag: str) -> Sequence[T]:
    """One value per study: the only one for all, or one each."""
    from ppo_tune.errors import ConfigError, Problem

    if len(given) not in (1, len(studies)):
        rule = f"give it once for all studies or once for each of the {len(studies)}, but got it {len(given)} times"
        raise ConfigError([Problem(flag, rule)])
    return list(given) * len(studies) if len(given) == 1 else given


def _check_different(studies: Sequence[str], stores: Sequence[str]) -> None:
    """Two studies or more, and none of them twice.

    Raises:
        ConfigError: If not.
    """
    from ppo_tune.errors import ConfigError, Problem

    if len(studies) < 2:
        only = f"takes two studies or more, but got only {studies[0]!r}; `ppo-tune report` shows a single one"
        raise ConfigError([Problem("compare", only)])
    pairs = list(zip(studies, stores, strict=True))
    twice = dict.fromkeys(name for name, store in pairs if pairs.count((name, store)) > 1)
    way_out = "leave one out, or say with --out or --storage where another study of that name is"
    if twice:
        raise ConfigError([Problem("compare", f"study {name!r} is given twice; {way_out}") for name in twice])


def _labels(studies: Sequence[str], outs: Sequence[Path]) -> list[str]:
    """What each study is called: its name, with its folder or its place in the list where two share a name."""
    if len(set(studies)) == len(studies):
        return list(studies)
    placed = [f"{place.resolve().name}/{name}" for name, place in zip(studies, outs, strict=True)]
    return (
        placed if len(set(placed)) == len(placed) else [f"{name} ({i})" for i, name in enumerate(studies, 1)]
    )


def _folder_name(studies: Sequence[str]) -> str:
    """A folder's name that no study can have, at most as long as a file system takes."""
    joined = "+".join(studies)
    return joined if len(joined) <= MAX_NAME else f"{studies[0]}+{len(studies) - 1}-others"
