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
    from ppo_tune.config.blocks import ModelConfig, PPOConfig, StudyConfig, TrainConfig
    from ppo_tune.config.study_file import load_study, load_training
    from ppo_tune.errors import ConfigError, PPOTuneError, TrialError
    from ppo_tune.fitting.reward_model import fit_reward
    from ppo_tune.fitting.sft import fit_sft
    from ppo_tune.models import Policy, load_policy
    from ppo_tune.ppo import gae
    from ppo_tune.reporting import write_report
    from ppo_tune.rewards import Reward
    from ppo_tune.search.run import run_confirmation, run_search
    from ppo_tune.search.trial_loop import Objective
    from ppo_tune.search.winner import best_config
    from ppo_tune.tasks import Task, make_task
    from ppo_tune.trainer.assembly import evaluate_model
    from ppo_tune.trainer.evaluation import Evaluation, Evaluator
    from ppo_tune.trainer.trainer import PPOTrainer
    from ppo_tune.training.full_length import train

_HOMES = {
    "ConfigError": "errors",
    "Evaluation": "trainer.evaluation",
    "Evaluator": "trainer.evaluation",
    "ModelConfig": "config.blocks",
    "Objective": "search.trial_loop",
    "PPOConfig": "config.blocks",
    "PPOTrainer": "trainer.trainer",
    "PPOTuneError": "errors",
    "Policy": "models",
    "Reward": "rewards",
    "StudyConfig": "config.blocks",
    "Task": "tasks",
    "TrainConfig": "config.blocks",
    "TrialError": "errors",
    "best_config": "search.winner",
    "evaluate_model": "trainer.assembly",
    "fit_reward": "fitting.reward_model",
    "fit_sft": "fitting.sft",
    "gae": "ppo",
    "load_policy": "models",
    "load_study": "config.study_file",
    "load_training": "config.study_file",
    "make_task": "tasks",
    "run_confirmation": "search.run",
    "run_search": "search.run",
    "train": "training.full_length",
    "write_report": "reporting",
}

__all__ = [
    "ConfigError",
    "Evaluation",
    "Evaluator",
    "ModelConfig",
    "Objective",
    "PPOConfig",
    "PPOTrainer",
    "PPOTuneError",
    "Policy",
    "Reward",
    "StudyConfig",
    "Task",
    "TrainConfig",
    "TrialError",
    "best_config",
    "evaluate_model",
    "fit_reward",
    "fit_sft",
    "gae",
    "load_policy",
    "load_study",
    "load_training",
    "make_task",
    "run_confirmation",
    "run_search",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `ppo_tune.load_study` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ppo_tune' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ppo_tune.{_HOMES[name]}"), name)
