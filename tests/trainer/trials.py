"""Trainers of the tiny policy, and what their iterations say."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppo_tune.data.prompts import Split
from ppo_tune.models import Policy, save_merged
from ppo_tune.models.loading import load_language_model
from ppo_tune.tasks import Prompt, Task
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import (
    LIKES,
    WordReward,
    make_toy_task,
    small_config,
    tiny_model,
)

ONLY_STOP = {"unk_token": None, "pad_token": None}  # so that every other token is seen in the text


def make_trainer(policy: Policy, task: Task | None = None, **config: Any) -> PPOTrainer:
    """A trainer with a trial in every place, each with its own seed."""
    trainer = PPOTrainer(policy, task or make_toy_task(WordReward(LIKES)), small_config(**config))
    for place in range(policy.places):
        trainer.start(place, small_config(**config), seed=place)
    return trainer


def mean_kl(policy: Policy, folder: Path, texts: Iterable[tuple[str, str]], *, longest: int) -> float:
    """Mean over responses of log π - log π_ref, by plain transformers and the policy of place 0 as it is saved.

    Args:
        policy: The trained one; its texts are those of `ONLY_STOP`.
        folder: Where it is saved.
        texts: Prompts and responses.
        longest: Tokens of a response that has not ended.
    """
    save_merged(policy, 0, folder)
    trained, reference = load_language_model(str(folder)), tiny_model().eval()
    kl = []
    for prompt, response in ([policy.tokenizer(text)["input_ids"] for text in pair] for pair in texts):
        tokens = [*response, 0][:longest]  # a shorter one has ended
        said = [
            model(torch.tensor([prompt + tokens]))
            .logits[0, len(prompt) - 1 : -1]
            .detach()
            .log_softmax(-1)[range(len(tokens)), tokens]
            for model in (trained, reference)
        ]
        kl.append(float((said[0] - said[1]).sum()))
    return statistics.mean(kl)


def train(policy: Policy, iterations: int, task: Task | None = None, **config: Any) -> list[dict[str, Any]]:
    """Metrics of the first place, one per iteration."""
    trainer = make_trainer(policy, task, **config)
    history = []
    for _ in range(iterations):
        result = trainer.step()[0]
        assert isinstance(result, dict), result
        history.append(result)
    return history


def bandit_task(weights: dict[str, float], size: int) -> Task:
    """One prompt, always the same."""
    one = (Prompt("a"),)
    prompts: dict[Split, tuple[Prompt, ...]] = {"train": one * size, "heldout": one, "confirmation": ()}
    return Task("bandit", prompts, reward := WordReward(weights), objective=reward)


def numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics without the times."""
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def changed_views(policy: Policy, before: dict[str, Tensor], place: int) -> set[str]:
    """Names of the tensors of a place that are no longer what they were."""
    return {name for name, now in policy.rows.split(place).items() if not torch.equal(now, before[name])}
