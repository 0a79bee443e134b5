"""ppo-tune: find hyperparameters for PPO-RLHF that you can trust.

    study = ppo_tune.load_study("search_spaces/quickstart.yaml")
    result = ppo_tune.run_search(study)                     # under `if __name__ == "__main__":`
    page = ppo_tune.write_report(result.study, study, result.folder, Path("reports/quickstart"))
    best = ppo_tune.best_config(result.study, study)
    ppo_tune.train(best, out="trained/quickstart")

The names below are the public interface; each is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppo_tune.config.blocks import ModelConfig as ModelConfig
    from ppo_tune.config.blocks import PPOConfig as PPOConfig
    from ppo_tune.config.blocks import StudyConfig as StudyConfig
    from ppo_tune.config.blocks import TrainConfig as TrainConfig
    from ppo_tune.config.fitting import PairColumns as PairColumns
    from ppo_tune.config.fitting import RewardTrainingConfig as RewardTrainingConfig
    from ppo_tune.config.fitting import SFTConfig as SFTConfig
    from ppo_tune.config.study_file import load_run as load_run
    from ppo_tune.config.study_file import load_study as load_study
    from ppo_tune.config.study_file import load_training as load_training
    from ppo_tune.data.examples import read_pairs as read_pairs
    from ppo_tune.data.examples import read_preferences as read_preferences
    from ppo_tune.data.user_files import check_user_files as check_user_files
    from ppo_tune.errors import ConfigError as ConfigError
    from ppo_tune.errors import PPOTuneError as PPOTuneError
    from ppo_tune.errors import TrialError as TrialError
    from ppo_tune.export import Export as Export
    from ppo_tune.export import export_study as export_study
    from ppo_tune.fitting.reward_model import fit_reward as fit_reward
    from ppo_tune.fitting.sft import fit_sft as fit_sft
    from ppo_tune.models import Policy as Policy
    from ppo_tune.models import load_policy as load_policy
    from ppo_tune.ppo import gae as gae
    from ppo_tune.reporting import Report as Report
    from ppo_tune.reporting import report_study as report_study
    from ppo_tune.reporting import write_report as write_report
    from ppo_tune.reporting.comparison.studies import compare_studies as compare_studies
    from ppo_tune.rewards import Reward as Reward
    from ppo_tune.search.dashboard import study_dashboard as study_dashboard
    from ppo_tune.search.objective import Objective as Objective
    from ppo_tune.search.run import run_confirmation as run_confirmation
    from ppo_tune.search.run import run_search as run_search
    from ppo_tune.search.status import study_status as study_status
    from ppo_tune.search.storage import open_study as open_study
    from ppo_tune.search.winner import best_config as best_config
    from ppo_tune.tasks import Task as Task
    from ppo_tune.tasks import make_task as make_task
    from ppo_tune.trainer.assembly import evaluate_model as evaluate_model
    from ppo_tune.trainer.evaluation import Evaluation as Evaluation
    from ppo_tune.trainer.evaluation import Evaluator as Evaluator
    from ppo_tune.trainer.trainer import PPOTrainer as PPOTrainer
    from ppo_tune.training.full_length import TrainingInterrupted as TrainingInterrupted
    from ppo_tune.training.full_length import train as train

_HOMES = {
    "ConfigError": "errors",
    "Evaluation": "trainer.evaluation",
    "Evaluator": "trainer.evaluation",
    "Export": "export",
    "ModelConfig": "config.blocks",
    "Objective": "search.objective",
    "PPOConfig": "config.blocks",
    "PPOTrainer": "trainer.trainer",
    "PPOTuneError": "errors",
    "PairColumns": "config.fitting",
    "Policy": "models",
    "Report": "reporting",
    "Reward": "rewards",
    "RewardTrainingConfig": "config.fitting",
    "SFTConfig": "config.fitting",
    "StudyConfig": "config.blocks",
    "Task": "tasks",
    "TrainConfig": "config.blocks",
    "TrainingInterrupted": "training.full_length",
    "TrialError": "errors",
    "best_config": "search.winner",
    "check_user_files": "data.user_files",
    "compare_studies": "reporting.comparison.studies",
    "evaluate_model": "trainer.assembly",
    "export_study": "export",
    "fit_reward": "fitting.reward_model",
    "fit_sft": "fitting.sft",
    "gae": "ppo",
    "load_policy": "models",
    "load_run": "config.study_file",
    "load_study": "config.study_file",
    "load_training": "config.study_file",
    "make_task": "tasks",
    "open_study": "search.storage",
    "read_pairs": "data.examples",
    "read_preferences": "data.examples",
    "report_study": "reporting",
    "run_confirmation": "search.run",
    "run_search": "search.run",
    "study_dashboard": "search.dashboard",
    "study_status": "search.status",
    "train": "training.full_length",
    "write_report": "reporting",
}
"""Where each public name is at home."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `ppo_tune.load_study` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ppo_tune' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ppo_tune.{_HOMES[name]}"), name)
