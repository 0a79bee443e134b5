"""What a copy of a study needs before Optuna's dashboard shows it: feasibility, and notes that name the winner.

optuna-dashboard 0.21 looks for constraints under the key of Optuna 4, so without it every trial counts as feasible. Its
card "Best Trial" heeds no constraint at all, which only a note can say. Nothing of this is written to a store itself.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.study import Study

from ppo_tune.config.study import StudyConfig, check_name
from ppo_tune.errors import MissingExtraError, PPOTuneError
from ppo_tune.search.address import sqlite_file
from ppo_tune.search.facts import StudyFacts
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.results import baseline_trial
from ppo_tune.search.snapshot import snapshot
from ppo_tune.search.storage import load_study_from, storage_url
from ppo_tune.search.verdict import Verdict, read_verdict
from ppo_tune.serving import LocalServer, local_server

OLD_KEY = "constraints"
"""Under which Optuna 4 kept all constraints of a trial as a list; Optuna 5 keeps each under `constraints:<name>`."""


@dataclass(frozen=True)
class Dashboard:
    """A dashboard that waits to be served.

    Attributes:
        server: Serves it with `serve_forever`, to this machine only.
        page: Address of the study's page.
        ignored: What the dashboard's best trial leaves out; empty for a study that ppo-tune did not make.
    """

    server: LocalServer
    page: str
    ignored: str


@contextmanager
def study_dashboard(
    name: str, *, live: bool = False, port: int = 8080, storage: str | None = None, out: Path | str = "."
) -> Iterator[Dashboard]:
    """Optuna's dashboard of a study, as a context: what it needs is gone at the end.

    Args:
        name: The study's.
        live: Show the store itself, which the page can change, instead of a copy.
        port: Where the server listens; 0 takes a free one.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        out: Folder that holds `runs/<study>/`.

    Raises:
        PPOTuneError: If optuna-dashboard is not installed, there is no such study, its store cannot be copied, or the
            port cannot be used.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise MissingExtraError("optuna-dashboard", "dashboard") from None
    check_name(name)
    url = storage or storage_url(Path(out), name)
    if not live and sqlite_file(url) is None:
        raise PPOTuneError("only an SQLite store can be copied; add --live to serve the store itself")
    with ExitStack() as stack:
        shown = url if live else stack.enter_context(snapshot(url))
        copy = sqlite_file(shown)
        if shown != url and copy is not None:  # never the store itself
            add_constraints(copy)
        study = load_study_from(shown, name)
        ignored = _annotate(study, Path(out), live=live)
        server = stack.enter_context(local_server(port, wsgi(study._storage)))
        yield Dashboard(server, server.page(f"/dashboard/studies/{study._study_id}"), ignored)


def _annotate(study: Study, out: Path, *, live: bool) -> str:
    """Put notes on a copy; returns what the dashboard's best trial leaves out, nothing for a study not of ours."""
    config = StudyFacts(study).config
    if config is None:
        return ""
    verdict = read_verdict(study, config, StudyFolder.of(out, config.name).path)
    if not live:
        add_notes(study, config, verdict)
    return what_it_ignores(config, verdict)


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
    """Say on the pages of study, winner and default what each is; the study is opened from a copy."""
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
    best = "the winner" if verdict.confirmed else "the best so far within it"
    ours = "there is none within it" if verdict.trial is None else f"{best} is trial {verdict.trial}"
    return (
        f"The dashboard's best trial ignores the KL budget of {config.search.kl_budget:g} nats and fresh seeds: "
        f"{ours}. Its importances count completed trials alone and say nothing of noise; the report's do."
    )
