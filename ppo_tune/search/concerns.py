"""What speaks against a trial that scores well: a judge falls, responses no longer end, or what they say collapses.

A winner is compared with the default config, which is what one would train without a search, and with the untrained
model. What is not known is no concern.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from optuna.trial import FrozenTrial

from ppo_tune.config.judges import REWARD
from ppo_tune.config.study import StudyConfig
from ppo_tune.files import read_json
from ppo_tune.search import responses
from ppo_tune.search.facts import Expectation, TrialFacts, Unconfirmed
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.heldout import HeldOut, Untrained
from ppo_tune.search.next_steps import NextSteps
from ppo_tune.search.results import ending_of

if TYPE_CHECKING:
    from ppo_tune.search.race import Candidate, Confirmation

DOUBT = 0.05
"""A judge is said to have fallen where the probability that it did not is no more than this."""

FEW_SEEDS = 5
"""With fewer a judge's fall is only what it looks like, however narrow the interval."""

FAR_BELOW = 0.5
"""Responses no longer end where fewer of them do than this share of what the trial is compared with."""

SHRUNK = 0.2
"""Responses this short, as a share of the untrained model's, say next to nothing."""

UNTRAINED, DEFAULT = "untrained model", "default config"


@dataclass(frozen=True)
class Concern:
    """One thing that speaks against a trial.

    Attributes:
        kind: A judge fell, responses do not end, or their text collapsed.
        words: The end of a sentence about the trial.
        certain: Whether it is beyond doubt, for a judge: its 95 % interval over enough seeds lies below zero.
        judge: Who fell; empty for the other kinds.
    """

    kind: Literal["judge", "endings", "text"]
    words: str
    certain: bool = True
    judge: str = ""


@dataclass(frozen=True)
class Facts:
    """What a verdict is made from: the trial to go on with, and what it is compared with.

    Attributes:
        config: The experiment.
        trials: Those that began, but for the lost ones.
        winner: The trial to go on with, see `chosen_trial`.
        default: The default config's trial, or None before it began.
        expected: What all results together expect of the winner; None where it is the default or too few are known.
        base: The untrained model; None if not known.
        folder: The study's.
        confirmation: The runs on fresh seeds, or None.
        is_over: Whether the search has come to its end.
        ended: What ended it besides its total of trials, as a sentence; empty if nothing did.
        unconfirmed: Why nothing is confirmed; empty where that is no matter of episodes and seconds.
    """

    config: StudyConfig
    trials: Sequence[FrozenTrial]
    winner: FrozenTrial | None
    default: FrozenTrial | None
    expected: Expectation | None
    base: Untrained | None
    folder: Path
    confirmation: "Confirmation | None"
    is_over: bool
    ended: str = ""
    unconfirmed: Unconfirmed = ""

    @property
    def confirmed(self) -> "Confirmation | None":
        """The confirmation, if it is finished."""
        found = self.confirmation
        return None if found is None or found.outcome.kind == "unfinished" else found

    @property
    def next_steps(self) -> NextSteps:
        """How one goes on with the study."""
        return NextSteps.of(self.config, self.folder)

    @property
    def seen(self) -> HeldOut | None:
        """What the winner came to in the search."""
        return None if self.winner is None else TrialFacts(self.winner).heldout

    @property
    def compared(self) -> dict[str, HeldOut]:
        """What those came to in the search that the winner is compared with, the nearer one first.

        The default config is one of them if it was completed and is not the winner itself.
        """
        found = {UNTRAINED: self.base.heldout} if self.base is not None else {}
        default, winner = self.default, self.winner
        if default is None or winner is None or default.number == winner.number:
            return found
        heldout = TrialFacts(default).heldout if ending_of(default) == "completed" else None
        return found if heldout is None else {DEFAULT: heldout, **found}

    @property
    def judges(self) -> list[str]:
        """The judges of the winner beside what trials are compared by; the reward of PPO itself is none of them."""
        return [] if self.seen is None else [name for name in self.seen.judges if name != REWARD]

    @property
    def candidate(self) -> "Candidate | None":
        """The winner's runs on fresh seeds, if they are finished."""
        found, winner = self.confirmed, self.winner
        return None if found is None or winner is None else found.candidate(winner.number)

    @property
    def rival(self) -> "Candidate | None":
        """The default's runs on fresh seeds; None where it is the winner itself or left the KL budget."""
        found = self.confirmed
        if found is None or found.outcome.rival != "default":
            return None
        return None if found.default is self.candidate else found.default


def concerns_of(facts: Facts) -> tuple[Concern, ...]:
    """All that speaks against a trial, the judges first."""
    found = (*(_fallen(facts, judge) for judge in facts.judges), _endings(facts), *_texts(facts))
    return tuple(concern for concern in found if concern is not None)


def _fallen(facts: Facts, judge: str) -> Concern | None:
    """Whether a judge fell against the default or, if not, against the untrained model."""
    for name, change in _changes(facts, judge):
        if change is None or not (change.mean < 0 and change.chance <= DOUBT):
            continue
        n = len(change.seeds)
        lower = sum(seed < 0 for seed in change.seeds)
        seeds = f"lower on {'all' if lower == n else f'{lower} of'} {n} seeds" if n else "one seed"
        known = math.isfinite(change.low)
        told = f"95 % interval {change.low:+.2f} to {change.high:+.2f}, {seeds}" if known else seeds
        words = f"{judge} {change.mean:+.2f} against the {name} ({told})"
        return Concern("judge", words, certain=n >= FEW_SEEDS and change.high < 0, judge=judge)
    return None


def _changes(facts: Facts, judge: str) -> list[tuple[str, "_Change | None"]]:
    """Against whom, and by how much: on fresh seeds where they are finished, else in the search."""
    candidate, confirmation = facts.candidate, facts.confirmed
    if confirmation is not None and candidate is not None:
        known = {DEFAULT: facts.rival} if facts.rival is not None else {}
        rivals = {**known, UNTRAINED: None}
        return [(name, _on_seeds(confirmation, judge, candidate, rival)) for name, rival in rivals.items()]
    seen = facts.seen
    return [(name, _one_seed(judge, seen, other)) for name, other in facts.compared.items() if seen]


@dataclass(frozen=True)
class _Change:
    """How much a judge changed, the ends of the 95 % interval, the probability of no fall, and the change by seed.

    The ends are infinite where the spread is not known, and there is nothing by seed in the search, which has one.
    """

    mean: float
    low: float
    high: float
    chance: float
    seeds: tuple[float, ...] = ()


def _on_seeds(
    confirmation: "Confirmation", judge: str, candidate: "Candidate", rival: "Candidate | None"
) -> _Change | None:
    """What a judge gives a config less what it gives a rival on the fresh seeds of both, or the untrained model."""
    found = confirmation.judge_change(judge, candidate, rival)
    both = confirmation.judged(judge, candidate, rival)
    if found is None or both is None:
        return None
    seeds = tuple(float(own - other) for own, other in zip(both[0].mean(1), both[1].mean(1), strict=True))
    return _Change(found.mean, found.low, found.high, found.probability, seeds)


def _one_seed(judge: str, trial: HeldOut, other: HeldOut) -> _Change | None:
    """A judge's mean of a trial less another's: by prompt where both have it, else by their errors, as if unrelated."""
    own, their = trial.judges.get(judge), other.judges.get(judge)
    if own is None or their is None:
        return None
    pairs = list(zip(own.by_prompt, their.by_prompt, strict=False))
    if len(pairs) >= responses.MIN_PROMPTS:
        import numpy as np

        from ppo_tune.search.certainty import gain  # half a second to import

        scores = np.array(pairs, dtype=float).T
        found = gain(scores[:1], scores[1:])
        return _Change(found.mean, found.low, found.high, found.probability)
    change, errors = own.mean - their.mean, [found.error or 0.0 for found in (own, their)]
    if not all(errors):
        return _Change(change, -math.inf, math.inf, float(change >= 0))
    normal = NormalDist(change, math.hypot(*errors))
    return _Change(change, normal.inv_cdf(0.025), normal.inv_cdf(0.975), 1 - normal.cdf(0))


def _endings(facts: Facts) -> Concern | None:
    """Whether far fewer responses end by themselves than those of the default or of the untrained model."""
    rates = {name: found.eos_rate for name, found in reversed(facts.compared.items())}
    rates[""] = None if facts.seen is None else facts.seen.eos_rate
    for name, candidate in (("", facts.candidate), (DEFAULT, facts.rival)):
        if candidate is not None and candidate.eos_rate is not None:
            rates[name] = candidate.eos_rate
    own = rates.pop("")
    known = {name: rate for name, rate in rates.items() if rate is not None}
    if own is None or not known or not own < FAR_BELOW * max(known.values()):
        return None
    others = ", ".join(f"{name} {_percent(1 - rate)}" for name, rate in known.items())
    return Concern("endings", f"{_percent(1 - own)} of its responses are cut off ({others})")


def _texts(facts: Facts) -> list[Concern]:
    """Whether what the trial wrote in the search collapsed, beside what the untrained model wrote."""
    before = [] if facts.base is None else facts.base.samples
    after = [] if facts.winner is None else kept_samples(facts.folder, facts.winner)
    n = min(len(before), len(after))
    start, end = (responses.distinct([s["response"] for s in kept[:n]], 2) for kept in (before, after))
    repeated = responses.mean_repeated_share(before), responses.mean_repeated_share(after)
    start_tokens, end_tokens = (
        math.nan if found is None else found.response_tokens
        for found in (facts.compared.get(UNTRAINED), facts.seen)
    )
    found = []
    if repeated[1] - repeated[0] >= responses.REPETITION_RISE and responses.repetition_low(before, after) > 0:
        found.append(
            f"its responses repeat themselves (repeated 3-grams {repeated[1]:.2f}, {UNTRAINED} {repeated[0]:.2f})"
        )
    if end <= responses.VARIETY_RATIO * start:
        found.append(f"its responses are much alike (distinct-2 {end:.2f}, {UNTRAINED} {start:.2f})")
    if end_tokens <= SHRUNK * start_tokens:
        found.append(
            f"its responses say next to nothing ({end_tokens:.1f} tokens, {UNTRAINED} {start_tokens:.1f})"
        )
    return [Concern("text", words, certain=False) for words in found]


def kept_samples(folder: Path, trial: FrozenTrial) -> responses.Samples:
    """The responses that were kept of a trial; none if it has none."""
    path = StudyFolder(folder).trial(trial.number).samples
    found: Sequence[Mapping[str, Any]] = read_json(path) if path.is_file() else []
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
