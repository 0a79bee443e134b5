"""The command that looks at a study while it runs and afterwards."""

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from rich.text import Text

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.progress import clock, counts, describe, shorten
from ppo_tune.cli.terminal import Out, Storage, StudyName, console, heard, printable, say
from ppo_tune.search.next_steps import flags_of
from ppo_tune.search.results import repeats_reading
from ppo_tune.search.status import StudyStatus, TrialStatus

MOST_RUNNING = 8
"""Trials under way that are listed one by one."""

LABEL_WIDTH = 10


def status(study: StudyName, storage: Storage = None, out: Out = Path()) -> Facts:
    """Say how a study stands, also while it runs; changes nothing and disturbs nobody."""
    found, flags = ppo_tune.study_status(study, storage=storage, out=out), flags_of(storage, out)
    best = out / "reports" / study / "best.yaml"
    next_command = replace(found.next_steps, flags=flags).next(best if best.is_file() else None)
    for label, text in _rows(found, datetime.now()):
        with heard(label == "verdict"):
            _say_row(label, _wrap(text))
    is_command = next_command.startswith("ppo-tune ")
    _say_row("next", [next_command] if is_command else _wrap(next_command))
    return Facts({**asdict(found), "done": found.done, "next": next_command})


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(printable(text), max(console.width, 40) - LABEL_WIDTH) or [""]


def _say_row(label: str, lines: list[str]) -> None:
    """A label in a soft colour, and its lines beside it in the usual one."""
    for i, line in enumerate(lines):
        say(Text.assemble((f"{label if i == 0 else '':<{LABEL_WIDTH}}", "dim"), line))


def _rows(found: StudyStatus, now: datetime) -> Iterator[tuple[str, str]]:
    """What is said, by label; an empty label goes on with the one before."""
    yield "study", f"{found.study}, {_headline(found, now)}"
    if found.state != "running" and found.last_ended is not None:
        yield "", f"the last trial ended {_ago(found.last_ended, now)}"
    yield "trials", _progress(found)
    if found.ended:
        yield "", found.ended
    for i, told in enumerate(found.prompts):
        yield "" if i else "prompts", told
    if found.endings:
        yield "", counts(found.endings)
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
        yield "confirmed", f"on fresh seeds: {counts(runs) or 'no runs yet'}"
    if found.failure:
        yield "failure", shorten(found.failure, 200)


def _progress(found: StudyStatus) -> str:
    facts = [f"{found.done}{'' if found.total is None else f' of {found.total}'} over"]
    if found.max_episodes is not None:
        facts.append(f"{found.spent:,} of {found.max_episodes:,} episodes")
    if found.max_seconds is not None:
        facts.append(f"{clock(found.seconds)} of {clock(found.max_seconds)}")
    if found.seconds_left is not None:
        facts.append(f"about {clock(found.seconds_left)} left")
    if found.episodes_per_second is not None:
        facts.append(f"{found.episodes_per_second:,.0f} episodes per second")
    return ", ".join(facts)


def _results(found: StudyStatus) -> Iterator[tuple[str, str]]:
    """The trial to go on with beside the default, as the search scored them."""
    best, default = found.best, found.default
    label = "winner" if found.verdict.confirmed else "best"
    if best is not None:
        yield label, f"{_scores(best)}   (budget {found.kl_budget:g})"
    if default is not None and default == best:
        yield "", "this is the default config"
    elif default is not None:
        yield "default", _scores(default)
    if best is not None:
        yield "", f"{_draws(best)}; the best of many reads too high"
        yield "values", describe(best.params)


def _draws(best: TrialStatus) -> str:
    """What the best was scored by, in words."""
    if len(best.runs) == 1:
        return "one draw in the search each"
    return f"means over a config's trials, here {len(best.runs)}"


def _headline(found: StudyStatus, now: datetime) -> str:
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
    return f"{clock(max((now - then).total_seconds(), 0.0))} ago ({then:%d %b %H:%M})"


def _scores(trial: TrialStatus) -> str:
    """A trial in one line, its numbers under those of another."""
    numbers = {"score": trial.score, **trial.judges, "KL": trial.kl}
    said = [f"{name} {value:7.3f}" for name, value in numbers.items() if value is not None]
    if trial.ending != "completed":
        said.append(trial.ending)
    elif not trial.feasible:
        said.append("over budget")
    return "   ".join([f"trial {trial.number:<4}", *said])
