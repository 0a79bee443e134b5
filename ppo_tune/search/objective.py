"""The objective for a plain Optuna study of the user's own: one trial after the other, in the process that asks.

Optuna numbers the trials of every study from 0, and a study may bear any name, in memory or in a store. So who owns
a folder of trials is written into both, the folder and the study.
"""

import hashlib
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.study import Study
from optuna.trial import Trial

from ppo_tune.config.block import differences
from ppo_tune.config.study import NAME_RULE, StudyConfig
from ppo_tune.data.given import Given
from ppo_tune.data.user_files import as_noted, check_user_files
from ppo_tune.errors import ConfigError, PPOTuneError, Problem, StudyMismatchError, TrialError
from ppo_tune.files import make_folder, read_json, write_json
from ppo_tune.search.facts import StudyFacts
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.results import STATES
from ppo_tune.search.storage import GROWING
from ppo_tune.search.trial_loop import Ending, TrialPack
from ppo_tune.trainer.checks import check_run

NOT_OURS = ("name", "search.sampler", "search.pruner", "search.warm_start")
"""What a study of the user's own decides by itself, beside what may change in any study."""


class Objective:
    """A study's objective for a plain `optuna.Study.optimize`.

    Every Optuna study has a folder of its own, `runs/<config's name>-objective/<Optuna study's name>`; the models
    are loaded when its first trial begins. After any exception or interrupt the next trial may follow.

    Args:
        config: The study; its space is suggested by the trial itself, `log: complement` evenly, for an Optuna study
            knows no such scale. None where its parts are given as objects.
        out: Where trials write their files.
        name: Of the study whose parts are given as objects.
        given: Its parts: `model`, `prompts`, `reward`, `space` and all else that `ppo_tune.tune` takes.

    Raises:
        PPOTuneError: If something that the config names, or an object, cannot be used.

    Example:
        study = optuna.create_study(direction="maximize")
        study.optimize(ppo_tune.Objective(ppo_tune.load_study("search_spaces/quickstart.yaml")), n_trials=20)
        study.optimize(ppo_tune.Objective(model="base", prompts=prompts, reward=score, space=space), n_trials=20)
    """

    def __init__(
        self, config: StudyConfig | None = None, out: Path | str = ".", *, name: str = "tune", **given: Any
    ) -> None:
        if config is None:
            self._given = Given(given, name)  # keeps what only this session has
            config = self._given.write(StudyFolder.of(Path(out), name).given)
        elif given:
            raise ConfigError(
                [Problem(next(iter(given)), "stands beside a config, which says all; keep one")]
            )
        self.config = config
        self.folder = StudyFolder.of(Path(out), f"{config.name}-objective").path
        self.inputs = check_user_files(config).hashes
        check_run(config)
        self.trial_pack: TrialPack | None = None
        self._under_way = threading.Lock()

    def __call__(self, trial: Trial) -> float:
        """Train one trial to its end.

        Raises:
            optuna.TrialPruned: If it was pruned, diverged or passed the KL limit, or breaks a constraint.
            TrialError: If its reward failed or the memory did not suffice.
            PPOTuneError: If something cannot be used, another thread is training a trial, or the folder belongs to
                another Optuna study.
        """
        if not self._under_way.acquire(blocking=False):
            raise PPOTuneError(
                f"trial {trial.number}: a ppo_tune.Objective trains one trial at a time, and another thread is "
                "training one; call `optimize` with n_jobs=1, or let `ppo_tune.run_search` train several in processes"
            )
        try:
            ending = self._train(trial)
        finally:
            self._under_way.release()
        if ending.value is not None:
            return ending.value
        if STATES[ending.name] is optuna.trial.TrialState.PRUNED:
            raise optuna.TrialPruned(ending.reason)
        raise TrialError(f"{ending.name}: {ending.reason}")

    def _train(self, trial: Trial) -> Ending:
        folder = _claim_folder(self.folder, trial.study, self.config, self.inputs)
        if self.trial_pack is None or self.trial_pack.folder.path != folder:
            self.trial_pack = TrialPack(SearchPlan(self.config), folder, places=1)
        params = self.config.space.suggest(trial)
        if broken := self.config.rules.broken(params):
            raise optuna.TrialPruned(
                f"the study's constraint `{broken.text}` does not hold; nothing was trained"
            )
        self.trial_pack.join(trial.study)
        try:
            self.trial_pack.begin(0, trial)
            while not (endings := self.trial_pack.advance()):
                pass
            return endings[0]
        except BaseException as error:
            self.trial_pack.clear("crashed" if isinstance(error, Exception) else "preempted")
            raise


def _claim_folder(parent: Path, study: Study, config: StudyConfig, inputs: Mapping[str, str]) -> Path:
    """The folder of an Optuna study below `parent`, made its own at the first call and refused to any other."""
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
