"""The study's store: made once, opened by every worker, refused when the experiment has changed."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ppo_tune.config.blocks import StudyConfig, check_name, differences
from ppo_tune.data.user_files import as_noted
from ppo_tune.errors import MissingExtraError, StorageError, StudyMismatchError
from ppo_tune.search.address import is_sqlite, parse, public, sqlite_file, sqlite_url, without_secrets
from ppo_tune.search.endings import STATES, was_lost
from ppo_tune.versions import versions

BUSY_SECONDS = 60
"""How long to wait for another process to let go of an SQLite file."""

GROWING = (
    "search.n_trials", "search.train_episodes", "search.pack", "search.log", "search.confirm_top",
    "search.confirm_seeds", "model.compile",
)  # fmt: skip
"""What may change between two runs of one study: it alters no trial."""

IDENTITY = ("baseline", "confirms", "seed_index")
"""What a trial is in its study; stays when it runs again under another number."""


def run_folder(out: Path, study_name: str) -> Path:
    """Where a study keeps its store and its trials' files."""
    return out / "runs" / study_name


def storage_url(out: Path, study_name: str) -> str:
    """The store of a study that names none: SQLite beside its trials."""
    return sqlite_url(run_folder(out, study_name) / "study.db")


def confirmation_name(study_name: str) -> str:
    """The name of a study's confirmation in the store; no study file can be called so."""
    return f"{study_name}/confirmation"


def create_study(config: StudyConfig, url: str, inputs: Mapping[str, str]) -> Study:
    """Open a study, or make it with the default config as trial 0.

    Args:
        config: The experiment.
        url: Of the store.
        inputs: Hashes of the files that the experiment depends on.

    Returns:
        The study; a new one holds one waiting trial.

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
        study.set_user_attr("config", config.model_dump(mode="json"))  # what may grow has perhaps grown
        study.set_user_attr("inputs", dict(inputs))
        return study
    study.set_user_attr("config", config.model_dump(mode="json"))
    study.set_user_attr("inputs", dict(inputs))
    study.set_user_attr("versions", versions())
    study.enqueue_trial(config.baseline, user_attrs={"baseline": True})
    return study


def load_study_from(url: str, study_name: str) -> Study:
    """Open a study that exists.

    Raises:
        StorageError: If there is no such store or study.
    """
    file = sqlite_file(url)
    if file is not None and not file.is_file():
        raise StorageError(f"there is no study {study_name!r} at {file}; start it with `ppo-tune search`")
    storage = _open(url)
    try:
        return optuna.load_study(study_name=study_name, storage=storage)
    except KeyError:
        names = ", ".join(sorted(optuna.get_all_study_names(storage))) or "none"
        raise StorageError(f"there is no study {study_name!r} in that store; it holds: {names}") from None


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
    if "config" not in study.user_attrs:
        raise StudyMismatchError(f"study {study.study_name!r} was not made by ppo-tune")
    return StudyConfig.model_validate_json(json.dumps(study.user_attrs["config"]))


def remaining(study: Study, n_trials: int) -> int:
    """How many trials of the total are still to be given out."""
    taken = (
        not was_lost(trial) and trial.state != TrialState.WAITING
        for trial in study.get_trials(deepcopy=False)
    )
    return max(n_trials - sum(taken), 0)


def close_lost_trials(study: Study, ending: str = "lost") -> list[int]:
    """Tell the trials that this machine left running as lost, and queue each again with its values.

    Only the process that owns the search may call it, when none of its workers is running those trials.

    Returns:
        Their numbers.
    """
    closed = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get("host", platform.node()) == platform.node():
            give_back(study, trial, ending)
            closed.append(trial.number)
    return closed


def give_back(study: Study, trial: FrozenTrial, ending: str) -> None:
    """End a running trial as lost and queue its values under another number, with the same random numbers."""
    set_trial_attr(study, trial, "ending", ending)
    study.tell(trial.number, state=STATES[ending], skip_if_finished=True)
    kept = {name: trial.user_attrs[name] for name in IDENTITY if name in trial.user_attrs}
    origin = trial.user_attrs.get("rerun_of", trial.number)
    attempts = trial.user_attrs.get("attempt", 1) + (ending == "lost")
    study.enqueue_trial(trial.params, user_attrs={**kept, "rerun_of": origin, "attempt": attempts})


def set_trial_attr(study: Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Note something on a trial that another process began."""
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def _open(url: str) -> RDBStorage:
    engine = {"connect_args": {"timeout": BUSY_SECONDS}} if is_sqlite(parse(url)) else {}
    try:
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True, **engine})
    except ImportError as error:
        if "psycopg" in str(error):
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
    stored = study.user_attrs.get("inputs", {})
    before = {**stored_config(study).model_dump(mode="json"), "content": stored}
    now = {**config.model_dump(mode="json"), "content": as_noted(inputs, stored)}
    adapts = config.ppo.kl_target is not None or "kl_target" in config.space
    ignored = GROWING if adapts else (*GROWING, "ppo.kl_horizon")  # its default was once a number
    changed = differences(before, now, ignored=ignored)
    if changed:
        raise StudyMismatchError(
            f"study {config.name!r} exists and was made by another experiment; its trials cannot be compared:\n"
            + "\n".join(changed)
            + "\nput the file back as it was, or give it another name to start a new study"
        )


def _first_line(error: Exception, url: str) -> str:
    cause = error.__cause__ or error
    said = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    return without_secrets(said, url)
