"""The command that runs a study."""

import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ppo_tune
from ppo_tune.cli.asked import AskedStudy, with_study
from ppo_tune.cli.output import NOT_BEGUN, Facts, stoppable, stopped
from ppo_tune.cli.progress import Display, SearchState
from ppo_tune.cli.report import facts_of, write_and_tell
from ppo_tune.cli.terminal import (
    EXIT_INTERRUPTED,
    EXIT_NOTHING,
    Out,
    Storage,
    Workers,
    console,
    say,
    tell_note,
)
from ppo_tune.plurals import counted
from ppo_tune.search.address import public

if TYPE_CHECKING:
    from ppo_tune.search.run import SearchResult


@with_study
def search(asked: AskedStudy, workers: Workers = None, storage: Storage = None, out: Out = Path()) -> Facts:
    """Start a study, or go on with it; confirm its best few on fresh seeds; write its report.

    What is searched stands in runs/<study>/<study>.yaml, flags included. Exit code 3 says that the study is over and no
    trial of it can be gone on with.
    """
    with stoppable(lambda: NOT_BEGUN):
        config = asked.load(tell_note)
    run = partial(
        ppo_tune.run_search, config, out=out, storage=storage, workers=workers, confirm=not asked.no_confirm
    )
    given = {**asked.flags(), "--workers": workers}
    return show(
        run, config, out, storage, again=f"{again('search', asked.file, given)}{flags_of(storage, out)}"
    )


def show(
    run: "partial[SearchResult]",
    config: "ppo_tune.StudyConfig",
    out: Path,
    storage: str | None,
    *,
    again: str,
) -> Facts:
    """Run a search or a confirmation, show it meanwhile, and write the report.

    Args:
        run: Takes a watcher.
        config: The experiment.
        out: Folder that holds runs/ and reports/.
        storage: URL of its store; None is SQLite beside the trials.
        again: The command that goes on with it.

    Returns:
        What came of it, with the exit code.
    """
    display = Display(console, SearchState(config))
    with stoppable(lambda: _kept(config.name, out, storage), lambda: again):
        with display.shown():
            result = run(watch=display.watch)
        say(f"study {config.name}: {', '.join(f'{n} {ending}' for ending, n in result.endings.items())}")
        report = write_and_tell(result.study, config, out)
    facts = {"endings": result.endings, "interrupted": result.interrupted, **facts_of(report, config.name)}
    if result.interrupted:
        say(stopped(_kept(config.name, out, storage), again), final=True)
        facts["again"] = again
    nothing = EXIT_NOTHING if report.verdict.kind == "nothing_feasible" else 0
    return Facts(facts, code=EXIT_INTERRUPTED if result.interrupted else nothing)


def _kept(study: str, out: Path, storage: str | None) -> str:
    """What is kept of a study that was stopped, as a sentence."""
    try:
        n = ppo_tune.study_status(study, storage=storage, out=out).done
    except ppo_tune.PPOTuneError:
        return NOT_BEGUN
    return f"Study {study} keeps {counted(n, 'trial')}." if n else "No trial was over yet."


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


def flags_of(storage: str | None, out: Path) -> str:
    """The flags that another command about the same study needs; a password is left out."""
    given = [] if out == Path() else ["--out", str(out)]
    if storage is not None:
        given += ["--storage", public(storage)]
    return "".join(f" {shlex.quote(word)}" for word in given)
