"""The typed record of a stored trial: every key of a trial's user attributes stands here and nowhere else.

`TrialFacts` reads; the functions `write_...` and `enqueue_...` write. Whoever adds a fact adds it here, where both
sides of its key stand. Of the study's own attributes see `ppo_tune.search.study_facts`.
"""

import math
import os
import platform
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

if TYPE_CHECKING:
    from ppo_tune.trainer.evaluation import Evaluation

HELDOUT = {
    "score": "heldout/score", "score_error": "heldout/score_standard_error", "gold": "heldout/gold",
    "gold_error": "heldout/gold_standard_error", "kl": "heldout/kl_per_sequence",
    "response_tokens": "heldout/response_tokens", "eos_rate": "heldout/eos_rate",
}  # fmt: skip
"""Under which names `Evaluation.metrics` gives the fields of a `HeldOut`."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What a model came to on the held-out prompts.

    Attributes:
        score: Mean score.
        score_error: Its standard error over prompts.
        gold: Mean gold score, or None where the task has no gold judge.
        gold_error: Its standard error, or None.
        kl: Mean KL to the reference, in nats per response.
        response_tokens: Mean length.
        eos_rate: Share of responses that ended by themselves; None at a milestone, which does not keep it.
        scores: By prompt; empty at a milestone.
        golds: Gold scores likewise.
    """

    score: float
    score_error: float
    gold: float | None
    gold_error: float | None
    kl: float
    response_tokens: float
    eos_rate: float | None = None
    scores: Sequence[float] = ()
    golds: Sequence[float | None] = ()


POINT = (
    "episodes", "score", "gold", "kl", "seconds", "score_error", "gold_error", "response_tokens",
)  # fmt: skip
"""What is stored of a milestone."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint(HeldOut):
    """What a trial came to at one milestone.

    Attributes:
        episodes: When it was scored.
        seconds: Since the trial began.
    """

    episodes: int
    seconds: float


@dataclass(frozen=True)
class Owner:
    """Whom a trial under way belongs to: one incarnation of a worker, and nobody who happens to be called alike.

    Attributes:
        search: The identity of the folder of the search that started the worker, see `StudyFolder.identity`.
        worker: Random, another one whenever a worker is started.
    """

    search: str
    worker: str

    @classmethod
    def new(cls, search: str) -> "Owner":
        """A worker that is about to be started by a search."""
        return cls(search, uuid.uuid4().hex)


class TrialFacts:
    """What a trial's row says, besides what Optuna itself knows of it.

    Args:
        trial: Stored, or under way.
    """

    def __init__(self, trial: FrozenTrial | Trial) -> None:
        self.number = trial.number
        self._attrs: Mapping[str, Any] = trial.user_attrs

    @property
    def is_default(self) -> bool:
        """Whether it is the default config."""
        return bool(self._attrs.get("baseline"))

    @property
    def confirms(self) -> int:
        """In a confirmation: the number in the search of the trial that runs again."""
        return int(self._attrs["confirms"])

    @property
    def seed_index(self) -> int:
        """In a confirmation: which of the fresh seeds."""
        return int(self._attrs["seed_index"])

    @property
    def origin(self) -> int:
        """The number under which its values ran first; its own unless an earlier run was lost."""
        return int(self._attrs.get("rerun_of", self.number))

    @property
    def attempt(self) -> int:
        """How many times its values have been tried, this one included."""
        return int(self._attrs.get("attempt", 1))

    @property
    def owner(self) -> Owner | None:
        """Whom it belongs to; None in studies of version 0.1.0."""
        found = self._attrs.get("owner")
        return None if found is None else Owner(**found)

    @property
    def host(self) -> str | None:
        """The machine it was asked on, for people."""
        return self._attrs.get("host")

    @property
    def pid(self) -> int | None:
        """The process there, for people."""
        return self._attrs.get("pid")

    @property
    def has_begun(self) -> bool:
        """Whether a trainer has taken it up."""
        return "config" in self._attrs

    @property
    def config(self) -> Mapping[str, Any]:
        """The hyperparameters that its trainer really used; empty before it began."""
        found: Mapping[str, Any] = self._attrs.get("config", {})
        return found

    @property
    def score_std(self) -> float:
        """The unit in which its values were learned; version 0.1.0 learned them in the unit of the reward."""
        return float(self._attrs.get("score_std", 1.0))

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """What it came to at each milestone so far."""
        return tuple(CurvePoint(**point) for point in self._attrs.get("curve", ()))

    @property
    def last(self) -> CurvePoint | None:
        """The last milestone; None before the first."""
        curve = self._attrs.get("curve")
        return CurvePoint(**curve[-1]) if curve else None

    @property
    def heldout(self) -> HeldOut | None:
        """What it came to, once it has ended by itself; None where it was never scored."""
        return read_heldout(self._attrs)

    @property
    def seen(self) -> HeldOut | None:
        """What it came to, or until it has ended what it came to at its last milestone."""
        return self.heldout or self.last

    @property
    def ending(self) -> str | None:
        """The name of its ending as it was noted; see `ppo_tune.search.endings`."""
        return self._attrs.get("ending")

    @property
    def reason(self) -> str:
        """Why it ended, in words; empty where there is nothing to say."""
        return str(self._attrs.get("reason", ""))

    @property
    def episodes(self) -> int | None:
        """How many responses it was trained on; None unless it ended by itself, as of tokens and seconds."""
        return self._attrs.get("episodes")

    @property
    def tokens(self) -> int | None:
        """How many response tokens those are."""
        return self._attrs.get("tokens")

    @property
    def seconds(self) -> float | None:
        """How long it took by the clock."""
        return self._attrs.get("seconds")


def point_of(judged: "Evaluation", episodes: int, seconds: float) -> CurvePoint:
    """What a milestone is worth: an evaluation without what is kept of the last one only."""
    named = {name: getattr(judged, key.removeprefix("heldout/")) for name, key in HELDOUT.items()}
    return CurvePoint(**{**named, "eos_rate": None}, episodes=episodes, seconds=seconds)


def read_heldout(facts: Mapping[str, Any]) -> HeldOut | None:
    """The held-out result among other facts, by the names of `HELDOUT`; None where there is none."""
    if HELDOUT["score"] not in facts:
        return None
    named = {name: facts.get(key) for name, key in HELDOUT.items()}
    for name in ("score", "score_error", "kl", "response_tokens"):
        named[name] = math.nan if named[name] is None else named[name]  # a file of JSON knows no NaN
    return HeldOut(**named, scores=facts.get("scores", ()), golds=facts.get("golds", ()))  # type: ignore[arg-type]


def heldout_facts(judged: "Evaluation") -> dict[str, Any]:
    """What `read_heldout` reads: the metrics, and scores and gold scores of every prompt to six digits.

    Configs are compared by them.
    """
    return {
        **judged.metrics(),
        "scores": [float(f"{sample.score:.6g}") for sample in judged.samples],
        "golds": [None if sample.gold is None else float(f"{sample.gold:.6g}") for sample in judged.samples],
    }


def write_begun(trial: Trial, config: Mapping[str, Any], score_std: float) -> None:
    """Note what a trial's trainer really uses.

    Args:
        trial: That begins.
        config: Its hyperparameters.
        score_std: The unit in which its values are learned.
    """
    trial.set_user_attr("config", dict(config))
    trial.set_user_attr("score_std", score_std)


def write_curve(trial: Trial, curve: Sequence[CurvePoint]) -> None:
    """Note what a trial came to at its milestones so far."""
    points = [{name: getattr(point, name) for name in POINT} for point in curve]
    trial.set_user_attr("curve", points)


def write_ended(
    trial: Trial,
    ending: str,
    reason: str,
    *,
    episodes: int,
    tokens: int,
    seconds: float,
    judged: "Evaluation | None",
) -> None:
    """Note how a trial ended, what it cost, and what it came to if it was ever scored."""
    facts = {"ending": ending, "reason": reason, "episodes": episodes, "tokens": tokens, "seconds": seconds}
    for name, value in {**facts, **({} if judged is None else heldout_facts(judged))}.items():
        trial.set_user_attr(name, value)


def write_ending(study: Study, trial: FrozenTrial, ending: str, reason: str | None = None) -> None:
    """Note how a trial ended whose worker cannot do so."""
    for name, value in {"ending": ending, "reason": reason}.items():
        if value is not None:
            study._storage.set_trial_user_attr(trial._trial_id, name, value)


def enqueue_default(study: Study, params: Mapping[str, Any]) -> None:
    """Queue the default config."""
    study.enqueue_trial(dict(params), user_attrs={"baseline": True})


def enqueue_run(study: Study, params: Mapping[str, Any], number: int, seed_index: int) -> None:
    """Queue a run of a confirmation.

    Args:
        study: The confirmation.
        params: The values.
        number: Of the trial in the search.
        seed_index: Which of the fresh seeds.
    """
    study.enqueue_trial(dict(params), user_attrs={"confirms": number, "seed_index": seed_index})


def enqueue_again(study: Study, trial: FrozenTrial, *, counts: bool) -> None:
    """Queue the values of a trial that was cut off, under another number and with the same random numbers.

    Args:
        study: Of the trial.
        trial: That was cut off.
        counts: Whether that was an attempt which failed.
    """
    facts = TrialFacts(trial)
    identity = ("baseline", "confirms", "seed_index")  # what a trial is in its study
    kept = {name: trial.user_attrs[name] for name in identity if name in trial.user_attrs}
    again = {**kept, "rerun_of": facts.origin, "attempt": facts.attempt + counts}
    study.enqueue_trial(trial.params, user_attrs=again)


def take_waiting(study: Study, owner: Owner) -> int | None:
    """Begin the first waiting trial as its owner's; returns Optuna's id of it, or None where none waits."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        _write_owner(study, trial._trial_id, owner)  # before it runs, so that none ever runs without one
        if study._storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING):
            _write_owner(study, trial._trial_id, owner)  # who asked at the same moment may have written there
            return trial._trial_id
    return None


def make_running(study: Study, owner: Owner) -> int:
    """Begin a new trial as its owner's from the first moment; returns Optuna's id of it."""
    template = create_trial(state=TrialState.RUNNING, user_attrs=_owner_facts(owner))
    return study._storage.create_new_trial(study._study_id, template_trial=template)


def _owner_facts(owner: Owner) -> dict[str, Any]:
    return {"owner": asdict(owner), "host": platform.node(), "pid": os.getpid()}


def _write_owner(study: Study, trial_id: int, owner: Owner) -> None:
    for name, value in _owner_facts(owner).items():
        study._storage.set_trial_user_attr(trial_id, name, value)
