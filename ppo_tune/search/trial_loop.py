"""From a proposed config to a told trial: the loop that keeps K places of a trainer filled.

The loop is the same for one place and for many. It knows nothing of processes: where new trials and the wish to stop
come from is its caller's business.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from optuna.study import Study
from optuna.trial import Trial

from ppo_tune.errors import KLLimitError, SearchStoppedError, TrialError
from ppo_tune.events import Watcher
from ppo_tune.files import append_json_line, make_folder, write_json
from ppo_tune.models import save_adapter
from ppo_tune.models.lora import Bottleneck
from ppo_tune.models.prefix import starts_beside
from ppo_tune.search.facts import StudyFacts, TrialFacts
from ppo_tune.search.folders import StudyFolder, TrialFolder
from ppo_tune.search.heldout import CurvePoint, point_of, read_untrained, write_untrained
from ppo_tune.search.plan import Plan
from ppo_tune.search.results import STATES
from ppo_tune.search.storage import give_back
from ppo_tune.tracking import Tracked, Tracking
from ppo_tune.trainer.assembly import Assembly, assemble
from ppo_tune.trainer.evaluation import Evaluation
from ppo_tune.trainer.trainer import Metrics

N_SAMPLES = 24
"""Held-out responses that are kept of a trial."""


@dataclass
class TrialRun:
    """One trial under way.

    Attributes:
        trial: Optuna's object, by which values are reported.
        folder: Where its files go.
        tracking: Gets what its metrics.jsonl gets.
        curve: What it came to at its milestones so far.
        evaluation: The last one.
        started: When it began, by the monotonic clock.
    """

    trial: Trial
    folder: TrialFolder
    tracking: Tracking
    curve: list[CurvePoint] = field(default_factory=list)
    evaluation: Evaluation | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started


@dataclass(frozen=True)
class Ending:
    """How a trial ended: its name, a reason in words, its value if it reached the end, and whether in budget."""

    name: str
    reason: str = ""
    value: float | None = None
    feasible: bool = True


class TrialPack:
    """A model whose places are filled with the trials of one study.

    Args:
        plan: What the trials are.
        folder: The study's folder; trials write below it.
        places: How many trials are trained side by side.
        device: Where; None takes the first GPU, or the CPU.
        emit: Told of everything that happens.

    Attributes:
        milestones: Episodes at which trials are scored.
        score_std: The unit in which values are learned, the same for all trials of a study; None before `join`.
        prompts_at_end: How many prompts score a trial at its end: as many as scored the untrained model.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        *,
        places: int,
        device: torch.device | None = None,
        emit: Watcher = lambda _: None,
    ) -> None:
        self.plan, self.config = plan, plan.config
        self.milestones = plan.config.milestone_episodes()
        self.folder = StudyFolder(folder)
        self.emit = emit
        self.work: Assembly = assemble(plan.config, draws=plan.draws, places=places, device=device)
        self.runs: dict[int, TrialRun] = {}
        self.score_std: float | None = None
        self.prompts_at_end: int | None = None

    def join(self, study: Study) -> None:
        """Take part in a study; called once, before its first trial here, by one process at a time.

        The untrained model is scored unless that was done: it is where every trial starts, and the standard
        deviation of its scores is the unit in which all trials learn values. The study keeps that number.

        Raises:
            SearchStoppedError: If the untrained model cannot be scored.
        """
        facts = StudyFacts(study)
        if not self.folder.base.is_file():
            self._score_base()
        base = read_untrained(self.folder.path)
        self.prompts_at_end = None if base is None else base.n_prompts
        if self.work.of_prompts:
            facts.prompts = self.work.of_prompts
        if facts.score_std is None:
            measured = None if base is None else base.score_std
            if measured == 0:
                self._note(
                    "the untrained model's scores are all equal, so values are learned in the unit of the reward; a "
                    "reward that tells no two responses apart teaches nothing"
                )
            # Trials of version 0.1.0 learned values in the unit of the reward, and so do those that join them; of a
            # reward that learns no spread is known.
            joins_old = any(TrialFacts(t).config for t in study.get_trials(deepcopy=False))
            facts.score_std = 1.0 if joins_old else measured or 1.0
        self.score_std = facts.score_std

    def begin(self, place: int, trial: Trial) -> None:
        """Put a proposed trial into a free place, and note what its trainer really uses."""
        assert self.score_std is not None, "join the trial's study first"
        own = self._adapters_of(trial)
        config, seed = self.config.ppo_of(trial.params), self.plan.seed(trial)
        self.work.trainer.start(place, config, seed, score_std=self.score_std, adapters=own)
        folder, trained = self.folder.trial(trial.number), self.work.trainer.runs[place]
        make_folder(folder.path)
        used = trained.config.model_dump(mode="json")
        if own is not None:
            used |= {"lora_rank": own.rank, "lora_alpha": own.alpha}
        facts = TrialFacts(trial)
        facts.config, facts.score_std = used, trained.score_std
        write_json(folder.config, used)
        name, judges = self.config.name, tuple(self.work.task.beside)
        tracked = Tracked(name, folder.path.name, self.folder.path, used, self.config.space, judges)
        tracking = Tracking(self.config.search.log, tracked, self._note)
        self.runs[place] = TrialRun(trial, folder, tracking)
        self.emit({
            "kind": "started", "number": trial.number, "params": trial.params, "label": self.plan.label(trial),
        })  # fmt: skip

    def _adapters_of(self, trial: Trial) -> Bottleneck | None:
        """What a trial's adapters are like; None where all trials have the same, or none."""
        if not self.config.adapters_vary:
            return None
        model = self.config.model_of(trial.params)
        return Bottleneck.of(model)

    def advance(self) -> dict[int, Ending]:
        """One iteration of every trial; scores those at a milestone. Returns the endings of those that are over."""
        endings: dict[int, Ending] = {}
        for place, result in self.work.trainer.step().items():
            if ending := self._take_in(self.runs[place], result):
                endings[place] = ending
        going_on = sorted(self.runs.keys() - endings)
        episodes = {place: self.work.trainer.runs[place].episodes for place in going_on}
        due = [p for p in going_on if episodes[p] >= self.milestones[len(self.runs[p].curve)]]
        at_end = [p for p in due if len(self.runs[p].curve) + 1 == len(self.milestones)]
        on_the_way = [p for p in due if p not in at_end]
        for places, n_prompts in ((on_the_way, self.plan.draws.on_the_way), (at_end, self.prompts_at_end)):
            judgements = self.work.evaluator(places, n_prompts=n_prompts) if places else {}
            for place, judged in judgements.items():
                if ending := self._judge(self.runs[place], judged):
                    endings[place] = ending
        for place, ending in endings.items():
            self._finish(place, ending)
        return endings

    def _take_in(self, run: TrialRun, result: Metrics | TrialError) -> Ending | None:
        if isinstance(result, TrialError):
            return Ending(result.ending, str(result))
        _record(run, {**result, "time/seconds": run.seconds})
        self.emit({"kind": "progress", "number": run.trial.number, "episodes": result["episodes"]})
        return self._check_kl(result["objective/kl_per_sequence"], result["episodes"])

    def _judge(self, run: TrialRun, judged: Evaluation | TrialError) -> Ending | None:
        """Report a score to Optuna, and end the trial where it is at its end, behind the others or out of bounds."""
        if isinstance(judged, TrialError):
            return Ending(judged.ending, str(judged))
        episodes = self.milestones[len(run.curve)]
        run.evaluation = judged
        run.curve.append(point_of(judged, episodes, run.seconds))
        _record(run, {"episodes": episodes, **judged.metrics()})
        TrialFacts(run.trial).curve = run.curve
        run.trial.report(judged.score, step=len(run.curve))
        number = run.trial.number
        self.emit({"kind": "milestone", "number": number, "episodes": episodes, "score": judged.score})
        if beyond := self._check_kl(judged.kl_per_sequence, episodes):
            return beyond
        if len(run.curve) == len(self.milestones):
            feasible = judged.kl_per_sequence <= self.config.search.kl_budget
            return Ending("completed", value=judged.score, feasible=feasible)
        hopeless = run.trial.should_prune()  # asked of the default too, for others are compared with it
        if hopeless and not TrialFacts(run.trial).is_default:
            return Ending("pruned", f"score {judged.score:.3f} after {episodes} episodes, behind the others")
        return None

    def _check_kl(self, kl: float, episodes: float) -> Ending | None:
        ceiling = self.config.search.kl_ceiling
        if kl <= ceiling:
            return None
        reason = f"KL {kl:.1f} beyond {ceiling:g} nats per sequence after {episodes:.0f} episodes"
        return Ending(KLLimitError.ending, reason)

    def _finish(self, place: int, ending: Ending) -> None:
        """Keep what a report needs, and free the place."""
        run, trained = self.runs[place], self.work.trainer.runs[place]
        judged = run.evaluation
        if judged is not None:
            write_json(run.folder.samples, [sample.as_dict() for sample in judged.samples[:N_SAMPLES]])
        if ending.name == "completed" and self.work.policy.adapters is not None:
            save_adapter(self.work.policy, place, run.folder.adapter)
        ceiling = self.config.search.kl_ceiling
        violated = ending.name in ("diverged", "kl_limit")
        kl = ceiling if violated or judged is None else judged.kl_per_sequence
        run.trial.set_constraint("kl_per_sequence", kl - self.config.search.kl_budget)
        facts = TrialFacts(run.trial)
        facts.ending, facts.reason = ending.name, ending.reason
        facts.episodes, facts.tokens, facts.seconds = trained.episodes, trained.tokens, run.seconds
        if judged is not None:
            facts.write_heldout(judged)
        run.tracking.finish(ending.name)
        del self.runs[place]
        self.work.trainer.drop(place)

    def clear(self, ending: str) -> list[Trial]:
        """Free all places, whatever their trials were doing; returns the trials that were under way."""
        left, self.runs = self.runs, {}
        for run in left.values():
            run.tracking.finish(ending)
        for place in list(self.work.trainer.runs):
            self.work.trainer.drop(place)
        return [run.trial for run in left.values()]

    def abandon(self, study: Study, ending: str) -> None:
        """Give every trial under way back to the study, to be run again."""
        for trial in self.clear(ending):
            frozen = next(t for t in study.get_trials(deepcopy=False) if t.number == trial.number)
            give_back(study, frozen, ending)

    def _note(self, text: str) -> None:
        self.emit({"kind": "note", "text": text})

    def _score_base(self) -> None:
        """Score the untrained model and write what it does."""
        self.work.policy.reset(0, torch.Generator())
        judged = self.work.evaluator([0])[0]
        if isinstance(judged, TrialError):
            raise SearchStoppedError(f"the untrained model cannot be scored: {judged}")
        write_untrained(self.folder.path, judged, n_samples=N_SAMPLES)
        if told := starts_beside(self.config.model.adapter, judged.kl_per_sequence):
            self._note(told)


def _record(run: TrialRun, line: Metrics) -> None:
    append_json_line(run.folder.metrics, line)
    run.tracking.log(line)


def run_trials(
    trial_pack: TrialPack,
    study: Study,
    *,
    next_trial: Callable[[], Trial | None],
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Ask, train, report, prune, tell, until there is nothing left to ask or somebody wants a stop.

    Args:
        trial_pack: Where the trials are trained.
        study: Where they are told.
        next_trial: The next trial of the study, or None when all are given out.
        should_stop: Asked after every iteration; trials under way are then given back to the study.
    """
    free = trial_pack.work.trainer.free_places
    while True:
        for place in list(free):
            trial = next_trial()
            if trial is None:
                break
            trial_pack.begin(place, trial)
            free.remove(place)
        if not trial_pack.runs:
            return
        runs = dict(trial_pack.runs)
        for place, ending in trial_pack.advance().items():
            trial = runs[place].trial
            study.tell(trial, ending.value, state=STATES[ending.name], skip_if_finished=True)
            if ending.name == "completed":
                trial_pack.plan.completed(study)
            trial_pack.emit({
                "kind": "ended", "number": trial.number, "ending": ending.name,
                "reason": ending.reason, "value": ending.value, "feasible": ending.feasible,
            })  # fmt: skip
            free.append(place)
        if should_stop():
            trial_pack.abandon(study, "preempted")
            return
