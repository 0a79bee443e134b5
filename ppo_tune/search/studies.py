"""Studies as a whole: what one consists of, deleting one, and giving one another name."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optuna.study import Study
from optuna.trial import TrialState

from ppo_tune.config.study import check_name
from ppo_tune.config.writing import renamed_text
from ppo_tune.errors import ConfigError, Problem, StorageError
from ppo_tune.files import write_text
from ppo_tune.search.address import sqlite_file, sqlite_url
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.holding import only_search
from ppo_tune.search.results import was_lost
from ppo_tune.search.storage import (
    confirmation_study,
    delete_in_store,
    has_study,
    load_study_from,
    open_study,
    rename_in_store,
    storage_url,
    stored_config,
    study_names,
    trials_elsewhere,
)


@dataclass(frozen=True)
class StudyContents:
    """What a study consists of.

    Attributes:
        study: Its name.
        trials: How many have begun; one that was cut off and ran again counts once.
        confirmation_runs: Of its confirmation, likewise.
        folder: Holds its files; None where there is none of its own.
        size: Of what the folder holds, in bytes.
        report: The folder of its report, which is no part of it; None where there is none.
    """

    study: str
    trials: int
    confirmation_runs: int
    folder: Path | None
    size: int
    report: Path | None


def study_contents(name: str, *, storage: str | None = None, out: Path | str = ".") -> StudyContents:
    """What a study consists of; changes nothing.

    Args:
        name: The study's.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        out: Folder that holds `runs/<study>/`.

    Raises:
        PPOTuneError: If there is no such study, or it was made by something else than ppo-tune.
    """
    study, _ = open_study(name, storage=storage, out=out)
    confirmation, report = confirmation_study(study), Path(out) / "reports" / name
    folder = _own_folder(name, storage, Path(out), called=name)
    return StudyContents(
        study=name,
        trials=_begun(study),
        confirmation_runs=0 if confirmation is None else _begun(confirmation),
        folder=folder,
        size=0 if folder is None else _size(folder),
        report=report if report.is_dir() else None,
    )


def delete_study(name: str, *, storage: str | None = None, out: Path | str = ".") -> StudyContents:
    """Delete a study for good: from its store, and with its folder; nothing outside of that folder.

    Whatever ends it before its end, the same call goes on with it.

    Args:
        name: The study's.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        out: Folder that holds `runs/<study>/`.

    Returns:
        What it consisted of.

    Raises:
        PPOTuneError: If there is no such study, it is being searched, or something else than ppo-tune made it.
    """
    study, _ = open_study(name, storage=storage, out=out)
    found, folder = study_contents(name, storage=storage, out=out), StudyFolder.of(Path(out), name)
    with _held(study, folder):
        if storage is not None:
            delete_in_store(storage, name)
        if found.folder is not None:
            _remove(folder)
    return found


def rename_study(
    name: str, new_name: str, *, storage: str | None = None, out: Path | str = "."
) -> Path | None:
    """Give a study another name: in its store, to its folder and to the study file there.

    Its report keeps the name by which it was written. Whatever ends this before its end, the same call goes on with it.

    Args:
        name: The study's.
        new_name: Which no other study has.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        out: Folder that holds `runs/<study>/`.

    Returns:
        Its folder; None where there is none of its own.

    Raises:
        ConfigError: If the name cannot be one.
        PPOTuneError: If there is no such study, one of the new name, or it is being searched.
    """
    check_name(new_name)
    if new_name == name:
        raise ConfigError([Problem(name, "is its name already; give another one")])
    url = storage or storage_url(Path(out), check_name(name))
    folder, target = StudyFolder.of(Path(out), name), StudyFolder.of(Path(out), new_name)
    begun = folder.path.is_dir() and has_study(url, new_name) and not has_study(url, name)
    study = load_study_from(url, new_name if begun else name)
    stored_config(study)  # it is one of ours
    if target.path.exists() or (not begun and has_study(url, new_name)):
        raise StorageError(
            f"there is a study {new_name!r} already; give another name, or delete that one first"
        )
    own = _own_folder(name, storage, Path(out), called=new_name if begun else name)
    with _held(study, folder):
        rename_in_store(url, name, new_name)
        if own is None:
            return None
        asked = folder.written(name)
        if asked.is_file():
            write_text(
                folder.written(new_name), renamed_text(asked.read_text(encoding="utf-8"), name, new_name)
            )
        for old in (asked, folder.pid):
            old.unlink(missing_ok=True)
        folder.path.rename(target.path)
    return target.path


def _own_folder(name: str, storage: str | None, out: Path, *, called: str) -> Path | None:
    """The folder of a study; None where there is none, or it belongs to another study of the name.

    The study is `called` so in the store.

    Raises:
        StorageError: If it is a link, or its store holds other studies too.
    """
    folder = StudyFolder.of(out, name)
    file = None if storage is None else sqlite_file(storage)
    others_own = folder.store.is_file() and (file is None or not _is_same(file, folder.store))
    if not folder.path.is_dir() or (storage is not None and others_own):
        return None
    if folder.path.is_symlink():
        raise StorageError(
            f"{folder.path} is a link, and nothing outside of a study's own folder is touched; put the folder itself "
            "in its place first"
        )
    if folder.store.is_file():
        others = [other for other in study_names(storage=sqlite_url(folder.store)) if other != called]
        if others:
            raise StorageError(
                f"{folder.store} holds other studies too, which would lose their store: {', '.join(others)}"
            )
    return folder.path


def _is_same(file: Path, store: Path) -> bool:
    return file.is_file() and file.samefile(store)


@contextlib.contextmanager
def _held(study: Study, folder: StudyFolder) -> Iterator[None]:
    """A study that nobody searches, for this block.

    Raises:
        StorageError: If somebody does.
    """
    alone = only_search(folder, study.study_name) if folder.path.is_dir() else contextlib.nullcontext()
    with alone:
        search = folder.identity() if folder.path.is_dir() else ""
        elsewhere = [
            number for each in _with_confirmation(study) for number in trials_elsewhere(each, search)
        ]
        if elsewhere:
            n = len(elsewhere)
            raise StorageError(
                f"{n} trial{'s' if n > 1 else ''} of study {study.study_name!r} {'are' if n > 1 else 'is'} under way "
                "on another machine; stop the search there first"
            )
        yield


def _with_confirmation(study: Study) -> list[Study]:
    confirmation = confirmation_study(study)
    return [study] if confirmation is None else [study, confirmation]


def _begun(study: Study) -> int:
    """How many trials have begun and were not cut off."""
    trials = study.get_trials(deepcopy=False)
    return sum(trial.state != TrialState.WAITING and not was_lost(trial) for trial in trials)


def _size(folder: Path) -> int:
    """Bytes of all files below a folder; of a link itself, not of what it leads to."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _remove(folder: StudyFolder) -> None:
    """Delete a study's folder, its store last, so that the same call goes on after a kill.

    Raises:
        StorageError: If something in it cannot be deleted.
    """
    last = {folder.store, folder.lock, folder.pid}
    try:
        for path in set(folder.path.iterdir()) - last:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        shutil.rmtree(folder.path)
    except OSError as error:
        raise StorageError(f"{folder.path} cannot be deleted wholly: {error}") from None
