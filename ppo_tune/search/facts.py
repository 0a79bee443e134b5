"""The typed records of stored trials and studies: every key of their user attributes stands here and nowhere else.

`TrialFacts` and `StudyFacts` read and write; the functions `write_...` and `enqueue_...` write what belongs together.
Whoever adds a fact adds it here, where both sides of its key stand.
"""

import contextlib
import json
import os
import platform
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from ppo_tune.config.study import StudyConfig
from ppo_tune.search.heldout import (
    ByPrompt,
    CurvePoint,
    HeldOut,
    heldout_facts,
    read_by_prompt,
    read_curve,
    read_heldout,
    stored_by_prompt,
    stored_curve,
)  # fmt: skip

if TYPE_CHECKING:
    from ppo_tune.trainer.evaluation import Evaluation

WANTED = "wanted by "
"""Begins the key under which a worker says that it wants a waiting trial, before it begins it; see `begin_trial`."""


@dataclass(frozen=True)
class Owner:
    """Whom a trial under way belongs to: one incarnation of a worker, and no other one of the same name.

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


T = TypeVar("T")


class Record(Protocol):
    """What facts are read from, and perhaps written to."""

    attrs: Mapping[str, Any]

    def write(self, key: str, value: Any) -> None:
        """Store a user attribute."""


class Fact(Generic[T]):
    """A user attribute as a typed member of a record.

    Args:
        key: Under which it is stored.
        read: From what is stored, which is None where nothing is, to the value.
        stored: From a value to what is stored of it.
    """

    def __init__(
        self, key: str, read: Callable[[Any], T] = lambda it: it, stored: Callable[[T], Any] = lambda it: it
    ) -> None:
        self._key, self._read, self._stored = key, read, stored

    def __get__(self, record: Record, _: type) -> T:
        return self._read(record.attrs.get(self._key))

    def __set__(self, record: Record, value: T) -> None:
        record.write(self._key, self._stored(value))


class TrialFacts:
    """What the row of a trial says, stored or under way, besides what Optuna itself knows of it.

    Attributes:
        is_default: Whether it is the default config.
        confirms: In a confirmation: the number in the search of the trial that runs again.
        seed_index: In a confirmation: which of the fresh seeds.
        attempt: How many times its values have been tried, this one included.
        host: The machine it was asked on, for people.
        pid: The process there, for people.
        pid_namespace: Where that number names a process, see `pid_namespace`.
        config: The hyperparameters that its trainer really used; empty before it began.
        score_std: The unit in which its values are learned; version 0.1.0 learned them in the unit of the reward.
        curve: What it came to at each milestone so far.
        ending: The name of its ending as it was noted; see `ppo_tune.search.results`.
        reason: Why it ended, in words; empty where there is nothing to say.
        episodes: How many responses it was trained on; None unless it ended by itself, as of tokens and seconds.
        tokens: How many response tokens those are.
        seconds: How long it took by the clock.
    """

    def __init__(self, trial: FrozenTrial | Trial) -> None:
        self.trial = trial
        self.attrs: Mapping[str, Any] = trial.user_attrs

    def write(self, key: str, value: Any) -> None:
        """Note a fact of a trial under way."""
        assert isinstance(self.trial, Trial), "only its own worker writes so, see `write_ending`"
        self.trial.set_user_attr(key, value)

    is_default = Fact("baseline", bool)
    confirms = Fact("confirms", int)
    seed_index = Fact("seed_index", int)
    attempt = Fact("attempt", lambda stored: int(stored or 1))
    host: Fact[str | None] = Fact("host")
    pid: Fact[int | None] = Fact("pid")
    pid_namespace: Fact[str | None] = Fact("pid_namespace")
    config: Fact[Mapping[str, Any]] = Fact("config", lambda stored: stored or {}, dict)
    score_std = Fact("score_std", lambda stored: 1.0 if stored is None else float(stored))
    curve: Fact[Sequence[CurvePoint]] = Fact("curve", read_curve, stored_curve)
    ending: Fact[str | None] = Fact("ending")
    reason = Fact("reason", lambda stored: str(stored or ""))
    episodes: Fact[int | None] = Fact("episodes")
    tokens: Fact[int | None] = Fact("tokens")
    seconds: Fact[float | None] = Fact("seconds")

    @property
    def owner(self) -> Owner | None:
        """Whom it belongs to; None in studies of version 0.1.0, and where two wanted it and neither says it got it."""
        wanted = [key.removeprefix(WANTED).split("/") for key in self.attrs if key.startswith(WANTED)]
        if "owner" in self.attrs:
            return Owner(**self.attrs["owner"])
        return Owner(*wanted[0]) if len(wanted) == 1 else None

    @property
    def origin(self) -> int:
        """The number under which its values ran first; its own unless an earlier run was lost."""
        return int(self.attrs.get("rerun_of", self.trial.number))

    @property
    def last(self) -> CurvePoint | None:
        """The last milestone; None before the first."""
        return read_curve(self.attrs.get("curve", ())[-1:])[0] if self.attrs.get("curve") else None

    @property
    def heldout(self) -> HeldOut | None:
        """What it came to, once it has ended by itself; None where it was never scored."""
        return read_heldout(self.attrs)

    def write_heldout(self, judged: "Evaluation") -> None:
        """Note what a trial under way came to."""
        for name, value in heldout_facts(judged).items():
            self.write(name, value)

    @property
    def seen(self) -> HeldOut | None:
        """What it came to, or until it has ended what it came to at its last milestone."""
        return self.heldout or self.last


@dataclass(frozen=True)
class Chosen:
    """A config that a confirmation runs again.

    Attributes:
        params: Its searched values.
        search_score: What it scored in the search; None if it did not complete there.
        is_default: Whether it is the default config.
        expected: What the search expects of it; None where too little was known.
    """

    params: dict[str, Any]
    search_score: float | None
    is_default: bool
    expected: "Expectation | None" = None

    def stored(self) -> dict[str, Any]:
        """What `read` reads."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("expected", None)}

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Chosen":
        """A config as it is stored."""
        expected = stored.get("expected")
        return cls(**{**stored, "expected": expected and Expectation(**expected)})


@dataclass(frozen=True)
class Expectation:
    """What all results of a search together expect of one config.

    Attributes:
        gain: How much more it scores than the default config.
        error: The standard deviation of that.
        within: Probability that it is within the KL budget.
        log_kl: Its KL, see `ppo_tune.search.certainty.log_kl`; None where no trial told one.
        log_kl_error: The standard deviation of that.
        log_kl_noise: Standard deviation of the log KL of one run.
    """

    gain: float
    error: float
    within: float
    log_kl: float | None = None
    log_kl_error: float = 0.0
    log_kl_noise: float = 0.0


@dataclass(frozen=True)
class WarmStart:
    """What a study took of an earlier one when it was made.

    Attributes:
        configs: The best configs of the earlier study as configs of this one, best first.
        told: What was taken, as a sentence.
    """

    configs: Sequence[Mapping[str, Any]]
    told: str


Unconfirmed = Literal["", "episodes", "seconds", "over"]
"""Episodes or seconds did not pay for a confirmation, or the seconds were over before it was."""


class StudyFacts:
    """What the row of a study says, a search, a confirmation or the user's own, besides what Optuna knows of it.

    Attributes:
        config: The experiment; None in a study that something else than ppo-tune made.
        inputs: Hashes of the files that the experiment depends on, by their places.
        versions: Of the libraries that made the study.
        ranking: What is expected of the best trials by number, best first, since the last trial was completed.
        no_gain: That one more trial promises next to nothing, as a sentence; empty before that is so.
        warm_start: What was taken of an earlier study when this one was made; None if nothing was.
        ended: What ended the search besides its total of trials, as a sentence; empty if nothing did.
        unconfirmed: Why the search confirmed nothing, by what was missing or over; empty where that was no reason.
        prompts: How many prompts were too long for the model and what became of them, a sentence of each split.
        score_std: The unit in which its trials learn values; None before the untrained model was scored, and in 0.1.0.
        chosen: In a confirmation: its configs, by their numbers in the search.
        n_seeds: In a confirmation: on how many fresh seeds a config runs that stays in the race.
        decided: In a confirmation: on how many seeds it was finished before more were asked for; None if it was not.
        untrained: In a confirmation: what the untrained model scored; None before it was.
        claim: In a study of the user's own: its `owner`, which its folder names too, and its `experiment`.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.attrs: Mapping[str, Any] = study.user_attrs

    def write(self, key: str, value: Any) -> None:
        """Store a fact."""
        self.study.set_user_attr(key, value)
        self.attrs = {**self.attrs, key: value}

    config: Fact[StudyConfig | None] = Fact(
        "config",
        lambda stored: stored and StudyConfig.model_validate_json(json.dumps(stored)),
        lambda config: config and config.model_dump(mode="json"),
    )
    inputs: Fact[Mapping[str, str]] = Fact("inputs", lambda stored: stored or {}, dict)
    versions: Fact[Mapping[str, str]] = Fact("versions", lambda stored: stored or {}, dict)
    ranking: Fact[Mapping[int, Expectation]] = Fact(
        "ranking",
        lambda stored: {int(number): Expectation(*found) for number, *found in stored or ()},
        lambda ranking: [[number, *astuple(found)] for number, found in ranking.items()],
    )
    no_gain: Fact[str] = Fact("no_gain", lambda stored: stored or "")
    warm_start: Fact[WarmStart | None] = Fact(
        "warm_start", lambda stored: stored and WarmStart(**stored), lambda taken: taken and asdict(taken)
    )
    ended: Fact[str] = Fact("ended", lambda stored: stored or "")
    unconfirmed: Fact[Unconfirmed] = Fact("unconfirmed", lambda stored: stored or "")
    prompts: Fact[Sequence[str]] = Fact("prompts", lambda stored: stored or (), list)
    score_std: Fact[float | None] = Fact("score_std")
    chosen: Fact[Mapping[int, Chosen]] = Fact(
        "candidates",
        lambda stored: {int(number): Chosen.read(facts) for number, facts in (stored or {}).items()},
        lambda chosen: {str(number): facts.stored() for number, facts in chosen.items()},
    )
    n_seeds: Fact[int | None] = Fact("seeds")
    decided: Fact[int | None] = Fact("decided")
    untrained: Fact[ByPrompt | None] = Fact(
        "base",
        lambda stored: stored and read_by_prompt(stored),
        lambda found: found and stored_by_prompt(found),
    )
    claim: Fact[Mapping[str, Any] | None] = Fact("ppo_tune_objective")


def write_ending(study: Study, trial: FrozenTrial, ending: str, reason: str | None = None) -> None:
    """Note how a trial ended whose worker cannot do so."""
    _write(study, trial._trial_id, {"ending": ending} | ({} if reason is None else {"reason": reason}))


def enqueue_default(study: Study, params: Mapping[str, Any]) -> None:
    """Queue the default config."""
    study.enqueue_trial(dict(params), user_attrs={"baseline": True})


def enqueue_earlier(study: Study, taken: WarmStart) -> None:
    """Keep what is taken of an earlier study, and queue its configs."""
    StudyFacts(study).warm_start = taken
    for params in taken.configs:
        study.enqueue_trial(dict(params))


def enqueue_run(study: Study, params: Mapping[str, Any], number: int, seed_index: int) -> None:
    """Queue a run of a confirmation: of the trial with this number in the search, on this fresh seed."""
    study.enqueue_trial(dict(params), user_attrs={"confirms": number, "seed_index": seed_index})


def values_of(trial: FrozenTrial) -> dict[str, Any]:
    """The searched values of a trial, also of one that waits for its own."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def enqueue_again(study: Study, trial: FrozenTrial, *, counts: bool) -> None:
    """Queue the values of a trial that was cut off, under another number and with the same random numbers.

    `counts` says whether that was an attempt which failed.
    """
    facts = TrialFacts(trial)
    identity = ("baseline", "confirms", "seed_index")  # what a trial is in its study
    kept = {name: facts.attrs[name] for name in identity if name in facts.attrs}
    again = {**kept, "rerun_of": facts.origin, "attempt": facts.attempt + counts}
    study.enqueue_trial(values_of(trial), user_attrs=again)


def begin_trial(study: Study, owner: Owner) -> int:
    """Begin the first waiting trial, or where none waits a new one, as its owner's; returns Optuna's id of it.

    Of a waiting one the owner says first that it wants the trial, under a key of its own, for another machine may want
    it at the same moment: whoever dies between beginning it and becoming its owner is still known, and nobody takes it
    from the other.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        with contextlib.suppress(UpdateFinishedTrialError):  # somebody was quicker
            _write(study, trial._trial_id, {f"{WANTED}{owner.search}/{owner.worker}": True})
            if study._storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING):
                _write(study, trial._trial_id, _owner_facts(owner))
                return trial._trial_id
    template = create_trial(state=TrialState.RUNNING, user_attrs=_owner_facts(owner))
    return study._storage.create_new_trial(study._study_id, template_trial=template)


def _owner_facts(owner: Owner) -> dict[str, Any]:
    where = {"host": platform.node(), "pid": os.getpid(), "pid_namespace": pid_namespace()}
    return {"owner": asdict(owner), **where}


def pid_namespace() -> str:
    """Where a process number names one process: on Linux this container since this boot, elsewhere the host."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def _write(study: Study, trial_id: int, facts: Mapping[str, Any]) -> None:
    for name, value in facts.items():
        study._storage.set_trial_user_attr(trial_id, name, value)
