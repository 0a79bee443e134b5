"""ppo-tune: find hyperparameters for PPO-RLHF that you can trust.

    study = ppo_tune.load_study("search_spaces/quickstart.yaml")
    result = ppo_tune.run_search(study)
    page = ppo_tune.write_report(result.study, study, result.folder, Path("reports/quickstart"))
    best = ppo_tune.best_config(result.study, study)
    ppo_tune.train(best, out="trained/quickstart")

or without a file, from objects to data frames and figures:

    study = ppo_tune.tune(model="base", prompts=["Hi!", …], reward=score, space={"learning_rate": (1e-5, 1e-2)})
    study.trials, study.verdict, study.figures["curves"]    # as of ppo_tune.Study.load("tune") later
    ppo_tune.train(study.best, out="trained/tune")

The names below are the public interface; each is imported when it is first used.
"""

import ast
import importlib
import inspect
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppo_tune.config.fitting import LabelColumns, PairColumns, RewardTrainingConfig, SFTConfig
    from ppo_tune.config.model import ModelConfig
    from ppo_tune.config.ppo import PPOConfig
    from ppo_tune.config.run import TrainConfig
    from ppo_tune.config.shipped import copy_shipped, shipped
    from ppo_tune.config.source import Source
    from ppo_tune.config.study import StudyConfig
    from ppo_tune.config.study_file import load_run, load_study
    from ppo_tune.config.training_file import load_training
    from ppo_tune.data.examples import Examples, read_pairs
    from ppo_tune.data.labelled import Labelled, read_labels
    from ppo_tune.data.labels import ClassLabels, PairLabels, RatingLabels
    from ppo_tune.data.user_files import check_user_files
    from ppo_tune.drafting import draft_study
    from ppo_tune.errors import ConfigError, PPOTuneError, TrialError
    from ppo_tune.export import Export, export_study
    from ppo_tune.fitting.reward_model import fit_reward
    from ppo_tune.fitting.sft import fit_sft
    from ppo_tune.models import Policy, load_policy
    from ppo_tune.ppo import gae
    from ppo_tune.programs.pass_at_k import pass_at_k
    from ppo_tune.reporting import Report, report_study, write_report
    from ppo_tune.reporting.comparison.compare import compare_studies
    from ppo_tune.rewards import Reward
    from ppo_tune.search.budget import extended
    from ppo_tune.search.check import StudyCheck, check_study
    from ppo_tune.search.dashboard import study_dashboard
    from ppo_tune.search.objective import Objective
    from ppo_tune.search.rerun import Rerun, rerun_trial
    from ppo_tune.search.run import run_confirmation, run_search
    from ppo_tune.search.status import study_status
    from ppo_tune.search.storage import open_study, study_names
    from ppo_tune.search.studies import StudyContents, delete_study, rename_study, study_contents
    from ppo_tune.search.warm_start import lengthened
    from ppo_tune.search.winner import best_config, trial_config
    from ppo_tune.tasks import Task, make_task
    from ppo_tune.trainer.assembly import evaluate_model
    from ppo_tune.trainer.evaluation import Evaluation, Evaluator
    from ppo_tune.trainer.trainer import PPOTrainer
    from ppo_tune.training.full_length import TrainingInterrupted, train
    from ppo_tune.tuning.study import Study
    from ppo_tune.tuning.tune import tune

__all__ = [
    "ClassLabels", "ConfigError", "Evaluation", "Evaluator", "Examples", "Export", "LabelColumns", "Labelled",
    "ModelConfig", "Objective", "PPOConfig", "PPOTrainer", "PPOTuneError", "PairColumns", "PairLabels", "Policy",
    "RatingLabels", "Report", "Rerun", "Reward", "RewardTrainingConfig", "SFTConfig", "Source", "Study",
    "StudyCheck", "StudyConfig", "StudyContents", "Task", "TrainConfig", "TrainingInterrupted", "TrialError",
    "best_config", "check_study", "check_user_files", "compare_studies", "copy_shipped", "delete_study",
    "draft_study", "evaluate_model", "export_study", "extended", "fit_reward", "fit_sft", "gae", "lengthened",
    "load_policy", "load_run", "load_study", "load_training", "make_task", "open_study", "pass_at_k", "read_labels",
    "read_pairs", "rename_study", "report_study", "rerun_trial", "run_confirmation", "run_search", "shipped",
    "study_contents", "study_dashboard", "study_names", "study_status", "train", "trial_config", "tune",
    "write_report",
]  # fmt: skip

_HOMES = {
    alias.name: str(node.module)
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[__name__])))
    if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ppo_tune.")
    for alias in node.names
}
"""Where each public name is at home, by the imports above, which only a type checker runs."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `ppo_tune.load_study` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ppo_tune' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
