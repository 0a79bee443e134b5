"""The study's store: made once, opened by every worker, refused when the experiment has changed."""

import contextlib
import difflib
import platform
from collections.abc import Mapping
from pathlib import Path

import optuna
import psutil
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from ppo_tune.calling import command
from ppo_tune.config.block import differences
from ppo_tune.config.space import Space
from ppo_tune.config.study import StudyConfig, check_name
from ppo_tune.data.user_files import RECIPE, as_named, as_noted, with_names_that_stay
from ppo_tune.errors import MissingExtraError, StorageError, StudyMismatchError
from ppo_tune.search.address import is_sqlite, parse, public, sqlite_file, sqlite_url, without_secrets
from ppo_tune.search.facts import (
    Owner,
    StudyFacts,
    TrialFacts,
    WarmStart,
    begin_trial,
    enqueue_again,
    enqueue_default,
    enqueue_earlier,
    pid_namespace,
    write_ending,
)  # fmt: skip
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.results import STATES
from ppo_tune.versions import versions

BUSY_SECONDS = 60
"""How long to wait for another process to let go of an SQLite file."""

GROWING = (
    "search.n_trials", "search.max_episodes", "search.max_seconds", "search.stop_when_no_gain",
    "search.train_episodes", "search.pack", "search.log", "search.confirm_top", "search.confirm_seeds",
    "model.compile",
)  # fmt: skip
"""What may change between two runs of one study: it alters no trial."""

OF_A_FILE = "put the file, and what --set gave, back as it was, or give it another name"
"""What whoever changed a study file can do."""


def storage_url(out: Path, study_name: str) -> str:
    """The store of a study that names none: SQLite beside its trials."""
    return sqlite_url(StudyFolder.of(out, study_name).store)


def confirmation_name(study_name: str) -> str:
    """The name of a study's confirmation in the store; no study file can be called so."""
    return f"{study_name}/confirmation"


def confirmation_study(study: Study) -> Study | None:
    """The confirmation of a study, another study of the same store; None before it was made."""
    try:
        return optuna.load_study(study_name=confirmation_name(study.study_name), storage=study._storage)
    except KeyError:
        return None


def create_study(
    config: StudyConfig, url: str, inputs: Mapping[str, str], taken: WarmStart | None = None
) -> Study:
    """Open a study, or make it with the default config as trial 0, which waits.

    Args:
        config: The experiment.
        url: Of the store.
        inputs: Hashes of files.
        taken: Of an earlier study; its configs wait behind the default.

    Raises:
        StorageError: If the store cannot be opened.
        StudyMismatchError: If the study was made by another experiment; says what differs.
    """
    storage = _open(url)
    try:
        study = optuna.create_study(study_name=config.name, storage=storage, direction="maximize")
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=config.name, storage=storage)
        check_same(study, config, inputs)
        facts = StudyFacts(study)
        # What may grow has perhaps grown, and files may have been named from elsewhere.
        facts.config, facts.inputs = with_names_that_stay(config, stored_config(study)), inputs
        return study
    facts = StudyFacts(study)
    facts.config, facts.inputs, facts.versions = config, inputs, versions()
    enqueue_default(study, config.baseline)
    if taken is not None:
        enqueue_earlier(study, taken)
    return study


def study_names(*, storage: str | None = None, out: Path | str = ".") -> list[str]:
    """The studies that there are, in order, without their confirmations.

    Args:
        storage: URL of an Optuna store; None looks for SQLite beside the trials.
        out: Folder that holds `runs/<study>/`.

    Raises:
        StorageError: If the store cannot be opened.
    """
    if storage is not None:
        names = optuna.get_all_study_names(_open(storage))
        return sorted(name for name in names if not name.endswith(confirmation_name("")))
    return [folder.path.name for folder in StudyFolder.all(Path(out))]


def rename_in_store(url: str, study_name: str, new_name: str) -> None:
    """Give a study and its confirmation another name, both at once; Optuna has no way to do so.

    What is killed meanwhile is mended by the same call.
    """
    storage = _open(url)
    known = optuna.get_all_study_names(storage)
    names = {study_name: new_name, confirmation_name(study_name): confirmation_name(new_name)}
    for name in names.keys() & set(known):
        facts = StudyFacts(optuna.load_study(study_name=name, storage=storage))
        facts.config = stored_config(facts.study).model_copy(update={"name": new_name})
    with storage.engine.begin() as connection:
        for old, new in names.items():
            row = {"old": old, "new": new}
            connection.execute(text("UPDATE studies SET study_name = :new WHERE study_name = :old"), row)
    storage.engine.dispose()


def delete_in_store(url: str, study_name: str) -> None:
    """Delete a study and its confirmation."""
    storage = _open(url)
    for name in (confirmation_name(study_name), study_name):  # the study last, for by it one asks again
        if name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=name, storage=storage)


def has_study(url: str, study_name: str) -> bool:
    """Whether a store exists and holds a study."""
    file = sqlite_file(url)
    if file is not None and not file.is_file():
        return False
    return study_name in optuna.get_all_study_names(_open(url))


def forget_unbegun(url: str, study_name: str) -> bool:
    """Delete a study of which no trial ever began; says whether there is none of the name now."""
    if not has_study(url, study_name):
        return True
    study = load_study_from(url, study_name)
    if any(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False)):
        return False
    optuna.delete_study(study_name=study_name, storage=study._storage)
    return True


def load_study_from(url: str, study_name: str) -> Study:
    """Open a study that exists.

    Raises:
        StorageError: If there is no such store or study.
    """
    file = sqlite_file(url)
    if file is not None and not file.is_file():
        start = f"start it with {command('search')}"
        near = difflib.get_close_matches(study_name, _beside(file), n=1)
        way_out = f"did you mean {near[0]!r}? Else {start}" if near else start
        raise StorageError(f"there is no study {study_name!r} at {file}; {way_out}")
    storage = _open(url)
    try:
        return optuna.load_study(study_name=study_name, storage=storage)
    except KeyError:
        names = [
            name for name in optuna.get_all_study_names(storage) if not name.endswith(confirmation_name(""))
        ]
        near = difflib.get_close_matches(study_name, names, n=1)
        holds = f"{', '.join(sorted(names)) or 'none'}{f'; did you mean {near[0]!r}?' if near else ''}"
        raise StorageError(f"there is no study {study_name!r} in that store; it holds: {holds}") from None


def _beside(store: Path) -> list[str]:
    """The studies whose folders lie beside that of a store."""
    runs = store.parent.parent
    return [folder.path.name for folder in StudyFolder.all(runs.parent)] if runs.name == "runs" else []


def open_study(name: str, *, storage: str | None = None, out: Path | str = ".") -> tuple[Study, StudyConfig]:
    """Open a study by its name.

    Args:
        name: The study's.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        out: Folder that holds `runs/<study>/`.

    Returns:
        Optuna's object, and the experiment that it was made by.

    Raises:
        ConfigError: If the name cannot be one.
        StorageError: If there is no such store or study.
        StudyMismatchError: If the study was made by something else than ppo-tune.
    """
    check_name(name)
    study = load_study_from(storage or storage_url(Path(out), name), name)
    return study, stored_config(study)


def stored_config(study: Study) -> StudyConfig:
    """The experiment that a study was made by.

    Raises:
        StudyMismatchError: If it was made by something else than ppo-tune.
    """
    config = StudyFacts(study).config
    if config is None:
        raise StudyMismatchError(f"study {study.study_name!r} was not made by ppo-tune")
    return config


def ask_as(study: Study, space: Space, owner: Owner) -> Trial:
    """The next trial, as `Study.ask` gives it, but that it has its owner from the moment in which it runs.

    Optuna's own would let it run without one while the sampler proposes its values, and whoever died meanwhile would
    leave a trial that nobody may give back.
    """
    study._thread_local.cached_all_trials = None  # as `Study.ask` does, so that the sampler sees what is new
    trial = Trial(study, begin_trial(study, owner))
    space.suggest(trial)
    return trial


def running_of(study: Study, owner: Owner) -> list[FrozenTrial]:
    """The trials that one incarnation of a worker has under way; those that it left if it has ended."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if TrialFacts(trial).owner == owner]


def close_lost_trials(study: Study, search: str, ending: str = "lost") -> list[int]:
    """Tell what the searches of one folder left running as lost, and queue each again; returns their numbers.

    Only the process that holds the folder's lock may call it, when no worker is running: those of earlier searches
    have ended with them.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    left = [trial for trial in running if _is_left(TrialFacts(trial), search)]
    return [trial.number for trial in left if give_back(study, trial, ending)]


def trials_elsewhere(study: Study, search: str) -> list[int]:
    """The running trials that `close_lost_trials` leaves alone: those of other machines."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial.number for trial in running if not _is_left(TrialFacts(trial), search)]


def _is_left(facts: TrialFacts, search: str) -> bool:
    """Whether a running trial is one of the folder's, or its process was of this machine and is dead.

    Version 0.1.0, which knew no owners, noted the name of the machine alone.
    """
    if facts.owner is not None and facts.owner.search == search:
        return True
    is_here = facts.host == platform.node() if facts.owner is None else facts.pid_namespace == pid_namespace()
    return is_here and facts.pid is not None and not psutil.pid_exists(facts.pid)


def give_back(study: Study, trial: FrozenTrial, ending: str) -> bool:
    """End a running trial as lost and queue its values under another number, as `end_trial` does and says."""
    was_running = end_trial(study, trial, ending)
    if was_running:
        enqueue_again(study, trial, counts=ending == "lost")
    return was_running


def end_trial(study: Study, trial: FrozenTrial, ending: str, reason: str | None = None) -> bool:
    """End a running trial whose worker cannot; says whether it did, for another process may have ended it meanwhile."""
    with contextlib.suppress(UpdateFinishedTrialError):
        write_ending(study, trial, ending, reason)
        return study._storage.set_trial_state_values(trial._trial_id, STATES[ending])
    return False


def _open(url: str) -> RDBStorage:
    engine = {"connect_args": {"timeout": BUSY_SECONDS}} if is_sqlite(parse(url)) else {}
    try:
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True, **engine})
    except ImportError as error:
        if getattr(error.__cause__ or error, "name", None) == "psycopg":  # Optuna says it in words of its own
            raise MissingExtraError("psycopg", "postgres") from None
        raise StorageError(f"storage {public(url)}: {_first_line(error, url)}") from None
    except (SQLAlchemyError, StorageInternalError, RuntimeError, LookupError, ValueError) as error:
        # Optuna fills in {SCHEMA_VERSION}, and stumbles over other braces.
        raise StorageError(f"storage {public(url)} cannot be opened: {_first_line(error, url)}") from None


def check_same(study: Study, config: StudyConfig, inputs: Mapping[str, str]) -> None:
    """Make sure that a study was made by this experiment, and that its files hold what they held.

    Raises:
        StudyMismatchError: If not; says what differs.
    """
    before_config, stored = as_named(stored_config(study), StudyFacts(study).inputs, config, inputs)
    before = {**before_config.model_dump(mode="json"), "content": stored}
    now = {**config.model_dump(mode="json"), "content": as_noted(inputs, stored)}
    adapts = config.ppo.kl_target is not None or "kl_target" in config.space
    ignored = GROWING if adapts else (*GROWING, "ppo.kl_horizon")  # its default was once a number
    changed = differences(before, now, ignored=ignored)
    if changed:
        way_out = f"{OF_A_FILE} to start a new study"
        if any(line.startswith(f"  content.{RECIPE}:") for line in changed):
            ours, torch = (f"{name} {StudyFacts(study).versions.get(name)}" for name in ("ppo-tune", "torch"))
            way_out = "the embedded task has changed since: give the file another name to start a new study"
            if {ours, torch} != {f"{name} {versions()[name]}" for name in ("ppo-tune", "torch")}:
                task = f"the embedded task of {ours} and {torch}"
                way_out = f"it was created with {task}: go on with those, or give the file another name"
        raise StudyMismatchError(
            f"study {config.name!r} exists and was made by another experiment; its trials cannot be compared:\n"
            + "\n".join(changed)
            + f"\n{way_out}"
        )


def _first_line(error: Exception, url: str) -> str:
    cause = error.__cause__ or error
    said = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    return without_secrets(said, url)
