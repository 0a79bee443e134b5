"""The objective for a plain Optuna study of the user's own: one trial after the other, in the process that asks."""

import threading
from pathlib import Path

import optuna
from optuna.trial import Trial

from ppo_tune.config.blocks import StudyConfig
from ppo_tune.data.user_files import check_user_files
from ppo_tune.errors import PPOTuneError, TrialError
from ppo_tune.search.claim import claim_folder
from ppo_tune.search.endings import STATES
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.trial_loop import Ending, TrialPack


class Objective:
    """A study's objective for a plain `optuna.Study.optimize`.

    Every Optuna study has a folder of its own, `runs/<config's name>-objective/<Optuna study's name>`; the models
    are loaded when its first trial begins. After any exception or interrupt the next trial may follow.

    Args:
        config: The study; its space is suggested by the trial itself.
        out: Where trials write their files.

    Raises:
        PPOTuneError: If a file that the config names cannot be used.

    Example:
        study = optuna.create_study(direction="maximize")
        study.optimize(ppo_tune.Objective(ppo_tune.load_study("search_spaces/quickstart.yaml")), n_trials=20)
    """

    def __init__(self, config: StudyConfig, out: Path | str = ".") -> None:
        self.config = config
        self.folder = StudyFolder.of(Path(out), f"{config.name}-objective").path
        self.inputs = check_user_files(config).hashes
        self.trial_pack: TrialPack | None = None
        self._under_way = threading.Lock()

    def __call__(self, trial: Trial) -> float:
        """Train one trial to its end.

        Raises:
            optuna.TrialPruned: If it was pruned, diverged or passed the KL limit.
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
        folder = claim_folder(self.folder, trial.study, self.config, self.inputs)
        if self.trial_pack is None or self.trial_pack.folder.path != folder:
            self.trial_pack = TrialPack(self.config, folder, places=1)
        self.config.space.suggest(trial)
        self.trial_pack.join(trial.study)
        try:
            self.trial_pack.begin(0, trial)
            while not (endings := self.trial_pack.advance()):
                pass
            return endings[0]
        except BaseException as error:
            self.trial_pack.clear("crashed" if isinstance(error, Exception) else "preempted")
            raise
