"""What a copy of a study needs before Optuna's dashboard shows it: feasibility, and notes that name the winner.

optuna-dashboard 0.21 looks for constraints under the key of Optuna 4, so without it every trial counts as feasible. Its
card "Best Trial" heeds no constraint at all, which only a note can say. Nothing of this is written to a store itself.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from optuna.study import Study

from ppo_tune.config.blocks import StudyConfig
from ppo_tune.search.results import baseline_trial
from ppo_tune.search.verdict import Verdict

OLD_KEY = "constraints"
"""Under which Optuna 4 kept all constraints of a trial as a list; Optuna 5 keeps each under `constraints:<name>`."""


def add_constraints(file: Path) -> None:
    """Repeat constraints in a copy, an SQLite file, as the dashboard reads them.

    Optuna itself refuses to change a trial that has ended, and remembers those it has read: open the study afterwards.
    """
    with closing(sqlite3.connect(file)) as copy, copy:
        copy.execute(
            "INSERT OR IGNORE INTO trial_system_attributes (trial_id, key, value_json) SELECT trial_id, ?, "
            "'[' || value_json || ']' FROM trial_system_attributes WHERE key LIKE ? || ':%'",
            (OLD_KEY, OLD_KEY),
        )


def add_notes(study: Study, config: StudyConfig, verdict: Verdict) -> None:
    """Say on the pages of study, winner and default what each is.

    Args:
        study: Opened from a copy.
        config: The experiment.
        verdict: What the study says.
    """
    from optuna_dashboard import save_note
    from optuna_dashboard._note import save_note_with_version

    said = " ".join([verdict.sentence, verdict.advice]).strip()
    save_note(study, f"**{said}**\n\n{what_it_ignores(config, verdict)}")
    default = baseline_trial(study)
    notes = {} if default is None else {default.number: "the default config"}
    if verdict.trial is not None:
        notes[verdict.trial] = verdict.sentence
    for trial in study.get_trials(deepcopy=False):
        if trial.number in notes:
            save_note_with_version(study._storage, study._study_id, trial._trial_id, 1, notes[trial.number])


def what_it_ignores(config: StudyConfig, verdict: Verdict) -> str:
    """What the dashboard's best trial and importances leave out, and which trial is ours."""
    budget = config.search.kl_budget
    ours = (
        "there is none within it"
        if verdict.trial is None
        else f"{name_of_best(verdict)} is trial {verdict.trial}"
    )
    return (
        f"The dashboard's best trial ignores the KL budget of {budget:g} nats and fresh seeds: {ours}. Its importances "
        "count completed trials alone and say nothing of noise; the report's do."
    )


def name_of_best(verdict: Verdict) -> str:
    """What the trial to go on with is called."""
    return "the winner" if verdict.confirmed else "the best so far within it"
