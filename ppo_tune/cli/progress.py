"""What a person sees of a running search: one quiet display of 80 columns, or plain lines in a log.

Knows only the events; draws with rich, and never treats a text of others as markup.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ppo_tune.config.scale import short
from ppo_tune.config.study import StudyConfig
from ppo_tune.events import Event
from ppo_tune.search.status import time_left

LINE_SECONDS = 15.0
"""How often a log gets a line while trials are under way."""


@dataclass
class SearchState:
    """What is known of a running search.

    Attributes:
        config: The study.
        done: Trials over, by ending, those of earlier runs included.
        before: Episodes of earlier runs, until the confirmation begins.
        running: Episodes done, by trial under way.
        best: Number, score and parameters of the best trial so far, or None.
        failure: The last trial that did not go well, in words.
        building: What is being built, and how much of it is done.
        timing: What a worker tries out before its first trial, in words.
        confirming: Runs of the confirmation at most, once it has begun; 0 before.
    """

    config: StudyConfig
    done: dict[str, int] = field(default_factory=dict)
    before: float = 0.0
    running: dict[int, float] = field(default_factory=dict)
    params: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    best: tuple[int, float, Mapping[str, Any]] | None = None
    failure: str = ""
    building: tuple[str, float] = ("", 0.0)
    timing: str = ""
    confirming: int = 0
    labels: dict[int, str] = field(default_factory=dict)
    episodes: float = 0.0
    finished: int = 0
    started: float = field(default_factory=time.monotonic)

    def take_in(self, event: Event) -> None:
        """Note one event."""
        kind, number = event["kind"], event.get("number", -1)
        if kind == "stage":
            self.building = (event["name"], event["done"])
        elif kind == "timing":
            self.building, self.timing = ("", 0.0), f"timing a pack of {event['places']}"
        elif kind == "compiling":
            self.timing = "compiling the learning pass"
        elif kind == "opened":
            self.done, self.best = dict(event["done"]), event["best"]
            self.before = event.get("episodes", 0.0)
        elif kind == "confirming":
            self._begin_confirmation(event)
        elif kind == "started":
            if not self.running and not self.finished:
                self.started = time.monotonic()
            self.timing = ""
            self.running[number] = 0.0
            self.params[number] = event["params"]
            self.labels[number] = event["label"]
        elif kind == "progress":
            self.episodes += event["episodes"] - self.running.get(number, 0.0)
            self.running[number] = event["episodes"]
        elif kind in ("ended", "lost"):
            self._end(kind, number, event)

    def _begin_confirmation(self, event: Event) -> None:
        """Count anew: what follows are other trials."""
        self.done, self.best, self.failure = dict(event["done"]), None, ""
        self.confirming = self.n_done + event["remaining"]
        self.episodes, self.finished = 0.0, 0
        self.running.clear()

    def label(self, number: int) -> str:
        """What a trial is called."""
        return self.labels.get(number, f"trial {number}")

    def _end(self, kind: str, number: int, event: Event) -> None:
        self.running.pop(number, None)
        ending = event.get("ending", "lost")
        if kind == "ended":
            self.finished += 1
            self.done[ending] = self.done.get(ending, 0) + 1
        if ending not in ("completed", "pruned"):
            self.failure = f"{self.label(number)} {ending}: {event['reason']}"
        value = None if self.confirming else event.get("value")
        if value is not None and event.get("feasible", True) and (self.best is None or value > self.best[1]):
            self.best = (number, value, self.params.get(number, {}))

    @property
    def total(self) -> int | None:
        """All trials of the study, or the runs of its confirmation, at most; None where other limits end it."""
        return self.confirming or self.config.n_trials

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1, by the limit that comes first; a confirmation counts its runs."""
        search = self.config.search
        done = [] if self.total is None else [self.n_done / self.total]
        if search.max_episodes is not None and not self.confirming:
            done.append((self.before + self.episodes) / search.max_episodes)
        if search.max_seconds is not None and not self.confirming:
            done.append(self.seconds / search.max_seconds)
        return min(max(done, default=0.0), 1.0)

    @property
    def n_done(self) -> int:
        """Trials over."""
        return sum(self.done.values())

    @property
    def seconds(self) -> float:
        """Seconds since the first trial of this run began."""
        return time.monotonic() - self.started

    @property
    def episodes_per_second(self) -> float:
        """Episodes of all workers together."""
        return self.episodes / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """A guess from the trials that this run has finished; None before the first."""
        if not self.finished or self.total is None:
            return None
        parts = sum(self.running.values()) / self.config.ppo.episodes
        return time_left(self.total - self.n_done - parts, self.finished + parts, self.seconds)


class Display:
    """Shows a search on a console while it runs; use as a context.

    Args:
        console: Where; a terminal gets a live display, anything else plain lines.
        state: What is shown; the display keeps it up to date.
    """

    def __init__(self, console: Console, state: SearchState) -> None:
        self.console = console
        self.state = state
        self._last_line = time.monotonic()
        self._told: set[str] = set()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the search within this block."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.render, console=self.console, refresh_per_second=4, transient=True):
            yield

    def watch(self, event: Event) -> None:
        """Take in an event, and say what is worth a line of its own."""
        self.state.take_in(event)
        line = self._line(event)
        if line:
            self.console.print(Text(line), soft_wrap=True)

    def render(self) -> RenderableType:
        """The live display."""
        state = self.state
        if state.building[0] and not state.params:
            return _bar(f"building the task's {state.building[0]}", state.building[1], "once, then cached")
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="dim", no_wrap=True)
        facts.add_column(overflow="fold")
        if state.best:
            number, score, params = state.best
            facts.add_row("best", Text(f"trial {number}, score {score:.3f}"))
            facts.add_row(
                "",
                Columns([Text(f"{name} {short(value)}") for name, value in params.items()], padding=(0, 2)),
            )
        facts.add_row("trials", Text(self._counts()))
        if state.episodes:
            facts.add_row("speed", Text(f"{state.episodes_per_second:,.0f} episodes per second"))
        if state.failure:
            facts.add_row("failure", Text(shorten(state.failure, 150)))
        left = "" if state.seconds_left is None else f"{clock(state.seconds_left)} left"
        what = "runs at most, confirming" if state.confirming else "trials"
        done = f"{state.n_done}" if state.total is None else f"{state.n_done} of {state.total}"
        bar = _bar(f"{done} {what}", state.share, left)
        return Group(bar, facts)

    def _counts(self) -> str:
        running = f"{len(self.state.running)} running" if self.state.running else ""
        return ", ".join(filter(None, [counts(self.state.done), running, self.state.timing]))

    def _line(self, event: Event) -> str:
        """What is worth a line of its own; empty if nothing is."""
        match event["kind"]:
            case "ended":
                return self._ended(event)
            case "over":
                return str(event["text"])
            case "note":
                return f"note: {event['text']}"
            case "lost":
                return f"{self.state.label(event['number'])} was lost and runs again: {event['reason']}"
            case "pack" if event["places"] > 1:
                places = f"pack of {event['places']}"
                return self._once(places, f"{places}: {_faster(event)} as alone")
            case "compiled":
                found = (
                    f"compiled learning pass: {_faster(event) if event['kept'] else 'no faster, so left out'}"
                )
                return self._once("compiled", f"note: {event['failure']}" if event["failure"] else found)
            case "confirming" if event["remaining"]:
                most = f"at most {event['remaining']} runs on fresh seeds and unseen prompts"
                return f"confirming the best few and the default: {most}"
            case _:
                return "" if self.console.is_terminal else self._log_line(event)

    def _ended(self, event: Event) -> str:
        state, value = self.state, event["value"]
        done = f"{state.n_done}" if state.total is None else f"{state.n_done}/{state.total}"
        line = f"[{done}] {state.label(event['number'])} {event['ending']}"
        if value is not None:
            line += f" {value:.3f}"
        if state.best and state.best[0] == event["number"]:
            line += " best so far"
        if value is not None and not event["feasible"]:
            line += " (over the KL budget)"
        return line + (f" ({event['reason']})" if event["reason"] else "")

    def _once(self, about: str, line: str) -> str:
        """A line that several workers have to say, and one says."""
        new = about not in self._told
        self._told.add(about)
        return line if new else ""

    def _log_line(self, event: Event) -> str:
        """What a log is told from time to time, where no display shows it."""
        state, kind = self.state, event["kind"]
        if kind == "stage":
            return self._once(event["name"], f"building the task's {event['name']} (once, then cached)")
        is_due = time.monotonic() - self._last_line > LINE_SECONDS
        if kind not in ("progress", "timing", "compiling") or not is_due:
            return ""
        self._last_line = time.monotonic()
        if state.timing:
            return self._counts()
        left = "" if state.seconds_left is None else f", {clock(state.seconds_left)} left"
        return f"{self._counts()}; {state.episodes_per_second:,.0f} episodes per second{left}"


def _faster(event: Event) -> str:
    return f"{event['speedup']:.1f} times as many trials per second"


def counts(endings: Mapping[str, int]) -> str:
    """How many trials ended in which way, the most frequent first."""
    return ", ".join(f"{n} {ending}" for ending, n in sorted(endings.items(), key=lambda item: -item[1]))


def describe(params: Mapping[str, Any]) -> str:
    """Parameters in one line: `learning_rate 1.2e-03, batch_size 32`."""
    return ", ".join(f"{name} {short(value)}" for name, value in params.items())


def clock(seconds: float) -> str:
    """Seconds as a person says them: `45 s`, `12 min`, `3 h 20 min`, `5 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds >= 48 * 3600:
        return f"{seconds / 86400:.0f} days"
    return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"


def shorten(text: str, width: int) -> str:
    """Text of at most `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _bar(before: str, share: float, after: str) -> RenderableType:
    row = Table.grid(padding=(0, 2))
    row.add_row(Text(before), ProgressBar(total=1.0, completed=share, width=24), Text(after, style="dim"))
    return row
