"""The command that runs a study."""

import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.progress import Display, SearchState
from ppo_tune.cli.report import facts_of, write_and_tell
from ppo_tune.cli.settings import read_settings
from ppo_tune.cli.terminal import (
    EXIT_INTERRUPTED,
    EXIT_NOTHING,
    HugeGrid,
    Name,
    Out,
    Seed,
    Settings,
    Storage,
    StudyFile,
    Workers,
    console,
    say,
    tell_note,
)
from ppo_tune.search.next_steps import flags_of

if TYPE_CHECKING:
    from ppo_tune.search.run import SearchResult


def search(
    file: StudyFile,
    workers: Workers = None,
    storage: Storage = None,
    n_trials: Annotated[
        int | None, typer.Option(min=1, help="Total of trials, instead of the file's.")
    ] = None,
    max_episodes: Annotated[
        int | None,
        typer.Option(min=1, help="All episodes, the confirmation's included, instead of the file's."),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds by the clock in all, instead of the file's.")
    ] = None,
    out: Out = Path(),
    yes: HugeGrid = False,
    no_confirm: Annotated[
        bool, typer.Option("--no-confirm", help="Leave out the confirmation on fresh seeds.")
    ] = False,
    settings: Settings = None,
    seed: Seed = None,
    name: Name = None,
) -> Facts:
    """Start a study, or go on with it; confirm its best few on fresh seeds; write its report.

    What is searched stands in runs/<study>/<study>.yaml, flags included. Exit code 3 says that the study is over and no
    trial of it can be gone on with.
    """
    config = ppo_tune.load_study(
        file,
        allow_huge_grid=yes,
        n_trials=n_trials,
        max_episodes=max_episodes,
        max_seconds=max_seconds,
        seed=seed,
        name=name,
        settings=read_settings(settings),
        watch=tell_note,
    )
    run = partial(
        ppo_tune.run_search, config, out=out, storage=storage, workers=workers, confirm=not no_confirm
    )
    given = {
        "--set": settings,
        "--seed": seed,
        "--name": name,
        "--n-trials": n_trials,
        "--max-episodes": max_episodes,
        "--max-seconds": max_seconds,
        "--workers": workers,
        "--no-confirm": no_confirm,
        "--yes": yes,
    }
    return show(run, config, out, again=again("search", file, given), flags=flags_of(storage, out))


def show(
    run: "partial[SearchResult]", config: "ppo_tune.StudyConfig", out: Path, *, again: str, flags: str
) -> Facts:
    """Run a search or a confirmation, show it meanwhile, and write the report.

    Args:
        run: Takes a watcher.
        config: The experiment.
        out: Folder that holds runs/ and reports/.
        again: The command that goes on with it, without the flags.
        flags: Of commands about it, which say where it is.

    Returns:
        What came of it, with the exit code.
    """
    display = Display(console, SearchState(config))
    with display.shown():
        result = run(watch=display.watch)
    say(f"study {config.name}: {', '.join(f'{n} {ending}' for ending, n in result.endings.items())}")
    stopped = f"{again}{flags}" if result.interrupted else None
    report = write_and_tell(result.study, config, out, flags=flags, stopped=stopped)
    facts = {
        "endings": result.endings,
        "interrupted": result.interrupted,
        **facts_of(report, config.name, flags),
    }
    nothing = EXIT_NOTHING if report.verdict.kind == "nothing_feasible" else 0
    return Facts(facts, code=EXIT_INTERRUPTED if result.interrupted else nothing)


def again(command: str, what: object, given: Mapping[str, Any]) -> str:
    """The command with all that was given, in words that a shell takes as they are.

    Args:
        command: Its name.
        what: Its argument.
        given: Values by flag: None or False for none, True for a flag alone, a list for a flag that may be repeated.
    """
    words = ["ppo-tune", command, str(what)]
    for flag, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            words += [] if one is None or one is False else [flag] if one is True else [flag, f"{one}"]
    return shlex.join(words)
