"""A study as a command line asks for it: one group of flags for all commands that begin with a study file."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer

import ppo_tune
from ppo_tune.cli.settings import read_settings
from ppo_tune.cli.terminal import Name, Seed, Settings, StudyFile
from ppo_tune.events import Watcher

T = TypeVar("T")


@dataclass(frozen=True)
class AskedStudy:
    """A study file, and what flags say in place of it."""

    file: StudyFile
    n_trials: Annotated[int | None, typer.Option(min=1, help="Total of trials, instead of the file's.")] = (
        None
    )
    max_episodes: Annotated[
        int | None,
        typer.Option(min=1, help="All episodes, the confirmation's included, instead of the file's."),
    ] = None
    max_seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds by the clock in all, instead of the file's.")
    ] = None
    no_confirm: Annotated[
        bool, typer.Option("--no-confirm", help="Leave out the confirmation on fresh seeds.")
    ] = False
    settings: Settings = None
    seed: Seed = None
    name: Name = None
    yes: Annotated[bool, typer.Option("--yes", help="Accept a grid of more than 10,000 cells.")] = False

    def load(self, watch: Watcher) -> "ppo_tune.StudyConfig":
        """The experiment.

        Raises:
            ConfigError: With every mistake in file and flags.
        """
        return ppo_tune.load_study(
            self.file,
            allow_huge_grid=self.yes,
            n_trials=self.n_trials,
            max_episodes=self.max_episodes,
            max_seconds=self.max_seconds,
            seed=self.seed,
            name=self.name,
            settings=read_settings(self.settings),
            watch=watch,
        )

    def flags(self) -> Mapping[str, Any]:
        """What was given beside the file, by flag."""
        return {
            "--set": self.settings,
            "--seed": self.seed,
            "--name": self.name,
            "--n-trials": self.n_trials,
            "--max-episodes": self.max_episodes,
            "--max-seconds": self.max_seconds,
            "--no-confirm": self.no_confirm,
            "--yes": self.yes,
        }


def with_study(command: Callable[..., T]) -> Callable[..., T]:
    """A command with the file and the flags of a study in place of its argument `asked`."""
    signature = inspect.signature(command)

    @wraps(command)
    def run(**given: Any) -> T:
        study = {field.name: given.pop(field.name) for field in fields(AskedStudy)}
        return command(asked=AskedStudy(**study), **given)

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = {p.name: p.replace(kind=kind) for p in signature.parameters.values() if p.name != "asked"}
    flags = inspect.signature(AskedStudy).parameters.values()
    own = [p.replace(kind=kind) for p in flags]
    run.__signature__ = signature.replace(parameters=[*own, *parameters.values()])  # type: ignore[attr-defined]
    return run
