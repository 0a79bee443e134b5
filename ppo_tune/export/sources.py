"""Where another trainer finds a study's model, reward and prompts."""

from pathlib import Path

import torch

from ppo_tune.config.blocks import PreferenceRewardConfig, RewardConfig, StudyConfig
from ppo_tune.data.prompts import Prompt, read_prompts, split_of
from ppo_tune.data.user_files import full_path, with_full_paths
from ppo_tune.errors import PPOTuneError
from ppo_tune.export.base import Sources, TokenFacts
from ppo_tune.export.token_facts import read_tokens
from ppo_tune.rewards.preference import read_format
from ppo_tune.tasks import make_task


def read_sources(config: StudyConfig) -> Sources:
    """Model, reward and training prompts of a study, as another trainer finds them."""
    if config.task.name == "support":
        return _support_sources(config)
    prompts, unread = None, ""
    try:
        prompts = tuple(p for p in read_prompts(config.task)[0] if split_of(p.text) == "train")
    except PPOTuneError as error:
        unread = str(error)
    return _all_known(config, config.model.name, config.task.reward, prompts, unread)


def _support_sources(config: StudyConfig) -> Sources:
    """Those of the embedded task, which is built if the cache does not hold it."""
    task = make_task(config.task, torch.device("cpu"))
    model, reward = config.model.name or task.base_model, config.task.reward
    if (
        reward is None and task.base_model is not None
    ):  # the task's own reward model stands beside its base model
        reward = PreferenceRewardConfig(name="preference", model=str(Path(task.base_model).parent / "reward"))
    return _all_known(config, model, reward, task.prompts["train"])


def _all_known(
    config: StudyConfig,
    model: str | None,
    reward: RewardConfig | None,
    prompts: tuple[Prompt, ...] | None,
    unread: str = "",
) -> Sources:
    """Model, reward and prompts with what can be read of them: lengths in tokens, and a reward model's gain."""
    tokens, kept = TokenFacts(), prompts
    if model is not None and prompts is not None:
        tokens, kept = read_tokens(model, prompts, config.task, response_tokens=config.ppo.max_new_tokens)
    judge = reward if isinstance(reward, PreferenceRewardConfig) else None
    return Sources(
        model=full_path(model) if model else None,
        reward=None if reward is None else with_full_paths(reward),
        prompts=kept,
        unread=unread,
        tokens=tokens,
        gain=None if judge is None else read_format(judge.model).gain,
    )
