"""Everything one process needs to train and to score: policy, task, trainer, evaluator, made from a config."""

from dataclasses import dataclass

import torch

from ppo_tune.config import ModelConfig, RunConfig
from ppo_tune.errors import TrialError
from ppo_tune.evaluation import Evaluation, Evaluator
from ppo_tune.lesson import require_compiler
from ppo_tune.models import Policy, load_policy, load_tokenizer
from ppo_tune.models.loading import best_device
from ppo_tune.prompts import Split
from ppo_tune.tasks import Task, make_task, stops_of
from ppo_tune.team import Team
from ppo_tune.trainer import PPOTrainer


@dataclass(frozen=True)
class Workbench:
    """One model in memory, with what trains it and what scores it."""

    policy: Policy
    task: Task
    trainer: PPOTrainer
    evaluator: Evaluator

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before anything is trained."""
        endless = (
            f"the tokenizer of {self.policy.tokenizer.name_or_path!r} has no end-of-sequence token and no stop token "
            "is named: nothing ends a response but max_new_tokens"
        )
        return tuple(filter(None, (self.policy.remark, None if len(self.policy.stop_ids) else endless)))


def set_up(
    config: RunConfig,
    *,
    seed: int,
    places: int = 1,
    device: torch.device | None = None,
    team: Team | None = None,
    split: Split = "heldout",
) -> Workbench:
    """Load what a config names.

    Args:
        config: Task, model and the hyperparameters that all trials share.
        seed: Decides the sampling noise of the evaluation.
        places: How many trials are trained side by side.
        device: Where to put the models; None takes the first GPU, or the CPU.
        team: The processes that train together; None trains alone.
        split: The prompts that score a policy.

    Raises:
        PPOTuneError: If a file, a reward or a model cannot be used.
    """
    compiles = config.model.compile is True  # auto is for those who can time it
    if compiles:
        require_compiler()
    device = device or best_device()
    stops = _stops(config, config.model.name)
    task = make_task(config.task, device)
    policy = load_policy(config.model, default_name=task.base_model, places=places, device=device)
    policy.stop_also(stops)
    trainer = PPOTrainer(policy, task, config.ppo, team)
    trainer.compiles = compiles
    return Workbench(policy, task, trainer, _evaluator(policy, task, config, seed, split))


def evaluate_model(name: str, config: RunConfig, *, seed: int = 0) -> Evaluation:
    """Score a model on the held-out prompts of a task.

    Args:
        name: A model folder or hub name.
        config: Its task, length and temperature are used.
        seed: Decides the sampling noise.

    Returns:
        The evaluation; its KL says nothing, for the model is its own reference.

    Raises:
        PPOTuneError: If the model or the task cannot be used.
    """
    device = best_device()
    stops = _stops(config, name)
    task = make_task(config.task, device)
    policy = load_policy(ModelConfig(name=name, lora_rank=1), device=device)
    policy.stop_also(stops)
    judged = _evaluator(policy, task, config, seed, "heldout")([0])[0]
    if isinstance(judged, TrialError):
        raise judged
    return judged


def _stops(config: RunConfig, name: str | None) -> list[int]:
    """What ends the task's responses besides the model's own; a tokenizer that cannot is told before models load."""
    task = config.task
    if name is None or task.name != "dataset" or not (task.chat or task.stop):
        return []
    return stops_of(task, load_tokenizer(name))


def _evaluator(policy: Policy, task: Task, config: RunConfig, seed: int, split: Split) -> Evaluator:
    return Evaluator(
        policy,
        task,
        n_prompts=config.task.heldout_prompts,
        max_new_tokens=config.ppo.max_new_tokens,
        temperature=config.ppo.temperature,
        seed=seed,
        micro_batch_size=config.ppo.micro_batch_size,
        split=split,
    )
