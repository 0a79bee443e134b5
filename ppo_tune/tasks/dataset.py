"""A user's own prompts from a JSONL, CSV or Parquet file."""

import torch

from ppo_tune.config.blocks import DatasetTaskConfig
from ppo_tune.data.prompts import Prompt, Split, read_prompts, split_of
from ppo_tune.errors import DataError
from ppo_tune.rewards import make_reward
from ppo_tune.tasks.base import Task, judges_of, objective_of


def make_dataset(config: DatasetTaskConfig, device: torch.device) -> Task:
    """The task of a file: its prompts, split by their hash, with the rewards that the config names.

    Raises:
        DataError: If the file or one of its rows cannot be used.
        ConfigError: If the template names a column that there is not, or a reward cannot be made.
    """
    prompts, n_dropped, _ = read_prompts(config)
    splits: dict[Split, list[Prompt]] = {"train": [], "heldout": [], "confirmation": []}
    for prompt in prompts:
        splits[split_of(prompt.text)].append(prompt)
    for split, members in splits.items():
        if not members:
            raise DataError(
                f"{config.path}: no prompt falls into the {split} split (80, 10 and 10 % by hash), for there "
                f"are only {len(prompts)} different prompts; more rows are needed"
            )
    reward = make_reward(config.reward, device)
    return Task(
        name="dataset",
        prompts={split: tuple(members) for split, members in splits.items()},
        reward=reward,
        objective=objective_of(config, reward, device),
        judges=judges_of(config, device),
        chat=config.chat,
        drop_bad_rows=config.drop_bad_rows,
        n_dropped=n_dropped,
    )
