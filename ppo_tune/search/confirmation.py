"""The best few and the default once more, on fresh seeds and on prompts that the search never saw.

The best observed trial of many is partly luck. So after the search its top few and the default config run again,
racing style: seed by seed, and who cannot win any more is left out. They are the trials of a second study in the
same store, `<study>/confirmation`, so that whatever is killed goes on, and several machines can share the work.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ppo_tune.config.blocks import StudyConfig
from ppo_tune.config.methods import NoPrunerConfig
from ppo_tune.data.draws import Draws, confirmation_draws
from ppo_tune.files import read_json
from ppo_tune.search.certainty import Scores
from ppo_tune.search.endings import ending_of, was_lost
from ppo_tune.search.plan import Plan
from ppo_tune.search.race import Candidate, Confirmation, Run
from ppo_tune.search.results import baseline_trial, best_trials
from ppo_tune.search.storage import confirmation_name
from ppo_tune.seeding import derive_seed


class ConfirmationPlan(Plan):
    """Run each candidate on one fresh seed after the other, as long as it can win.

    Args:
        config: The study.
        workers: How many workers share it.
    """

    def __init__(self, config: StudyConfig, workers: int = 1) -> None:
        search = config.search.model_copy(update={"milestones": 1, "pruner": NoPrunerConfig(name="none")})
        super().__init__(config, workers)
        self.config = config.model_copy(update={"search": search})
        self.study_name = confirmation_name(config.name)

    @property
    def draws(self) -> Draws:
        """Those of a confirmation: neither its prompts nor its random numbers chose who is confirmed."""
        return confirmation_draws(self.study_config)

    def remaining(self, study: Study) -> int:
        """Runs of those still racing that nobody has begun; a run that was lost counts until it runs again."""
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return len(self._missing(study)) + len(waiting)

    def ask(self, study: Study, under_way: int) -> Trial | None:
        """The run of the earliest seed, of the candidate that did best in the search among those."""
        if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            missing = self._missing(study)
            if not missing:
                return None
            seed_index, number, params = missing[0]
            study.enqueue_trial(params, user_attrs={"confirms": number, "seed_index": seed_index})
        return study.ask(self.config.space.distributions())

    def begin(self, study: Study, folder: Path) -> None:
        """Keep what the untrained model scores on the confirmation's prompts, for runs that fail."""
        if "base" not in study.user_attrs:
            base = read_json(folder / "base.json")
            study.set_user_attr("base", {"scores": base["scores"], "golds": base["golds"]})

    def seed(self, trial: Trial) -> int:
        """By the index of the seed: all candidates draw the same random numbers, none of them the search's."""
        return derive_seed(self.config.search.seed, "confirmation", trial.user_attrs["seed_index"])

    def label(self, trial: Trial) -> str:
        """The trial of the search, and the seed."""
        return f"trial {trial.user_attrs['confirms']} on fresh seed {trial.user_attrs['seed_index'] + 1}"

    def pruner(self) -> BasePruner:
        """Nobody: the race drops whole candidates."""
        return NopPruner()

    def _missing(self, study: Study) -> list[tuple[int, int, dict[str, Any]]]:
        """Seed index, trial number and values of the runs to come, in their order."""
        state = confirmation_of(study, self.config)
        begun = {
            (t.user_attrs["confirms"], t.user_attrs["seed_index"])
            for t in study.get_trials(deepcopy=False)
            if not was_lost(t)
        }
        return [
            (seed_index, c.number, dict(c.params))
            for seed_index in range(state.n_seeds)
            for c in state.racing()
            if (c.number, seed_index) not in begun
        ]


def open_confirmation(study: Study, config: StudyConfig) -> Study:
    """The confirmation of a study, made or gone on with; today's best few join those of earlier times.

    Args:
        study: The search.
        config: The experiment.
    """
    top = best_trials(study)[: config.search.confirm_top]
    default = baseline_trial(study)
    chosen = [*([default] if default is not None else []), *top]
    opened = optuna.create_study(
        study_name=confirmation_name(config.name),
        storage=study._storage,
        direction="maximize",
        load_if_exists=True,
    )
    opened.set_user_attr("config", config.model_dump(mode="json"))
    opened.set_user_attr("score_std", study.user_attrs.get("score_std", 1.0))
    known: dict[str, Any] = dict(opened.user_attrs.get("candidates", {}))
    for trial in chosen:
        known[str(trial.number)] = {
            "params": trial.params,
            "search_score": trial.value,
            "is_default": bool(trial.user_attrs.get("baseline")),
        }
    opened.set_user_attr("candidates", known)
    opened.set_user_attr("seeds", config.search.confirm_seeds)
    return opened


def read_confirmation(study: Study, config: StudyConfig) -> Confirmation | None:
    """What the confirmation of a study holds; None if there is none.

    Args:
        study: The search.
        config: The experiment.
    """
    try:
        opened = optuna.load_study(study_name=confirmation_name(study.study_name), storage=study._storage)
    except KeyError:
        return None
    found = confirmation_of(opened, config)
    return found if any(c.runs for c in found.candidates) else None


def confirmation_of(opened: Study, config: StudyConfig) -> Confirmation:
    """The runs of a confirmation's study, by candidate."""
    base = opened.user_attrs.get("base", {})
    scores, golds = np.array(base.get("scores", [0.0]), dtype=float), _floats(base.get("golds"))
    runs: dict[int, dict[int, Run]] = {}
    for trial in opened.get_trials(deepcopy=False):
        if trial.state.is_finished() and not was_lost(trial):
            of_config = runs.setdefault(trial.user_attrs["confirms"], {})
            of_config.setdefault(trial.user_attrs["seed_index"], _run(trial, scores, golds, config))
    candidates = [
        Candidate(number=int(number), runs=_in_a_row(runs.get(int(number), {})), **facts)
        for number, facts in opened.user_attrs.get("candidates", {}).items()
    ]
    order = sorted(candidates, key=lambda c: (not c.is_default, -(c.search_score or 0.0), c.number))
    n_seeds = opened.user_attrs.get("seeds", config.search.confirm_seeds)
    return Confirmation(tuple(order), scores, golds, n_seeds, config.search.kl_budget)


def _in_a_row(by_seed: Mapping[int, Run]) -> tuple[Run, ...]:
    """The runs of seeds 0, 1, 2, … up to the first that is missing, so that all configs share their seeds."""
    found: list[Run] = []
    while len(found) in by_seed:
        found.append(by_seed[len(found)])
    return tuple(found)


def _floats(values: list[float | None] | None) -> Scores | None:
    """Numbers as an array; None where there are none."""
    return None if values is None or None in values else np.array(values, dtype=float)


def _run(trial: FrozenTrial, base: Scores, base_golds: Scores | None, config: StudyConfig) -> Run:
    ending, attrs = ending_of(trial), trial.user_attrs
    completed = ending == "completed"
    return Run(
        seed_index=attrs["seed_index"],
        ending=ending,
        scores=np.array(attrs["scores"], dtype=float) if completed else base,
        golds=_floats(attrs["golds"]) if completed else base_golds,
        kl=attrs["heldout/kl_per_sequence"] if completed else config.search.kl_ceiling,
        eos_rate=attrs.get("heldout/eos_rate") if completed else None,
    )
