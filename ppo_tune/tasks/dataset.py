"""A user's own prompts from a file, and what ends the responses to them."""

import torch
from transformers import PreTrainedTokenizerBase

from ppo_tune.config.blocks import DatasetTaskConfig, TaskConfig
from ppo_tune.data.prompts import Prompt, Split, read_prompts, split_of
from ppo_tune.errors import ConfigError, DataError, Problem
from ppo_tune.models.chat import turn_end
from ppo_tune.rewards import make_reward
from ppo_tune.tasks.base import Task, judges_of, objective_of


def make_dataset(config: DatasetTaskConfig, device: torch.device) -> Task:
    """The task of a file: its prompts, split by their hash, with the rewards that the config names.

    Raises:
        DataError: If the file or one of its rows cannot be used.
        ConfigError: If the template names a column that there is not, or a reward cannot be made.
    """
    prompts = read_prompts(config).prompts
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
    )


def stops_of(config: TaskConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens that end a response besides the model's own.

    They are the end of an assistant's turn in a chat, and those of `stop`.

    Raises:
        ModelError: If the task is a chat and the tokenizer has no chat template that works.
        ConfigError: If a text of `stop` is no single token.
    """
    if not isinstance(config, DatasetTaskConfig):
        return []
    ids = set().union(*(_ids_of(text, tokenizer) for text in config.stop))
    end = turn_end(tokenizer, asked_by="task.chat") if config.chat else None
    return sorted(ids if end is None else {*ids, end})


def _ids_of(text: str, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The token of this name, and the one that the text becomes; often they are the same."""
    found = {tokenizer.get_vocab()[text]} if text in tokenizer.get_vocab() else set()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        found.add(ids[0])
    if not found:
        made = " and ".join(map(repr, tokenizer.convert_ids_to_tokens(ids))) or "none"
        what = f"each must be one token of the model's tokenizer, but {text!r} is {made}"
        raise ConfigError([Problem("task.stop", what)])
    return found
