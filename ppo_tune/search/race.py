"""What a confirmation found: the runs of each config, who is still in the race, and the outcome.

Runs with the same seed index draw the same random numbers, so configs are compared in pairs. A run that diverged
or left the KL limit has no policy worth keeping: it counts as the untrained model's scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ppo_tune.search.certainty import Gain, Scores, gain, log_kl, seed_noise, still_racing
from ppo_tune.search.facts import Expectation

MODEL_WORTH = 4
"""What the search expects of a KL weighs as much as so many runs at most: a model may be surer than it should be."""

LIKELY = 1.96
"""A gain that the search expects is likely from so many of its standard deviations on."""


@dataclass(frozen=True)
class Run:
    """One config trained on one fresh seed.

    Attributes:
        seed_index: Which of the fresh seeds.
        ending: How it ended.
        scores: One per prompt, shape (P,); those of the untrained model if it did not complete.
        judges: What each judge says likewise, by their names.
        kl: Nats per response; the limit if it did not complete.
        eos_rate: Share of its responses that end by themselves; None if not known or it did not complete.
    """

    seed_index: int
    ending: str
    scores: Scores
    judges: Mapping[str, Scores]
    kl: float
    eos_rate: float | None = None

    @property
    def completed(self) -> bool:
        """Whether it reached its end."""
        return self.ending == "completed"


@dataclass(frozen=True)
class Candidate:
    """One config and its runs.

    Attributes:
        number: Its trial in the search.
        is_default: Whether it is the default config.
        params: Its searched values.
        search_score: What it scored in the search; None if it did not complete there.
        runs: By seed, one each.
        expected: What the search expects of it; None where too little was known.
    """

    number: int
    is_default: bool
    params: Mapping[str, Any]
    search_score: float | None
    runs: tuple[Run, ...]
    expected: Expectation | None = None

    @cached_property
    def scores(self) -> Scores:
        """Scores by seed and prompt, shape (S, P)."""
        return np.stack([run.scores for run in self.runs]) if self.runs else np.zeros((0, 0))

    @property
    def seed_means(self) -> Scores:
        """Mean score of each seed, shape (S,)."""
        return self.scores.mean(1) if self.runs else np.zeros(0)

    @property
    def mean(self) -> float:
        """Mean score over seeds and prompts."""
        return float(self.scores.mean()) if self.runs else float("nan")

    @property
    def kl(self) -> float:
        """Mean KL over seeds, in nats per response."""
        return float(np.mean([run.kl for run in self.runs])) if self.runs else float("nan")

    def is_within(self, budget: float, n_seeds: int | None = None) -> bool:
        """Whether its KL is within a budget, by its runs, or by the first of them, and what the search expects.

        Both are weighed by how much they vary; without a run it is what the search expects.
        """
        kls = [run.kl for run in self.runs[:n_seeds]]
        seen = self.expected
        if seen is None or seen.log_kl is None or seen.log_kl_noise == 0:
            return not kls or float(np.mean(kls)) <= budget
        runs = (seen.log_kl_noise / max(seen.log_kl_error, 1e-9)) ** 2
        worth = min(runs, MODEL_WORTH)
        mean = (worth * seen.log_kl + float(np.sum(log_kl(kls, budget)))) / (worth + len(kls))
        return bool(mean <= log_kl(budget, budget))

    @cached_property
    def judges(self) -> Mapping[str, Scores]:
        """What the judges say by seed and prompt, shape (S, P), by their names; those who judged every run."""
        names = self.runs[0].judges if self.runs else ()
        known = (name for name in names if all(name in run.judges for run in self.runs))
        return {name: np.stack([run.judges[name] for run in self.runs]) for name in known}

    def judged(self, name: str) -> float | None:
        """Mean score by a judge over seeds and prompts, or None where it did not judge."""
        return float(self.judges[name].mean()) if name in self.judges else None

    @property
    def eos_rate(self) -> float | None:
        """Mean share of responses that end by themselves, over the seeds where it is known; None without any."""
        known = [run.eos_rate for run in self.runs if run.eos_rate is not None]
        return float(np.mean(known)) if known else None

    @property
    def failures(self) -> int:
        """Seeds on which it did not reach the end."""
        return sum(not run.completed for run in self.runs)


@dataclass(frozen=True)
class Outcome:
    """What a confirmation found.

    Attributes:
        kind: `better`: the winner beats its rival, its interval above zero. `likely`: its interval holds zero, but the
            search expects a gain, too. `no_better`: it cannot be told from it, or nothing is left within the KL
            budget. `unfinished`: seeds are missing.
        best: The confirmed best within the KL budget besides the default, or None.
        rival: What it was measured against: the default config, or the untrained model where the default itself
            leaves the KL budget.
        gain: Of the best over its rival, for the best of so many; None without either.
        winner: The trial to go on with: the best if it is better or likely so, else the default, if that is within
            the budget; None otherwise.
    """

    kind: Literal["better", "likely", "no_better", "unfinished"]
    best: int | None
    rival: Literal["default", "untrained"]
    gain: Gain | None
    winner: int | None


@dataclass(frozen=True)
class Confirmation:
    """All that a confirmation holds.

    Attributes:
        candidates: The default first, then by what they scored in the search.
        base: Scores of the untrained model by prompt, shape (P,).
        base_judges: What the judges say of it by prompt, by their names.
        n_seeds: How many seeds a config gets that stays in the race.
        kl_budget: In nats per response.
    """

    candidates: tuple[Candidate, ...]
    base: Scores
    base_judges: Mapping[str, Scores]
    n_seeds: int
    kl_budget: float

    @property
    def default(self) -> Candidate | None:
        """The default config."""
        return next((c for c in self.candidates if c.is_default), None)

    @property
    def challengers(self) -> list[Candidate]:
        """All but the default."""
        return [c for c in self.candidates if not c.is_default]

    def candidate(self, number: int) -> Candidate:
        """The one that is this trial of the search."""
        return next(c for c in self.candidates if c.number == number)

    def on_first(self, n_seeds: int) -> "Confirmation":
        """The same on the first of its seeds only."""
        candidates = tuple(replace(c, runs=c.runs[:n_seeds]) for c in self.candidates)
        return replace(self, candidates=candidates, n_seeds=n_seeds)

    def racing(self) -> list[Candidate]:
        """Those that can still win, and the default, which they are compared with.

        A config that has left the KL budget by now beats no other: one that was dropped for its sake comes back.
        """
        alive = list(self.candidates)
        for n in range(2, self.n_seeds):
            if any(len(c.runs) < n for c in alive):
                break
            kl = np.array([[run.kl for run in c.runs[:n]] for c in alive])
            then = np.array([c.is_within(self.kl_budget, n) for c in alive])
            within = then & [c.is_within(self.kl_budget) for c in alive]
            can_win = still_racing(np.stack([c.seed_means[:n] for c in alive]), within)
            can_win &= (kl <= self.kl_budget).any(1) | then
            alive = [c for c, can in zip(alive, can_win, strict=True) if can or c.is_default]
        return alive

    def compare(self, candidate: Candidate, rival: Candidate | None, *, comparisons: int = 1) -> Gain | None:
        """The gain over a rival, on the seeds that both have had; over the untrained model if it is None."""
        n = len(candidate.runs) if rival is None else min(len(candidate.runs), len(rival.runs))
        if n < 2:
            return None
        against = np.broadcast_to(self.base, (n, len(self.base))) if rival is None else rival.scores[:n]
        noise = seed_noise([c.seed_means for c in self.candidates if not c.failures])
        return gain(candidate.scores[:n], against, comparisons=comparisons, noise=noise)

    def judged(
        self, name: str, candidate: Candidate, rival: Candidate | None
    ) -> tuple[Scores, Scores] | None:
        """What a judge says of a config and of a rival on the seeds of both, shape (S, P) each.

        No rival is the untrained model; returns None where it did not judge both.
        """
        own = candidate.judges.get(name)
        their = self.base_judges.get(name) if rival is None else rival.judges.get(name)
        if own is None or their is None:
            return None
        their = np.broadcast_to(their, own.shape) if rival is None else their
        n = min(len(own), len(their))
        return own[:n], their[:n]

    def judge_change(self, name: str, candidate: Candidate, rival: Candidate | None = None) -> Gain | None:
        """How much more a judge gives a config than a rival, see `judged`; None without a second seed."""
        both = self.judged(name, candidate, rival)
        return None if both is None or len(both[0]) < 2 else gain(*both)

    @cached_property
    def outcome(self) -> Outcome:
        """What it found."""
        default, challengers = self.default, self.challengers
        rival = default
        if default is None or len(default.runs) < self.n_seeds or not default.is_within(self.kl_budget):
            rival = None
        name: Literal["default", "untrained"] = "untrained" if rival is None else "default"
        fallback = None if rival is None else rival.number
        if any(len(c.runs) < self.n_seeds for c in self.racing()):
            return Outcome("unfinished", None, name, None, None)
        finished = [c for c in challengers if len(c.runs) >= self.n_seeds and c.is_within(self.kl_budget)]
        if not finished:
            return Outcome("no_better", None, name, None, fallback)
        best = max(finished, key=lambda c: c.mean)
        found = self.compare(best, rival, comparisons=len(challengers))
        if found is not None and found.is_certain:
            return Outcome("better", best.number, name, found, best.number)
        if found is not None and rival is not None and found.mean > 0 and _is_likely(best.expected):
            return Outcome("likely", best.number, name, found, best.number)
        return Outcome("no_better", best.number, name, found, fallback)


def _is_likely(seen: Expectation | None) -> bool:
    """Whether the search expects a gain over the default config."""
    return seen is not None and seen.gain > LIKELY * seen.error
