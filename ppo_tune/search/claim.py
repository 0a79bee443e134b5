"""A folder for the trials of somebody's own Optuna study: that study's and no other's, for one experiment.

Optuna numbers the trials of every study from 0, and a study may bear any name, in memory or in a store. So who owns
a folder is written into both, the folder and the study.
"""

import hashlib
import uuid
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock
from optuna.study import Study

from ppo_tune.config.block import differences
from ppo_tune.config.blocks import NAME_RULE, StudyConfig
from ppo_tune.data.user_files import as_noted
from ppo_tune.errors import StudyMismatchError
from ppo_tune.files import make_folder, read_json, write_json
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import GROWING
from ppo_tune.search.study_facts import StudyFacts

NOT_OURS = ("name", "search.sampler", "search.pruner")
"""What a study of the user's own decides by itself, beside what may change in any study."""


def claim_folder(parent: Path, study: Study, config: StudyConfig, inputs: Mapping[str, str]) -> Path:
    """The folder of an Optuna study below `parent`, made its own at the first call.

    Raises:
        StudyMismatchError: If the folder belongs to another Optuna study, or this one to another experiment.
        StorageError: If the folder cannot be written.
    """
    folder = make_folder(parent / _folder_name(study.study_name))
    names, facts = StudyFolder(folder), StudyFacts(study)
    record = names.claim
    with FileLock(names.claim_lock):
        owner = read_json(record)["owner"] if record.is_file() else None
        known = facts.claim
        if owner is not None and (known is None or known["owner"] != owner):
            raise StudyMismatchError(
                f"{folder} holds the trials of another Optuna study of the name {study.study_name!r}; name this "
                "one otherwise, or choose another `out`"
            )
        experiment = {**config.model_dump(mode="json"), "content": dict(inputs)}
        if known is None:
            known = {"owner": uuid.uuid4().hex, "experiment": experiment}
            facts.claim = known
        noted = {**experiment, "content": as_noted(inputs, known["experiment"]["content"])}
        changed = differences(known["experiment"], noted, ignored=(*GROWING, *NOT_OURS))
        if changed:
            raise StudyMismatchError(
                f"Optuna study {study.study_name!r} was begun with another experiment; its trials cannot be "
                "compared:\n" + "\n".join(changed)
            )
        if owner is None:
            write_json(record, {"owner": known["owner"], "optuna_study": study.study_name})
    return folder


def _folder_name(study_name: str) -> str:
    """The study's name where it can be a folder's, else a hash of it."""
    if NAME_RULE.fullmatch(study_name):
        return study_name
    return hashlib.sha256(study_name.encode()).hexdigest()[:32]
