"""What every command has in common in what it says: all of it, less, more, or its result as JSON.

A command returns its result as `Facts`, or None where it has none for scripts; its flags follow from that.
"""

import inspect
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from ppo_tune.cli.arguments import meant
from ppo_tune.cli.terminal import EXIT_INTERRUPTED, as_typed, console, say
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.events import LOG_FORMAT, VERBOSE
from ppo_tune.files import finite

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only errors and the result.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what libraries log and warn of, too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and all else to stderr.")]


NOT_BEGUN = "Nothing was begun."
NOT_DONE = "It was not done to the end."
"""What is said of a command that was stopped before it did anything, and of one that knows no better."""


@dataclass(frozen=True)
class Facts:
    """The result of a command, for scripts.

    Attributes:
        values: By name; several of them become a list.
        code: The exit code.
    """

    values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    code: int = 0


def with_output(command: Callable[..., Facts | None]) -> Callable[..., None]:
    """A command with the flags `--quiet` and `--verbose`, and `--json` where it returns facts."""
    signature = inspect.signature(command)
    flags: dict[str, Any] = {"quiet": Quiet, "verbose": Verbose}
    if signature.return_annotation is Facts:
        flags["as_json"] = AsJson

    @wraps(command)
    def run(**given: Any) -> None:
        wanted = {name: given.pop(name) for name in flags}
        with _output(**wanted):
            try:
                found = command(**meant(signature, given))
            except (KeyboardInterrupt, typer.Abort) as stop:
                found = _stopped(stop)
        if found is None:
            return
        if wanted.get("as_json"):
            sys.stdout.write(json.dumps(finite(found.values), default=_plain, ensure_ascii=False) + "\n")
        if found.code:
            raise typer.Exit(found.code)

    kind = inspect.Parameter.KEYWORD_ONLY
    own = [parameter.replace(kind=kind) for parameter in signature.parameters.values()]
    added = [inspect.Parameter(name, kind, default=False, annotation=flag) for name, flag in flags.items()]
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    return run


class Stopped(KeyboardInterrupt):
    """Ctrl-C in a command that knows what is left.

    Args:
        kept: What is kept, as a sentence.
        again: The command that goes on.
    """

    def __init__(self, kept: str, again: str) -> None:
        super().__init__(kept)
        self.kept, self.again = kept, again


@contextmanager
def stoppable(kept: Callable[[], str], again: Callable[[], str] = as_typed) -> Iterator[None]:
    """Ctrl-C within this block says what is kept, and the command that goes on; both are asked for then."""
    try:
        yield
    except (KeyboardInterrupt, typer.Abort):  # a question turns the one into the other
        raise Stopped(kept(), again()) from None


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C within this block counts after it: libraries in C that are half loaded crash of it."""
    pressed: list[int] = []

    def on_interrupt(number: int, _: object) -> None:
        pressed.append(number)
        say("stopping as soon as the libraries are loaded")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _stopped(stop: BaseException) -> Facts:
    """Say what is kept after Ctrl-C, and how to go on."""
    known = stop if isinstance(stop, Stopped) else Stopped(NOT_DONE, as_typed())
    say(stopped(known.kept, known.again), final=True)
    return Facts({"interrupted": True, "kept": known.kept, "again": known.again}, code=EXIT_INTERRUPTED)


def stopped(kept: str, again: str) -> str:
    """What is said after Ctrl-C."""
    return f"Stopped. {kept} Go on with: {again}"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    assert isinstance(value, Path), f"{type(value)} has no form in JSON"
    return str(value)


@contextmanager
def _output(*, quiet: bool, verbose: bool, as_json: bool = False) -> Iterator[None]:
    """Say all, less or more within this block, and leave stdout to JSON if that is wanted."""
    if quiet and verbose:
        raise ConfigError([Problem("--quiet", "cannot be given with --verbose; leave one of both out")])
    console.quiet, console.stderr = quiet, as_json
    try:
        if verbose:
            with _logged():
                yield
        else:
            yield
    finally:
        console.quiet = console.stderr = False


@contextmanager
def _logged() -> Iterator[None]:
    """What is logged and warned of is seen within this block, that of workers too."""
    handler, root = logging.StreamHandler(), logging.getLogger()
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    level, disabled = root.level, logging.root.manager.disable
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.disable(logging.NOTSET)
    shown = {VERBOSE: "1", "TRANSFORMERS_VERBOSITY": "info"}
    before = {name: os.environ.get(name) for name in shown}
    os.environ.update(shown)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            root.removeHandler(handler)
            root.setLevel(level)
            logging.disable(disabled)
            for name, value in before.items():
                os.environ.pop(name)
                os.environ.update({} if value is None else {name: value})
