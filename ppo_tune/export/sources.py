"""Where another trainer finds a study's model, reward and prompts."""

from pathlib import Path

import torch

from ppo_tune.config.blocks import PreferenceRewardConfig, StudyConfig
from ppo_tune.data.prompts import Prompt, read_prompts, split_of
from ppo_tune.data.user_files import full_path, with_full_paths
from ppo_tune.errors import PPOTuneError
from ppo_tune.export.base import Sources, TokenFacts
from ppo_tune.export.token_facts import read_tokens
from ppo_tune.rewards.preference import read_format
from ppo_tune.tasks import make_task


def read_sources(config: StudyConfig) -> Sources:
    """Model, reward and training prompts of a study, with what can be read of their tokens and of the reward's gain.

    The models of an embedded task are built if the cache does not hold them.
    """
    model, reward, unread = config.model.name, config.task.reward, ""
    prompts: tuple[Prompt, ...] | None = None
    if config.task.name == "support":
        task = make_task(config.task, torch.device("cpu"))
        model, prompts = model or task.base_model, task.prompts["train"]
        if reward is None and task.base_model is not None:  # the task's own stands beside its base model
            own = str(Path(task.base_model).parent / "reward")
            reward = PreferenceRewardConfig(name="preference", model=own)
    else:
        try:
            prompts = tuple(p for p in read_prompts(config.task)[0] if split_of(p.text) == "train")
        except PPOTuneError as error:
            unread = str(error)
    tokens = TokenFacts()
    if model is not None and prompts is not None:
        tokens, prompts = read_tokens(model, prompts, config.task, response_tokens=config.ppo.max_new_tokens)
    return Sources(
        model=full_path(model) if model else None,
        reward=None if reward is None else with_full_paths(reward),
        prompts=prompts,
        unread=unread,
        tokens=tokens,
        gain=read_format(reward.model).gain if isinstance(reward, PreferenceRewardConfig) else None,
    )
