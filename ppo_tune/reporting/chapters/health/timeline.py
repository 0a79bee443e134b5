"""When each worker trained which trial, how long it had nothing to train, and which trials were slow."""

from datetime import timedelta
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial
from plotly import graph_objects as go

from ppo_tune.reporting.drawing import ENDING_COLOURS, PURPLE, layout
from ppo_tune.reporting.record import StudyRecord, metrics_of
from ppo_tune.reporting.section import Section
from ppo_tune.reporting.wording import percent
from ppo_tune.search.endings import ending_of
from ppo_tune.search.facts import TrialFacts

MIN_PAUSE = 0.1
"""A time in which no trial ran is a pause of the search if it is longer than this share of the time in which any
did; the picture leaves pauses out, for a search that went on the next day would be two thin lines."""

MIN_PAUSE_SECONDS = 60.0
"""Shorter ones are never a pause: starting a worker may take as long."""

N_SLOWEST = 5
SLOW = 1.5
"""Times the median pace from which on a trial is called slow: equal work on one machine differs by less."""

PATTERNS = {"out_of_memory": "x", "reward_error": ".", "crashed": "+", "lost": "/", "preempted": "\\"}
"""What tells apart the endings that share a colour."""

MAX_WORKERS = 60
"""Rows of the table of workers; a search that was resumed often has many."""


def sections(record: StudyRecord) -> tuple[Section, ...]:
    """The timeline and the slowest trials, as far as times are known."""
    spans = spans_table(record)
    slowest = slowest_table(record.table)
    found = []
    if len(spans):
        workers = workers_table(spans)
        found.append(
            Section(
                "timeline",
                "Workers",
                timeline_reading(spans, workers),
                timeline_figure(spans),
                workers.head(MAX_WORKERS),
            )
        )
    if len(slowest):
        found.append(Section("slowest", "Slowest trials", slowest_reading(slowest), table=slowest))
    return tuple(found)


def spans_table(record: StudyRecord) -> pd.DataFrame:
    """When each trial ran, lost ones too; pauses of the search are left out.

    Columns: number, ending, worker (counted from 1 by its first trial), host, pid, lane (of those that its worker
    trained side by side, counted from 0), start, end (seconds of searching since the first trial began), session
    (how many pauses came before it).
    """
    columns = ["number", "ending", "worker", "host", "pid", "lane", "start", "end", "session"]
    trials = [trial for trial in (*record.trials, *record.lost) if trial.datetime_start is not None]
    if not trials:
        return pd.DataFrame(columns=columns)
    spans = pd.DataFrame([_span(record, trial) for trial in trials]).sort_values(
        ["start", "number"], ignore_index=True
    )
    spans = _without_pauses(spans)
    keys = list(zip(spans["host"], spans["pid"], strict=True))
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys), start=1)}
    spans["worker"] = [numbers[key] for key in keys]
    spans["lane"] = 0
    for worker in numbers.values():
        mine = spans["worker"] == worker
        spans.loc[mine, "lane"] = _lanes(spans[mine])
    return spans[columns]


def _span(record: StudyRecord, trial: FrozenTrial) -> dict[str, object]:
    """One trial by the clock; one that did not end by itself lasts to its last sign of life.

    That a trial was lost is noticed later, sometimes on the next day.
    """
    start, facts = trial.datetime_start, TrialFacts(trial)
    assert start is not None
    end = trial.datetime_complete
    if end is None or facts.seconds is None:
        logged = (metrics_of(record, trial) or [{}])[-1]
        last = start + timedelta(seconds=logged.get("time/seconds") or 0.0)
        end = last if end is None else min(end, last)
    return {
        "number": trial.number,
        "ending": ending_of(trial),
        "host": facts.host or "–",
        "pid": facts.pid or 0,
        "start": start,
        "end": end,
    }


def _without_pauses(spans: pd.DataFrame) -> pd.DataFrame:
    """Times as seconds since the first start, less the pauses; the spans are in the order of their starts."""
    first = spans["start"].iloc[0]
    starts = (spans["start"] - first).dt.total_seconds()
    ends = (spans["end"] - first).dt.total_seconds()
    reached = ends.cummax().shift(fill_value=0.0)  # until when the earlier ones ran
    gaps = (starts - reached).clip(lower=0.0)
    busy = ends.max() - gaps.sum()
    pauses = gaps.where(gaps > max(MIN_PAUSE * busy, MIN_PAUSE_SECONDS), 0.0)
    left_out = pauses.cumsum()
    return spans.assign(start=starts - left_out, end=ends - left_out, session=(pauses > 0).cumsum())


def _lanes(spans: pd.DataFrame) -> list[int]:
    """The first lane that is free when a trial begins, for trials in the order of their starts."""
    free_from: list[float] = []
    lanes = []
    for start, end in zip(spans["start"], spans["end"], strict=True):
        lane = next((i for i, free in enumerate(free_from) if free <= start), len(free_from))
        free_from[lane : lane + 1] = [end]
        lanes.append(lane)
    return lanes


def workers_table(spans: pd.DataFrame) -> pd.DataFrame:
    """One row per worker: worker, host, pid, trials, seconds, idle, side_by_side.

    Seconds are those from the start of its first trial to the end of its last, idle is the share of them in which
    it trained nothing, and side_by_side is how many trials it trained at once, on average, when it did.
    """
    rows = []
    for worker, part in spans.groupby("worker"):
        seconds = part["end"].max() - part["start"].min()
        busy = _union(part)
        rows.append({
            "worker": worker, "host": part["host"].iloc[0], "pid": part["pid"].iloc[0], "trials": len(part),
            "seconds": float(seconds), "idle": float(1 - busy / seconds) if seconds else 0.0,
            "side_by_side": float((part["end"] - part["start"]).sum() / busy) if busy else float(len(part)),
        })  # fmt: skip
    return pd.DataFrame(rows).round({"idle": 3, "side_by_side": 2})


def _union(spans: pd.DataFrame) -> float:
    """Seconds in which at least one of the spans ran; they are in the order of their starts."""
    reached = spans["end"].cummax().shift(fill_value=spans["start"].iloc[0])
    fresh = spans["end"] - pd.concat([spans["start"], reached], axis=1).max(axis=1)
    return float(fresh.clip(lower=0.0).sum())


def bar_style(ending: str) -> dict[str, Any]:
    """The colour and the pattern of an ending's bars."""
    colour, pattern = ENDING_COLOURS.get(ending, PURPLE), PATTERNS.get(ending, "")
    return {"color": colour, "line": {"width": 0}, "pattern": {"shape": pattern, "size": 5}}


def timeline_figure(spans: pd.DataFrame) -> go.Figure:
    """One row per worker, with one lane for each of the trials that it trained side by side."""
    lanes = spans.groupby("worker")["lane"].max() + 1
    tops = (lanes + 1).cumsum() - lanes - 1  # a free lane parts the workers
    unit, name = _unit(spans["end"].max())
    digits = 2 if spans["end"].max() / unit < 100 else 1
    figure = go.Figure()
    for ending, part in spans.groupby("ending"):
        lengths = ((part["end"] - part["start"]) / unit).round(digits)
        figure.add_bar(
            base=(part["start"] / unit).round(digits), x=lengths,
            y=part["worker"].map(tops) + part["lane"], orientation="h", name=str(ending).replace("_", " "), width=0.86,
            marker=bar_style(str(ending)),
            customdata=list(zip(part["number"], lengths, strict=True)),  # of a bar with a base, x would be its end
            hovertemplate=f"trial %{{customdata[0]}}, {ending}, %{{customdata[1]}} {name}<extra></extra>",
        )  # fmt: skip
    for session, part in spans.groupby("session"):
        if session:
            figure.add_vline(x=part["start"].min() / unit, line={"dash": "dot", "width": 1, "color": PURPLE})
    layout(figure, f"{name} of searching", None)
    n_lanes = int(lanes.sum() + len(lanes))
    figure.update_layout(barmode="overlay", hovermode="closest", height=120 + min(max(n_lanes * 14, 60), 900))
    figure.update_xaxes(range=[0, spans["end"].max() / unit * 1.01])
    figure.update_yaxes(
        tickvals=(tops + (lanes - 1) / 2).tolist(), ticktext=[f"worker {i}" for i in lanes.index],
        range=[n_lanes - 1.3, -0.7], showgrid=False,
    )  # fmt: skip
    return figure


def timeline_reading(spans: pd.DataFrame, workers: pd.DataFrame) -> str:
    """How busy the workers were, whether one worked alone at the end, and how often the search paused."""
    whole = duration(spans["end"].max())
    idle, together = workers["idle"], workers["side_by_side"]
    many = "One worker" if len(workers) == 1 else f"{len(workers)} workers"
    words = f"{many} searched for {whole}. "
    if idle.max() < 0.02:
        words += "None was idle for more than 2 % of the time between its first trial and its last."
    else:
        worst = workers.sort_values("idle").iloc[-1]
        words += (
            f"From its first trial to its last, a worker had nothing to train in {percent(idle.mean())} of the time on "
            f"average; worker {worst['worker']} most, in {percent(worst['idle'])}."
        )
    if together.max() > 1.05:
        words += f" While it trained, a worker had {_range(together)} trials side by side on average."
    ends = (
        spans[spans["session"] == spans["session"].max()].groupby("worker")["end"].max().nlargest(2).tolist()
    )
    if len(ends) == 2 and ends[0] - ends[1] > 0.02 * spans["end"].max():
        words += f" For the last {duration(ends[0] - ends[1])} only one still had something to do."
    pauses = int(spans["session"].max())
    if pauses:
        times = "once" if pauses == 1 else f"{pauses} times"
        words += f" The search was interrupted {times} (dotted lines); that time is left out."
    return words


def slowest_table(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that took longest for an episode.

    Columns: number, ending, episodes, seconds, seconds_per_1000_episodes, times_median, tokens_per_episode.
    """
    known = trials[(trials["episodes"] > 0) & (trials["seconds"] > 0) & (trials["ending"] != "running")]
    if len(known) < 2 * N_SLOWEST:
        return known.head(0)
    table = known[["number", "ending", "episodes", "seconds"]].copy()
    paces = known["seconds"] / known["episodes"] * 1000
    table["seconds_per_1000_episodes"] = paces.round(2)
    table["times_median"] = (paces / paces.median()).round(2)
    table["tokens_per_episode"] = (known["tokens"] / known["episodes"]).round(1)
    return table.nlargest(N_SLOWEST, "seconds_per_1000_episodes").reset_index(drop=True)


def slowest_reading(table: pd.DataFrame) -> str:
    """Whether any trial was much slower than the others."""
    first = table.iloc[0]
    words = (
        f"Trial {first['number']} took longest for an episode, {first['times_median']:,.1f} times the median"
    )
    if first["times_median"] < SLOW:
        return f"{words}: none was much slower than the others."
    return (
        f"{words}. A trial is slow by long responses, small batches, many epochs or by company: the more trials "
        "train side by side, the longer each takes."
    )


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    unit, name = _unit(seconds)
    return f"{seconds / unit:.{0 if seconds / unit >= 10 else 1}f} {name}"


def _unit(seconds: float) -> tuple[float, str]:
    """Seconds of the unit in which such a time is told, and its name."""
    for unit, name in ((172_800, "days"), (7_200, "hours"), (120, "minutes")):
        if seconds >= unit:
            return {"days": 86_400.0, "hours": 3600.0, "minutes": 60.0}[name], name
    return 1.0, "seconds"


def _range(values: pd.Series) -> str:
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low} to {high}"
