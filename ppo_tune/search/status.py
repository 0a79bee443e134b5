"""How a study stands at this moment, from what its store and its folder say; asks nobody and changes nothing."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import psutil
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config.study import StudyConfig, check_name
from ppo_tune.files import read_json_lines
from ppo_tune.search import results
from ppo_tune.search.budget import all_trials, episodes_of, training_seconds
from ppo_tune.search.facts import StudyFacts, TrialFacts
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.next_steps import NextSteps
from ppo_tune.search.snapshot import snapshot
from ppo_tune.search.storage import confirmation_study, open_study, storage_url
from ppo_tune.search.verdict import Verdict, judge, read_facts

State = Literal["running", "elsewhere", "died", "stopped", "complete"]
"""A search runs here; trials run on other machines; it died and left trials; it was stopped; all trials are over."""


@dataclass(frozen=True)
class TrialStatus:
    """One trial.

    Attributes:
        number: Of the trial.
        ending: Its name, or "running" or "waiting".
        episodes: How many it has answered.
        score: The last held-out score, or None before the first; `gold` and `kl` likewise.
        judges: What the judges beside say, by their names, the one called gold included.
        feasible: Whether it is within the KL budget, as far as is known.
        params: Its searched values.
        runs: Whose mean its score, judges and KL are: its own, and of the best and the default all completed trials of
            the same config.
    """

    number: int
    ending: str
    episodes: float
    score: float | None
    gold: float | None
    judges: Mapping[str, float]
    kl: float | None
    feasible: bool
    params: Mapping[str, Any]
    runs: tuple[int, ...]


@dataclass(frozen=True)
class StudyStatus:
    """A study at one moment.

    Attributes:
        study: Its name.
        state: What becomes of it.
        pid: The process that searches here, or did so last; None if none ever did.
        hosts: Machines that have trials under way, by the store.
        started: When the search that runs began, else None.
        last_ended: When the last trial ended, or None.
        total: All trials of the study at most; None where only episodes or seconds end it.
        prompts: How many prompts were too long for the model and what became of them, a sentence of each split.
        spent: Episodes of the search and its confirmation so far.
        max_episodes: What they may come to in all; None without a limit.
        seconds: In which trials of the study were under way.
        max_seconds: What they may come to in all; None without a limit.
        ended: What ended the search besides its total of trials, as a sentence; empty if nothing did.
        episodes: A trial's whole budget of responses.
        kl_budget: What a winner stays within, in nats per sequence.
        endings: How many trials ended in which way.
        verdict: What the study says.
        best: The trial to go on with by that: the confirmed winner; before it, the best completed trial within the KL
            budget.
        default: The trial of the default config.
        running: Trials under way.
        episodes_per_second: Of all workers, since the search that runs began; else None.
        seconds_left: A guess from what that search has done; else None.
        failure: The last trial that went wrong, in words; empty if none did; the KL limit is no mishap.
        confirmation: How many runs of the confirmation ended in which way, or are under way; None before it.
        to_confirm: Whether the study wants a confirmation, has something to confirm, and has not done so.
        repeats: Trials of a finished grid that repeated a cell, for there were more trials than cells.
        lone: What scores it and only a Python session has, by its label; empty where any process can score.
    """

    study: str
    state: State
    pid: int | None
    hosts: tuple[str, ...]
    started: datetime | None
    last_ended: datetime | None
    total: int | None
    prompts: tuple[str, ...]
    spent: int
    max_episodes: int | None
    seconds: float
    max_seconds: float | None
    ended: str
    episodes: int
    kl_budget: float
    endings: Mapping[str, int]
    verdict: Verdict
    best: TrialStatus | None
    default: TrialStatus | None
    running: tuple[TrialStatus, ...]
    episodes_per_second: float | None
    seconds_left: float | None
    failure: str
    confirmation: Mapping[str, int] | None
    to_confirm: bool
    repeats: int
    lone: str = ""

    @property
    def next_steps(self) -> NextSteps:
        """How one goes on with it."""
        return NextSteps(self.study, self.lone, self.state, self.verdict.advice, self.to_confirm)

    @property
    def done(self) -> int:
        """Trials over."""
        return sum(self.endings.values())


@dataclass(frozen=True)
class _Process:
    """The process that searched here last: its id, when it began, and whether it lives."""

    pid: int
    started: datetime
    alive: bool


def study_status(name: str, *, storage: str | None = None, out: Path | str = ".") -> StudyStatus:
    """How a study stands, also while it runs; reads a snapshot of it, and changes nothing.

    Args:
        name: The study's.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        out: Folder that holds `runs/<study>/`.

    Raises:
        PPOTuneError: If there is no such study, or it was made by something else than ppo-tune.
    """
    check_name(name)
    with snapshot(storage or storage_url(Path(out), name)) as url:
        study, config = open_study(name, storage=url)
        return read_status(study, config, StudyFolder.of(Path(out), name).path)


def read_status(
    study: Study, config: StudyConfig, folder: Path, *, now: datetime | None = None
) -> StudyStatus:
    """How a study stands, best read from a snapshot; without `now` the clock is asked for the time."""
    trials = study.get_trials(deepcopy=False)
    confirmation, every = confirmation_study(study), all_trials(study)
    under_way = _hosts(every)
    counts = results.count_endings(study)
    running = counts.get("running", 0)
    counts = {name: n for name, n in counts.items() if name not in ("waiting", "running")}
    begun = sum(counts.values()) + running
    total = None if config.n_trials is None else max(config.n_trials, begun)
    is_over = results.is_over(study, config)
    process, state = _process_of(folder), state_of(study, config, folder)
    started = process.started if process is not None and state == "running" else None
    views = {t.number: _view(t, folder) for t in trials}
    searching = None if is_over else started  # later it confirms
    rate, left = _pace(trials, views, config.ppo.episodes, total, searching, now or datetime.now())
    facts = read_facts(study, config, folder)
    verdict, default = judge(facts), facts.default
    confirmed = results.count_endings(confirmation) if confirmation else None
    ended = [t.datetime_complete for t in every if t.datetime_complete]
    return StudyStatus(
        study=study.study_name,
        state=state,
        pid=process.pid if process is not None else None,
        hosts=tuple(sorted(under_way)),
        started=started,
        last_ended=max(ended, default=None),
        total=total,
        prompts=tuple(StudyFacts(study).prompts),
        spent=sum(map(episodes_of, every)),
        max_episodes=config.search.max_episodes,
        seconds=training_seconds(every),
        max_seconds=config.search.max_seconds,
        ended=facts.ended,
        episodes=config.ppo.episodes,
        kl_budget=config.search.kl_budget,
        endings=counts,
        verdict=verdict,
        best=None if facts.winner is None else _mean_view(facts.winner, trials, views),
        default=None if default is None else _mean_view(default, trials, views),
        running=tuple(views[t.number] for t in trials if t.state == TrialState.RUNNING),
        episodes_per_second=rate,
        seconds_left=left,
        failure=_last_failure(trials),
        confirmation=confirmed,
        to_confirm=is_to_confirm(study, config),
        repeats=results.repeated_cells(config, trials),
        lone=facts.next_steps.lone,
    )


def state_of(study: Study, config: StudyConfig, folder: Path) -> State:
    """What becomes of a study."""
    process = _process_of(folder)
    if process is not None and process.alive:
        return "running"
    hosts = _hosts(all_trials(study))
    if hosts - {platform.node()}:
        return "elsewhere"
    if hosts:
        return "died"
    return "complete" if results.is_over(study, config) else "stopped"


def is_to_confirm(study: Study, config: StudyConfig) -> bool:
    """Whether a study wants a confirmation, has something to confirm, and has not done so."""
    confirmation = confirmation_study(study)
    confirmed = results.count_endings(confirmation) if confirmation else {}
    is_done = bool(confirmed) and "waiting" not in confirmed and not _is_unfinished(confirmation, config)
    return bool(config.search.confirm_top and results.best_trials(study)) and not is_done


def _is_unfinished(confirmation: Study | None, config: StudyConfig) -> bool:
    """Whether runs of a confirmation are missing."""
    from ppo_tune.search.confirmation import confirmation_of  # half a second to import

    return confirmation is not None and confirmation_of(confirmation, config).outcome.kind == "unfinished"


def _hosts(trials: Iterable[FrozenTrial]) -> set[str]:
    """Machines that have trials under way, by the store."""
    return {TrialFacts(t).host or platform.node() for t in trials if t.state == TrialState.RUNNING}


def _process_of(folder: Path) -> _Process | None:
    """Who searched here last. The lock itself is not asked, for trying it could turn a search away."""
    note = StudyFolder(folder).pid
    try:
        pid, written = int(note.read_text(encoding="utf-8")), note.stat().st_mtime
    except (OSError, ValueError):
        return None
    try:
        process = psutil.Process(pid)
        ours = process.create_time() <= written + 1  # a younger one only got the same number
        alive = ours and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        alive = False
    return _Process(pid, datetime.fromtimestamp(written), alive)


def _view(trial: FrozenTrial, folder: Path) -> TrialStatus:
    facts = TrialFacts(trial)
    last = facts.last
    episodes = facts.episodes if facts.episodes is not None else last.episodes if last else 0
    if trial.state == TrialState.RUNNING:  # its log knows more than the store
        log = read_json_lines(StudyFolder(folder).trial(trial.number).metrics)
        episodes = max([episodes, *(line["episodes"] for line in log)])
    judges = {name: judge.mean for name, judge in last.judges.items()} if last else {}
    return TrialStatus(
        number=trial.number,
        ending=results.ending_of(trial),
        episodes=episodes,
        score=last.score if last else None,
        gold=judges.get("gold"),  # scripts of version 0.1.0 read it
        judges=judges,
        kl=last.kl if last else None,
        feasible=results.is_feasible(trial),
        params=trial.params,
        runs=(trial.number,),
    )


def _mean_view(
    trial: FrozenTrial, trials: Sequence[FrozenTrial], views: Mapping[int, TrialStatus]
) -> TrialStatus:
    """A trial with what all completed trials of its config came to on average, if it is one of several."""
    config, view = results.config_of(trial, trials), views[trial.number]
    same = [views[one.number] for one in config.trials]
    if len(same) == 1 or view not in same:
        return view
    judges = {name: fmean(one.judges[name] for one in same if name in one.judges) for name in view.judges}
    return replace(
        view,
        score=_mean(one.score for one in same),
        gold=judges.get("gold"),
        judges=judges,
        kl=_mean(one.kl for one in same),
        feasible=config.is_feasible,
        runs=tuple(one.number for one in same),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _pace(
    trials: Sequence[FrozenTrial],
    views: Mapping[int, TrialStatus],
    budget: int,
    total: int | None,
    since: datetime | None,
    now: datetime,
) -> tuple[float | None, float | None]:
    """Episodes per second and seconds left, by what the search that runs has done; a part of a trial counts."""
    begun = [t for t in trials if since and t.datetime_start and t.datetime_start >= since]
    begins = [t.datetime_start for t in begun if t.datetime_start]
    seconds = (now - min(begins)).total_seconds() if begins else 0.0
    if seconds <= 0:
        return None, None
    rate = sum(views[t.number].episodes for t in begun) / seconds
    parts = sum(views[t.number].episodes for t in trials if not t.state.is_finished()) / budget
    if total is None:
        return rate, None
    over = {t.number for t in trials if t.state.is_finished() and not results.was_lost(t)}
    done = sum(t.number in over for t in begun) + parts
    return rate, time_left(total - len(over) - parts, done, seconds)


def time_left(missing: float, done: float, seconds: float) -> float | None:
    """A guess of the seconds left, from the trials done in so many; None where there is nothing to guess by."""
    return missing * seconds / done if done and missing > 0 else None


def _last_failure(trials: Iterable[FrozenTrial]) -> str:
    usual = ("completed", "pruned", "kl_limit", *results.LOST)
    bad = [t for t in trials if t.state.is_finished() and results.ending_of(t) not in usual]
    last = max(bad, key=lambda t: t.datetime_complete or datetime.min, default=None)
    return "" if last is None else f"trial {last.number} {results.ending_of(last)}: {TrialFacts(last).reason}"
