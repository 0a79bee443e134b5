"""The command line: each command is a few lines over the Python API.

It is a function in the module of its name, which is loaded when the command is called.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from ppo_tune.cli.output import NOT_BEGUN, stopped, with_output
from ppo_tune.cli.terminal import EXIT_INTERRUPTED, EXIT_MISTAKE, as_typed, errors, labelled
from ppo_tune.errors import PPOTuneError, TrialError

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = {
    "init": "Write a study file for your prompts and model, and a reward to change.",
    "examples": "List the study files that come with ppo-tune, or copy one to start from.",
    "check": "Find what is wrong with a study before it starts, count its trials and estimate the work.",
    "search": "Start a study, or go on with it; confirm its best few on fresh seeds; write its report.",
    "confirm": "Run the best few and the default on fresh seeds and unseen prompts, or go on with it.",
    "extend": "Go on with a study beyond its limits; confirm again on top of what was confirmed; write its report.",
    "report": "Write reports/<study>/: the page index.html, trials.csv, curves.csv and best.yaml.",
    "compare": "Write a page that compares studies: samplers, tasks, code versions.",
    "export": "Write the best config for full training: in our own format, or for another trainer.",
    "list": "Say which studies there are, how each stands and what it says; changes nothing and disturbs nobody.",
    "status": "Say how a study stands, also while it runs; changes nothing and disturbs nobody.",
    "rename": "Give a study another name, in its store and of its folder; report and exports stay as they are.",
    "delete": "Delete a study for good; asks first, and leaves its report.",
    "rerun": "Train a trial again exactly as it was, and say whether it is equal.",
    "dashboard": "Show a study in Optuna's dashboard, a copy of it unless --live, to this machine only.",
    "train": "Train one config at full length and write a model folder.",
    "evaluate": "Score a model on a task's prompts, and show what it writes.",
    "sft": "Make a small base model from your prompts and responses, or fit an existing one to them.",
    "reward": "Make a reward model from pairs of responses, ratings, classes or comments.",
}
"""Commands in the order in which they are needed, each with the first sentence of its function's docstring."""

EXAMPLES = {
    "init": "ppo-tune init prompts.csv --model models/mine --prompt question",
    "examples": "ppo-tune examples quickstart",
    "check": "ppo-tune check search_spaces/mine.yaml --measure",
    "search": "ppo-tune search search_spaces/mine.yaml --n-trials 64 --set ppo.episodes=640",
    "confirm": "ppo-tune confirm mine --top 3 --seeds 5",
    "extend": "ppo-tune extend mine --trials 16",
    "report": "ppo-tune report mine --markdown",
    "compare": "ppo-tune compare mine other",
    "export": "ppo-tune export mine --to openrlhf",
    "list": "ppo-tune list --json",
    "status": "ppo-tune status runs/mine",
    "rename": "ppo-tune rename mine longer-responses",
    "delete": "ppo-tune delete mine",
    "rerun": "ppo-tune rerun mine 17",
    "dashboard": "ppo-tune dashboard mine --port 0",
    "train": "ppo-tune train reports/mine/best.yaml --out trained/mine",
    "evaluate": "ppo-tune evaluate trained/mine/model --config trained/mine/config.json",
    "sft": "ppo-tune sft pairs.csv --prompt question --response answer --out models/mine",
    "reward": "ppo-tune reward preferences.jsonl --base models/mine --out models/reward",
}
"""What one would type, at the end of a command's help."""

SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None, "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}  # fmt: skip


def load(name: str) -> TyperCommand:
    """A command with its flags; loads its module."""
    single = typer.Typer(add_completion=False, **SETTINGS)
    single.command(name, epilog=f"Example: {EXAMPLES[name]}")(
        with_output(getattr(import_module(f"ppo_tune.cli.{name}"), name))
    )
    command = get_command(single)
    assert isinstance(command, TyperCommand)
    return command


class Listed(TyperCommand):
    """A command in the overview, which says the whole sentence."""

    def get_short_help_str(self, limit: int = 0) -> str:
        """The sentence, however long; the formatter breaks it between words."""
        return self.help or ""


@contextmanager
def _interrupts_answered() -> Iterator[None]:
    """Ctrl-C within this block says that nothing was begun; Typer itself would say nothing."""
    try:
        yield
    except KeyboardInterrupt:
        errors.print(Text(stopped(NOT_BEGUN, as_typed())), soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


class Commands(TyperGroup):
    """All commands by name and help; the one that is called is loaded."""

    def __init__(self, **settings: Any) -> None:
        listed = {name: Listed(name, help=text) for name, text in COMMANDS.items()}
        super().__init__(**{**settings, "commands": listed})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the command that the arguments name."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is None:
            return name, command, rest
        if ctx.resilient_parsing:  # a shell asks how a line could go on
            return name, import_module("ppo_tune.cli.completion").stand_in(name, load), rest
        return name, load(name), rest

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Read the arguments; Ctrl-C meanwhile is answered."""
        with _interrupts_answered():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C while it is loaded is answered here, and later by the command."""
        with _interrupts_answered():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Find hyperparameters for PPO-RLHF that you can trust: search, prune, report, export, train.",
    **SETTINGS,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ppo-tune {version('ppo-tune')}")
        raise typer.Exit


@app.callback()
def quiet(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Leave the terminal to our own words: those of the libraries are warnings at most, and no bars."""
    logging.disable(logging.INFO)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2."""
    try:
        app(standalone_mode=True)
    except (PPOTuneError, TrialError) as error:
        errors.print(labelled("error: ", "bold red", str(error), errors), soft_wrap=True)
        sys.exit(EXIT_MISTAKE)
