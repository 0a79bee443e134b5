"""Figures of the headline: from rows to the seconds that each arm takes to name a config of the wanted value.

A row is a line of JSON with its `kind`: a `Stage` of ppo-tune, a `Trial` of the peer's search, or a `Run` that judges a
config on a fresh seed in one of the two trainers.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from benchmarks.worlds.world import TOLERANCE

Params = Mapping[str, Any]

Trainer = Literal["ppo-tune", "TRL"]
OURS, TRL, PRUNED = "ppo-tune", "TRL", "TRL, pruned"
PEERS = (TRL, PRUNED)
"""Arms of the peer's trainer."""

WANTED = 0.8
"""The value that a named config is to have."""

HOPELESS, ASTRAY = 0.25, 1.5
"""A config is judged on one seed only where that is so far below what is wanted, or at so many KL budgets."""

LOWEST = -1e6
"""What a trial that failed is told as."""

RESAMPLES = 2_000


@dataclass(frozen=True)
class Stage:
    """One `ppo-tune search` with its confirmation, a new study or more trials of the stage before.

    Attributes:
        repetition: Which.
        trials: Total of the study's trials.
        seconds: Of the command by the clock.
        params: The config that the study then names.
    """

    repetition: int
    trials: int
    seconds: float
    params: Params


@dataclass(frozen=True)
class Trial:
    """One trial of the peer's search.

    Attributes:
        arm: One of `PEERS`.
        repetition: Which.
        number: From 0.
        params: Proposed by Optuna.
        seconds: From the proposal to the result by the clock.
        ending: `completed`, `pruned` or `failed`.
        score: On the held-out prompts at its end; None where it failed.
        kl: Nats per response likewise.
        reports: What Optuna was told at its milestones.
    """

    arm: str
    repetition: int
    number: int
    params: Params
    seconds: float
    ending: str
    score: float | None
    kl: float | None
    reports: Sequence[float] = ()


@dataclass(frozen=True)
class Run:
    """A config trained on a fresh seed and scored on prompts that chose nothing.

    Attributes:
        trainer: Whose.
        params: The config.
        seed: Which of the fresh seeds.
        seconds: Of the training and its evaluation by the clock.
        score: On those prompts; the untrained model's where the training failed.
        kl: Nats per response.
    """

    trainer: str
    params: Params
    seed: int
    seconds: float
    score: float
    kl: float


Row = Stage | Trial | Run
KINDS: Mapping[str, type[Row]] = {"stage": Stage, "trial": Trial, "run": Run}


def written(row: Row) -> dict[str, Any]:
    """A row as it is kept."""
    kind = next(name for name, member in KINDS.items() if type(row) is member)
    return {"kind": kind, **asdict(row)}


def read(line: Mapping[str, Any]) -> Row:
    """What `written` made."""
    facts = {name: value for name, value in line.items() if name != "kind"}
    return KINDS[line["kind"]](**facts)


def objective(score: float | None, kl: float | None, budget: float) -> float:
    """What a careful user has Optuna maximize: the score within the KL budget, and beyond it less than any score."""
    if score is None or kl is None:
        return LOWEST
    return score if kl <= budget else -kl


@dataclass(frozen=True)
class Scale:
    """Values of scores in one trainer: 0 is the default config, 1 the best known one within the KL budget."""

    default: float
    best: float

    def gained(self, score: float) -> float:
        """The value of a score whatever its KL."""
        return (score - self.default) / (self.best - self.default) if self.best > self.default else 0.0


@dataclass(frozen=True)
class Reached:
    """When an arm named a config of the wanted value, or gave up.

    Attributes:
        seconds: Until then, the confirmation included; or of all that it did.
        trials: Begun until then.
        value: Of the config that it names.
        in_time: Whether that is what was wanted.
    """

    seconds: float
    trials: int
    value: float
    in_time: bool


@dataclass
class Results:
    """All rows, and what follows from them.

    Attributes:
        default: The default config.
        kl_budget: In nats per response.
        seeds: On how many fresh seeds a config is judged.
        rows: In the order in which they were found.
        tolerance: How many KL budgets the mean KL over fresh seeds may be.
    """

    default: Params
    kl_budget: float
    seeds: int
    rows: list[Row] = field(default_factory=list)
    tolerance: float = TOLERANCE

    def runs(self, trainer: str, params: Params) -> list[Run]:
        """The fresh seeds of a config in a trainer."""
        found = (row for row in self.rows if isinstance(row, Run))
        return [run for run in found if (run.trainer, run.params) == (trainer, params)]

    def trials(self, arm: str, repetition: int) -> list[Trial]:
        """Those of one search of the peer, in order."""
        found = (row for row in self.rows if isinstance(row, Trial))
        own = (trial for trial in found if (trial.arm, trial.repetition) == (arm, repetition))
        return sorted(own, key=lambda trial: trial.number)

    def stages(self, repetition: int) -> list[Stage]:
        """Those of one repetition of ppo-tune, in order."""
        found = (row for row in self.rows if isinstance(row, Stage) and row.repetition == repetition)
        return sorted(found, key=lambda stage: stage.trials)

    @property
    def repetitions(self) -> list[int]:
        """Those that ppo-tune has begun."""
        return sorted({row.repetition for row in self.rows if isinstance(row, Stage)})

    def scale(self, trainer: str) -> Scale:
        """From scores to values; the default config must be judged first."""
        tried = {repr(sorted(r.params.items())): r.params for r in self.rows if isinstance(r, Run)}
        judged = [self.runs(trainer, params) for params in tried.values()]
        whole = [runs for runs in judged if len(runs) >= self.seeds and self._is_within(runs)]
        default = _mean_score(self.runs(trainer, self.default))
        return Scale(default, max([default, *map(_mean_score, whole)]))

    def _is_within(self, runs: Sequence[Run]) -> bool:
        return float(np.mean([run.kl for run in runs])) <= self.tolerance * self.kl_budget

    def value(self, trainer: str, params: Params) -> float:
        """What naming a config gains, by its fresh seeds; nothing for one beyond the KL budget."""
        runs = self.runs(trainer, params)
        return self.scale(trainer).gained(_mean_score(runs)) if runs and self._is_within(runs) else 0.0

    def next_seed(self, trainer: str, params: Params) -> int | None:
        """The fresh seed on which a config is still to be judged; None where enough is known of it."""
        runs = self.runs(trainer, params)
        if len(runs) >= self.seeds:
            return None
        if runs and params != self.default:
            scale = self.scale(trainer)
            behind = scale.best > scale.default and scale.gained(runs[0].score) < WANTED - HOPELESS
            if behind or runs[0].kl > ASTRAY * self.kl_budget:
                return None
        return len(runs)

    def incumbents(self, arm: str, repetition: int) -> list[Trial]:
        """The trials of a search that were, each in its time, the best completed one within the KL budget."""
        found: list[Trial] = []
        for trial in self.trials(arm, repetition):
            worth = objective(trial.score, trial.kl, self.kl_budget)
            feasible = trial.ending == "completed" and trial.kl is not None and trial.kl <= self.kl_budget
            if feasible and (not found or worth > objective(found[-1].score, found[-1].kl, self.kl_budget)):
                found.append(trial)
        return found

    def ours(self, repetition: int) -> Reached:
        """When ppo-tune had named a config of the wanted value."""
        seconds, value, trials = 0.0, 0.0, 0
        for stage in self.stages(repetition):
            seconds, trials = seconds + stage.seconds, stage.trials
            value = self.value(OURS, stage.params)
            if value >= WANTED:
                return Reached(seconds, trials, value, True)
        return Reached(seconds, trials, value, False)

    def theirs(self, arm: str, repetition: int) -> Reached:
        """When a search of the peer had named one, told when to stop, and charged for judging that one alone."""
        trials, value = self.trials(arm, repetition), 0.0
        for incumbent in self.incumbents(arm, repetition):
            runs, value = self.runs(TRL, incumbent.params), self.value(TRL, incumbent.params)
            if value >= WANTED and len(runs) >= self.seeds:
                took = sum(trial.seconds for trial in trials if trial.number <= incumbent.number)
                return Reached(took + sum(run.seconds for run in runs), incumbent.number + 1, value, True)
        return Reached(sum(trial.seconds for trial in trials), len(trials), value, False)


def _mean_score(runs: Iterable[Run]) -> float:
    return float(np.mean([run.score for run in runs]))


@dataclass(frozen=True)
class Ratio:
    """How many times the seconds of ppo-tune an arm of the peer takes, over repetitions.

    Attributes:
        median: Of the repetitions' ratios; one that ppo-tune did not reach counts as 0.
        interval: 95 % bootstrap interval of that; None for fewer than three repetitions.
        bounds: In how many repetitions the peer did not get there, so that the ratio is a lower bound.
        repetitions: How many there are.
    """

    median: float
    interval: tuple[float, float] | None
    bounds: int
    repetitions: int

    def __str__(self) -> str:
        told = f"{'≥ ' if self.bounds else ''}{self.median:.1f}"
        return told if self.interval is None else f"{told} [{self.interval[0]:.1f}, {self.interval[1]:.1f}]"


def ratio(results: Results, arm: str) -> Ratio | None:
    """The ratio of an arm, of the repetitions that both have; None without any."""
    both = [repetition for repetition in results.repetitions if results.trials(arm, repetition)]
    if not both:
        return None
    ours, theirs = [results.ours(r) for r in both], [results.theirs(arm, r) for r in both]
    ratios = np.array([
        their.seconds / own.seconds if own.in_time else 0.0 for own, their in zip(ours, theirs, strict=True)
    ])  # fmt: skip
    interval = None
    if len(ratios) > 2:
        picks = np.random.default_rng(1).integers(len(ratios), size=(RESAMPLES, len(ratios)))
        low, high = np.quantile(np.median(ratios[picks], axis=1), (0.025, 0.975))
        interval = float(low), float(high)
    return Ratio(float(np.median(ratios)), interval, sum(not their.in_time for their in theirs), len(both))


def reached(results: Results, arm: str) -> list[Reached]:
    """Every repetition of an arm."""
    if arm == OURS:
        return [results.ours(repetition) for repetition in results.repetitions]
    return [results.theirs(arm, r) for r in results.repetitions if results.trials(arm, r)]


def table(results: Results) -> str:
    """A line per arm: medians over repetitions, and the ratio."""
    head = (
        "arm",
        "repetitions",
        f"{WANTED:g} reached",
        "trials",
        "seconds",
        "seconds per trial",
        "value",
        "ratio",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for arm in (OURS, *PEERS):
        found = reached(results, arm)
        if not found:
            continue
        medians = [
            np.median([getattr(one, name) for one in found]) for name in ("trials", "seconds", "value")
        ]
        each = np.median([one.seconds / one.trials for one in found])
        told = "1" if arm == OURS else str(ratio(results, arm))
        cells = (
            arm, str(len(found)), f"{sum(one.in_time for one in found)}", f"{medians[0]:.0f}", f"{medians[1]:.0f}",
            f"{each:.1f}", f"{medians[2]:.2f}", told,
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def json_line(results: Results) -> str:
    """All of it as one line of JSON."""
    trainers = {trainer: asdict(results.scale(trainer)) for trainer in (OURS, TRL)}
    arms = {arm: [asdict(one) for one in reached(results, arm)] for arm in (OURS, *PEERS)}
    ratios = {arm: found and asdict(found) for arm in PEERS for found in [ratio(results, arm)]}
    return json.dumps({"wanted": WANTED, "ratio": ratios, "arms": arms, "scale": trainers})
