"""Commands that look at a study while it runs and afterwards: how it stands, and Optuna's dashboard."""

import contextlib
import json
import shlex
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ppo_tune.cli.terminal import Out, Storage, StudyName, app, console, flags_of, printable, say
from ppo_tune.errors import MissingExtraError, PPOTuneError

if TYPE_CHECKING:
    from optuna.study import Study

    from ppo_tune.search.status import StudyStatus, TrialStatus

MOST_RUNNING = 8
"""Trials under way that are listed one by one."""

LABEL_WIDTH = 10


@app.command()
def status(
    study: StudyName,
    storage: Storage = None,
    out: Out = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """Say how a study stands, also while it runs; changes nothing and disturbs nobody."""
    found, flags = _read(study, storage, out), flags_of(storage, out)
    next_command = _next(found, out, flags)
    if as_json:
        from ppo_tune.files import finite

        facts = {**asdict(found), "done": found.done, "next": next_command}
        sys.stdout.write(json.dumps(finite(facts), default=datetime.isoformat) + "\n")
        return
    for label, text in _rows(found, datetime.now()):
        _say_row(label, _wrap(text))
    _say_row("next", _wrap(next_command) if found.verdict.advice == next_command else [next_command])


@app.command()
def dashboard(
    study: StudyName,
    live: Annotated[
        bool, typer.Option("--live", help="Serve the store itself, which the page can change.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")
    ] = 8080,
    storage: Storage = None,
    out: Out = Path(),
) -> None:
    """Show a study in Optuna's dashboard, a copy of it unless --live, to this machine only."""
    from ppo_tune.cli.serving import local_server
    from ppo_tune.config.blocks import check_name
    from ppo_tune.search.address import sqlite_file
    from ppo_tune.search.dashboard import add_constraints
    from ppo_tune.search.snapshot import snapshot
    from ppo_tune.search.storage import load_study_from, storage_url

    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise MissingExtraError("optuna-dashboard", "dashboard") from None
    check_name(study)
    url = storage or storage_url(out, study)
    if not live and sqlite_file(url) is None:
        raise PPOTuneError("only an SQLite store can be copied; add --live to serve the store itself")
    with contextlib.ExitStack() as stack:
        shown = url if live else stack.enter_context(snapshot(url))
        copy = sqlite_file(shown)
        if shown != url and copy is not None:  # never the store itself
            add_constraints(copy)
        opened = load_study_from(shown, study)
        ignored = _annotate(opened, out, live=live)
        server = stack.enter_context(local_server(port, wsgi(opened._storage)))
        say(f"dashboard  {server.page(f'/dashboard/studies/{opened._study_id}')}")
        say(_warning(live))
        if ignored:
            say(ignored)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(printable(text), max(console.width, 40) - LABEL_WIDTH) or [""]


def _say_row(label: str, lines: list[str]) -> None:
    """A label in a soft colour, and its lines beside it in the usual one."""
    for i, line in enumerate(lines):
        say(Text.assemble((f"{label if i == 0 else '':<{LABEL_WIDTH}}", "dim"), line))


def _annotate(study: "Study", out: Path, *, live: bool) -> str:
    """Put notes on a copy; returns what the dashboard's best trial leaves out, nothing for a study not of ours."""
    from ppo_tune.search.dashboard import add_notes, what_it_ignores
    from ppo_tune.search.storage import run_folder, stored_config
    from ppo_tune.search.verdict import read_verdict

    if "config" not in study.user_attrs:
        return ""
    config = stored_config(study)
    verdict = read_verdict(study, config, run_folder(out, config.name))
    if not live:
        add_notes(study, config, verdict)
    return what_it_ignores(config, verdict)


def _read(study: str, storage: str | None, out: Path) -> "StudyStatus":
    import optuna

    from ppo_tune.config.blocks import check_name
    from ppo_tune.search.snapshot import snapshot
    from ppo_tune.search.status import read_status
    from ppo_tune.search.storage import load_study_from, run_folder, storage_url, stored_config

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check_name(study)
    with snapshot(storage or storage_url(out, study)) as url:
        opened = load_study_from(url, study)
        return read_status(opened, stored_config(opened), run_folder(out, study))


def _rows(found: "StudyStatus", now: datetime) -> Iterator[tuple[str, str]]:
    """What is said, by label; an empty label goes on with the one before."""
    from ppo_tune.cli.progress import shorten
    from ppo_tune.search.results import repeats_reading

    yield "study", f"{found.study}, {_headline(found, now)}"
    if found.state != "running" and found.last_ended is not None:
        yield "", f"the last trial ended {_ago(found.last_ended, now)}"
    yield "trials", _progress(found)
    if found.endings:
        yield "", _counts(found.endings)
    if found.repeats:
        yield "", repeats_reading(found.repeats)
    yield "verdict", found.verdict.sentence
    yield from _results(found)
    label = "cut off" if found.state == "died" else "running"
    for i, trial in enumerate(found.running[:MOST_RUNNING]):
        score = "" if trial.score is None else f", score {trial.score:.3f}"
        episodes = f"{trial.episodes:>9,.0f} of {found.episodes:,} episodes"
        yield "" if i else label, f"trial {trial.number:<4} {episodes}{score}"
    if len(found.running) > MOST_RUNNING:
        yield "", f"and {len(found.running) - MOST_RUNNING} more"
    if found.confirmation is not None:
        runs = {"under way" if name == "running" else name: n for name, n in found.confirmation.items()}
        yield "confirmed", f"on fresh seeds: {_counts(runs) or 'no runs yet'}"
    if found.failure:
        yield "failure", shorten(found.failure, 200)


def _progress(found: "StudyStatus") -> str:
    from ppo_tune.cli.progress import clock

    facts = [f"{found.done} of {found.total} over"]
    if found.seconds_left is not None:
        facts.append(f"about {clock(found.seconds_left)} left")
    if found.episodes_per_second is not None:
        facts.append(f"{found.episodes_per_second:,.0f} episodes per second")
    return ", ".join(facts)


def _results(found: "StudyStatus") -> Iterator[tuple[str, str]]:
    """The trial to go on with beside the default, as the search scored them."""
    from ppo_tune.cli.progress import describe

    best, default = found.best, found.default
    label = "winner" if found.verdict.confirmed else "best"
    if best is not None:
        yield label, f"{_scores(best)}   (budget {found.kl_budget:g})"
    if default is not None and default == best:
        yield "", "this is the default config"
    elif default is not None:
        yield "default", _scores(default)
    if best is not None:
        yield "", "one draw in the search each; the best of many reads too high"
        yield "values", describe(best.params)


def _headline(found: "StudyStatus", now: datetime) -> str:
    from ppo_tune.cli.progress import clock

    match found.state:
        case "running":
            assert found.started is not None
            return f"running for {clock((now - found.started).total_seconds())} (process {found.pid})"
        case "elsewhere":
            return f"under way on {', '.join(found.hosts)}, which cannot be asked from here"
        case "died":
            process = "" if found.pid is None else f" (process {found.pid})"
            return f"died{process}; what was under way will run again"
        case "stopped" | "complete":
            return found.state


def _ago(then: datetime, now: datetime) -> str:
    from ppo_tune.cli.progress import clock

    return f"{clock(max((now - then).total_seconds(), 0.0))} ago ({then:%d %b %H:%M})"


def _counts(endings: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {ending}" for ending, n in sorted(endings.items(), key=lambda item: -item[1]))


def _scores(trial: "TrialStatus") -> str:
    """A trial in one line, its numbers under those of another."""
    numbers = {"score": trial.score, "gold": trial.gold, "KL": trial.kl}
    said = [f"{name} {value:7.3f}" for name, value in numbers.items() if value is not None]
    if trial.ending != "completed":
        said.append(trial.ending)
    elif not trial.feasible:
        said.append("over budget")
    return "   ".join([f"trial {trial.number:<4}", *said])


def _next(found: "StudyStatus", out: Path, flags: str) -> str:
    """What one would type now, or what to change where nothing is to be typed yet."""
    name = found.study
    if found.state in ("died", "stopped"):
        places = (Path(f"{name}.yaml"), Path("search_spaces") / f"{name}.yaml")
        file = next((place for place in places if place.is_file()), Path("path/to") / f"{name}.yaml")
        return f"ppo-tune search {shlex.quote(str(file))}{flags}"
    if found.state == "complete" and found.to_confirm:
        return f"ppo-tune confirm {name}{flags}"
    if found.state == "complete" and found.verdict.advice:
        return found.verdict.advice
    best = out / "reports" / name / "best.yaml"
    if found.state == "complete" and best.is_file():
        return f"ppo-tune train {shlex.quote(str(best))}"
    return f"ppo-tune report {name}{flags}"


def _warning(live: bool) -> Text:
    if live:
        return Text.assemble(
            ("careful: ", "yellow"), "this is the store itself; the page can change and delete trials"
        )
    return Text(
        f"a copy of {datetime.now():%H:%M:%S}: start it again to see more; Ctrl-C ends it and deletes the copy"
    )
