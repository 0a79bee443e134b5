"""What the commands share: the terminal, and the flags that several of them have."""

import shlex
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ppo_tune.cli.arguments import SQLITE, CanBePath, IsStudy
from ppo_tune.events import Event
from ppo_tune.safe_text import symbols

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

EXIT_MISTAKE, EXIT_NOTHING, EXIT_INTERRUPTED = 2, 3, 130
"""A mistake of the user's; a study in which no trial can be gone on with; Ctrl-C. A bug of ours is Python's own 1."""

StudyFile = Annotated[
    Path, typer.Argument(help="A study file, or one of ours by its name, such as quickstart.")
]
StudyName = Annotated[
    str, typer.Argument(help="A study: its name, its file, or its folder in runs/."), CanBePath(), IsStudy()
]
Out = Annotated[Path, typer.Option(help="Folder that holds runs/ and reports/.")]
Storage = Annotated[
    str | None,
    typer.Option(help="URL of an Optuna store; default: SQLite beside the trials."),
    CanBePath(SQLITE),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A value instead of the file's, such as ppo.episodes=640; repeatable.",
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of the search, instead of the file's.")]
Name = Annotated[str | None, typer.Option(help="Name of the study, instead of the file's.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; default: one per GPU, else per core.")]


def as_typed() -> str:
    """The command that runs, in words that a shell takes as they are."""
    return shlex.join(["ppo-tune", *sys.argv[1:]])


def say(text: str | Text, *, final: bool = False) -> None:
    """One line to the terminal, never broken: a path that is cut in two cannot be copied.

    A final one is the result, and is said with `--quiet` too.
    """
    with heard(final):
        console.print(text if isinstance(text, Text) else Text(text), soft_wrap=True)


def tell(text: str, *, indent: int = 0, final: bool = False) -> None:
    """Sentences to the terminal, broken between words, later lines so far to the right; one line in a log."""
    if console.is_terminal:
        text = between_words(text, console.width, indent)
    with heard(final):
        console.print(Text(text), soft_wrap=True)


def between_words(text: str, width: int, indent: int = 0) -> str:
    """Text whose lines are broken between words alone, each for itself: what can be copied stays whole."""
    lines = (
        textwrap.fill(
            line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
        for line in text.split("\n")
    )
    return "\n".join(lines)


@contextmanager
def heard(final: bool) -> Iterator[None]:
    """Whatever is said within this block is heard if it is final, with `--quiet` too, but where JSON says it."""
    quiet, console.quiet = console.quiet, console.quiet and (not final or console.stderr)
    try:
        yield
    finally:
        console.quiet = quiet


def note(text: str) -> None:
    """One line about what may surprise."""
    say(labelled("note: ", "yellow", printable(text), console))


def labelled(label: str, style: str, text: str, screen: Console) -> Text:
    """Text behind a coloured label, broken between words where it goes to a terminal."""
    whole = f"{label}{text}"
    if screen.is_terminal:
        whole = between_words(whole, screen.width)
    return Text.assemble((label, style), whole[len(label) :])


def tell_note(event: Event) -> None:
    """A watcher's line about what may surprise."""
    if event["kind"] == "note":
        note(event["text"])


def printable(text: str) -> str:
    """Text on one line with what cannot be seen as symbols, so that it cannot steer a terminal."""
    return symbols(text).replace("\n", "␊")
