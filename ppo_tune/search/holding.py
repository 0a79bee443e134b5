"""Who has a study's folder for itself on this machine: one search at a time, or whoever deletes or renames it."""

import contextlib
import os
from collections.abc import Iterator

from filelock import FileLock, Timeout

from ppo_tune.errors import StorageError
from ppo_tune.search.folders import StudyFolder


@contextlib.contextmanager
def only_search(folder: StudyFolder, name: str) -> Iterator[None]:
    """Hold the study's lock, so that two searches of it on one machine do not fight."""
    owner, lock = folder.pid, FileLock(folder.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = owner.read_text(encoding="utf-8") if owner.is_file() else "unknown"
        raise StorageError(
            f"another search of study {name!r} is running in {folder.path} (process {pid}); wait for it, or "
            "stop it first"
        ) from None
    try:
        owner.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
