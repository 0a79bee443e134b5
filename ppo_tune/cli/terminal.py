"""What all commands share: the app, the terminal, the flags that several of them have."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from ppo_tune.safe_text import symbols

if TYPE_CHECKING:
    from optuna.study import Study

    from ppo_tune.config.blocks import StudyConfig

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find hyperparameters for PPO-RLHF that you can trust: search, prune, report, export, train.",
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

EXIT_BUG, EXIT_MISTAKE, EXIT_NOTHING, EXIT_INTERRUPTED = 1, 2, 3, 130
"""A bug of ours; a mistake of the user's; a study in which no trial can be gone on with; Ctrl-C."""

StudyFile = Annotated[Path, typer.Argument(help="A study file, such as search_spaces/quickstart.yaml.")]
StudyName = Annotated[str, typer.Argument(help="A study's name: its file's name without .yaml.")]
Out = Annotated[Path, typer.Option(help="Folder that holds runs/ and reports/.")]
Storage = Annotated[
    str | None, typer.Option(help="URL of an Optuna store; default: SQLite beside the trials.")
]


def say(text: str | Text) -> None:
    """One line to the terminal, never broken: a path that is cut in two cannot be copied."""
    console.print(text if isinstance(text, Text) else Text(text), soft_wrap=True)


def tell(text: str) -> None:
    """Sentences to the terminal, broken between words; one line in a log."""
    console.print(Text(text), soft_wrap=not console.is_terminal)


def printable(text: str) -> str:
    """Text on one line with what cannot be seen as symbols, so that it cannot steer a terminal."""
    return symbols(text).replace("\n", "␊")


def open_study(name: str, storage: str | None, out: Path) -> "tuple[Study, StudyConfig]":
    """A study by its name, and the experiment that it was made by."""
    from ppo_tune.config.blocks import check_name
    from ppo_tune.search.storage import load_study_from, storage_url, stored_config

    quiet()
    check_name(name)
    study = load_study_from(storage or storage_url(out, name), name)
    return study, stored_config(study)


def quiet() -> None:
    """Only our own words on the terminal."""
    import optuna
    import transformers

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def flags_of(storage: str | None, out: Path) -> str:
    """The flags that another command about the same study needs; a password is left out."""
    from ppo_tune.search.address import public

    given = [] if out == Path() else ["--out", str(out)]
    if storage is not None:
        given += ["--storage", public(storage)]
    return "".join(f" {shlex.quote(word)}" for word in given)
