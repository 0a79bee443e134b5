"""The best few and the default once more, on fresh seeds and on prompts that the search never saw.

The best observed trial of many is partly luck. So after the search its top few and the default config run again,
racing style: seed by seed, and who cannot win any more is left out. They are the trials of a second study in the
same store, `<study>/confirmation`, so that whatever is killed goes on, and several machines can share the work.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ppo_tune.config.methods import LEAST, NoPrunerConfig, Size
from ppo_tune.config.study import StudyConfig
from ppo_tune.data.draws import Draws, confirmation_draws
from ppo_tune.search.budget import Budget, trials_worth
from ppo_tune.search.certainty import Scores
from ppo_tune.search.facts import Chosen, Owner, StudyFacts, TrialFacts, enqueue_run, values_of
from ppo_tune.search.heldout import read_untrained
from ppo_tune.search.plan import Plan
from ppo_tune.search.race import Candidate, Confirmation, Run
from ppo_tune.search.results import (
    baseline_trial,
    best_trials,
    config_key,
    ending_of,
    expectation_of,
    tried_configs,
    values_key,
    was_lost,
)
from ppo_tune.search.storage import ask_as, confirmation_name, confirmation_study
from ppo_tune.seeding import derive_seed


class ConfirmationPlan(Plan):
    """Run each candidate on one fresh seed after the other, as long as it can win: the race drops whole candidates."""

    def __init__(self, config: StudyConfig, workers: int = 1, budget: Budget | None = None) -> None:
        search = config.search.model_copy(update={"milestones": 1, "pruner": NoPrunerConfig(name="none")})
        super().__init__(config.model_copy(update={"search": search}), workers, budget)
        self.study_name = confirmation_name(config.name)

    @property
    def draws(self) -> Draws:
        """Those of a confirmation: neither its prompts nor its random numbers chose who is confirmed."""
        return confirmation_draws(self.config)

    def remaining(self, study: Study) -> int:
        """Runs of those still racing that nobody has begun; a run that was lost counts until it runs again."""
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return len(self._missing(study)) + len(waiting)

    def ask(self, study: Study, under_way: int, owner: Owner) -> Trial | None:
        """The run of the earliest seed, of the candidate that did best in the search among those."""
        if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            missing = self._missing(study)
            if not missing:
                return None
            seed_index, number, params = missing[0]
            enqueue_run(study, params, number, seed_index)
        return ask_as(study, self.config.space, owner)

    def begin(self, study: Study, folder: Path) -> None:
        """Keep what the untrained model scores on the confirmation's prompts, for runs that fail."""
        facts = StudyFacts(study)
        if facts.untrained is None:
            base = read_untrained(folder)
            assert base is not None, "join the study first"
            judges = {name: judge.by_prompt for name, judge in base.heldout.judges.items()}
            facts.untrained = base.heldout.scores, judges

    def seed(self, trial: Trial) -> int:
        """By the index of the seed: all candidates draw the same random numbers, none of them the search's."""
        return derive_seed(self.config.search.seed, "confirmation", TrialFacts(trial).seed_index)

    def label(self, trial: Trial) -> str:
        """The trial of the search, and the seed."""
        facts = TrialFacts(trial)
        return f"trial {facts.confirms} on fresh seed {facts.seed_index + 1}"

    def _missing(self, study: Study) -> list[tuple[int, int, dict[str, Any]]]:
        """Seed index, trial number and values of the runs to come, in their order."""
        state, known = confirmation_of(study, self.config), _candidates(StudyFacts(study).chosen)
        begun = {
            (known.get(facts.confirms, facts.confirms), facts.seed_index)
            for facts in (TrialFacts(t) for t in study.get_trials(deepcopy=False) if not was_lost(t))
        }
        return [
            (seed_index, c.number, dict(c.params))
            for seed_index in range(state.n_seeds)
            for c in state.racing()
            if (c.number, seed_index) not in begun
        ]


def open_confirmation(study: Study, config: StudyConfig, size: Size | None = None) -> Study:
    """The confirmation of a search, made or gone on with; today's best few join those of earlier times.

    Its size is what the file says, where it leaves that open what pays, and at least `LEAST`, unless it is given.
    """
    if size is None:
        size = config.search.confirmation(trials_worth(study, config), asked=True)
    top = best_trials(study)[: size.top]
    default = baseline_trial(study)
    chosen = [*([default] if default is not None else []), *top]
    opened = optuna.create_study(
        study_name=confirmation_name(config.name),
        storage=study._storage,
        direction="maximize",
        load_if_exists=True,
    )
    facts, measured = StudyFacts(opened), StudyFacts(study).score_std
    before = confirmation_of(opened, config)
    if before.candidates and before.outcome.kind != "unfinished":
        facts.decided = before.n_seeds
    facts.config, facts.n_seeds = config, max(size.seeds, facts.n_seeds or 0)
    facts.score_std = 1.0 if measured is None else measured  # trials of version 0.1.0 knew no other unit
    known = _candidates(facts.chosen)
    numbers = {values_key(facts.chosen[n].params, n): n for n in known.values()}
    scores = {config_key(c.first): c.score for c in tried_configs(study.get_trials(deepcopy=False))}
    today = {
        numbers.get(config_key(t), t.number): Chosen(
            values_of(t),
            scores.get(config_key(t), t.value),
            TrialFacts(t).is_default,
            expectation_of(study, t),
        )
        for t in chosen
    }
    facts.chosen = {**facts.chosen, **today}
    return opened


def read_confirmation(study: Study, config: StudyConfig) -> Confirmation | None:
    """What the confirmation of a search holds; None if there is none.

    Until the runs of more seeds are over, that is what fewer decided, unless a config joined that had none of these.
    """
    opened = confirmation_study(study)
    if opened is None:
        return None
    found, decided = confirmation_of(opened, config), StudyFacts(opened).decided
    if decided is not None and found.outcome.kind == "unfinished":
        before = found.on_first(decided)
        found = found if before.outcome.kind == "unfinished" else before
    return found if any(c.runs for c in found.candidates) else None


def confirmation_of(opened: Study, config: StudyConfig) -> Confirmation:
    """The runs of a confirmation's study, by candidate."""
    facts = StudyFacts(opened)
    by_prompt, by_judge = facts.untrained or ([0.0], {})
    scores, judges = np.array(by_prompt, dtype=float), _arrays(by_judge)
    runs: dict[int, dict[int, Run]] = {}
    known = _candidates(facts.chosen)
    for trial in opened.get_trials(deepcopy=False):
        if trial.state.is_finished() and not was_lost(trial):
            run = _run(trial, scores, judges, config)
            number = TrialFacts(trial).confirms
            runs.setdefault(known.get(number, number), {}).setdefault(run.seed_index, run)
    candidates = [
        Candidate(number, c.is_default, c.params, c.search_score, _in_a_row(runs.get(number, {})), c.expected)
        for number, c in facts.chosen.items()
        if known[number] == number
    ]
    order = sorted(candidates, key=lambda c: (not c.is_default, -(c.search_score or 0.0), c.number))
    return Confirmation(tuple(order), scores, judges, facts.n_seeds or LEAST.seeds, config.search.kl_budget)


def _candidates(chosen: Mapping[int, Chosen]) -> dict[int, int]:
    """Under which number a config races, by all numbers that it was chosen under: once it could be chosen twice."""
    in_order = sorted(chosen.items(), key=lambda item: (not item[1].is_default, item[0]))
    first: dict[str, int] = {}
    return {number: first.setdefault(values_key(c.params, number), number) for number, c in in_order}


def _in_a_row(by_seed: Mapping[int, Run]) -> tuple[Run, ...]:
    """The runs of seeds 0, 1, 2, … up to the first that is missing, so that all configs share their seeds."""
    return tuple(by_seed[seed] for seed in itertools.takewhile(by_seed.__contains__, itertools.count()))


def _arrays(by_judge: Mapping[str, Sequence[float]]) -> dict[str, Scores]:
    """Scores by prompt of each judge."""
    return {name: np.array(values, dtype=float) for name, values in by_judge.items()}


def _run(trial: FrozenTrial, base: Scores, base_judges: Mapping[str, Scores], config: StudyConfig) -> Run:
    ending, facts = ending_of(trial), TrialFacts(trial)
    if ending != "completed":
        return Run(facts.seed_index, ending, base, base_judges, config.search.kl_ceiling)
    seen = facts.heldout
    assert seen is not None, "who completes was scored"
    scores = np.array(seen.scores, dtype=float)
    judges = _arrays({name: judge.by_prompt for name, judge in seen.judges.items()})
    return Run(facts.seed_index, ending, scores, judges, seen.kl, seen.eos_rate)
