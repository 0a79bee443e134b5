"""A user's own prompts from a file, and what ends the responses to them."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from ppo_tune.config.tasks import DatasetTaskConfig, TaskConfig
from ppo_tune.data.prompts import Prompt, Split, read_prompts, split_of
from ppo_tune.errors import ConfigError, DataError, Problem
from ppo_tune.models.chat import turn_end
from ppo_tune.models.stops import Stops
from ppo_tune.plurals import counted
from ppo_tune.rewards import make_reward
from ppo_tune.tasks.base import Task, TaskPrompts, judges_of, objective_of


def make_dataset(config: DatasetTaskConfig, device: torch.device) -> Task:
    """The task of a file: its prompts with the rewards that the config names.

    Raises:
        DataError: If the file or one of its rows cannot be used.
        ConfigError: If the template names a column that there is not, or a reward cannot be made.
    """
    asked = dataset_prompts(config)
    reward = make_reward(config.reward, device)
    return Task(
        name=asked.name,
        prompts=asked.prompts,
        reward=reward,
        objective=objective_of(config, reward, device),
        judges=judges_of(config, device),
        chat=asked.chat,
        drop_bad_rows=asked.drop_bad_rows,
        too_long=asked.too_long,
    )


def dataset_prompts(config: DatasetTaskConfig, read: Sequence[Prompt] | None = None) -> TaskPrompts:
    """The prompts of a file, split by their hash.

    Args:
        config: The task.
        read: The prompts, where the file was read already.

    Raises:
        DataError: If the file or one of its rows cannot be used, or a split has no prompt.
        ConfigError: If the template names a column that there is not.
    """
    prompts = read_prompts(config).prompts if read is None else read
    splits: dict[Split, list[Prompt]] = {"train": [], "heldout": [], "confirmation": []}
    for prompt in prompts:
        splits[split_of(prompt.text)].append(prompt)
    for split, members in splits.items():
        if not members:
            raise DataError(
                f"{config.path}: no prompt falls into the {split} split (80, 10 and 10 % by hash), of "
                f"only {counted(len(prompts), 'different prompt')}; more rows are needed"
            )
    return TaskPrompts(
        name="dataset",
        prompts={split: tuple(members) for split, members in splits.items()},
        chat=config.chat,
        drop_bad_rows=config.drop_bad_rows,
        too_long=config.too_long or ("drop" if config.drop_bad_rows else "refuse"),
    )


def stops_of(config: TaskConfig, tokenizer: PreTrainedTokenizerBase) -> Stops:
    """What ends a response besides the model's own tokens.

    It is the end of an assistant's turn in a chat, and what `stop` names: a token where it names one, else a text.

    Raises:
        ModelError: If the task is a chat and the tokenizer has no chat template that works.
        ConfigError: If the model's tokens cannot write a text of `stop`.
    """
    tokens = {text: _ids_of(text, tokenizer) for text in config.stop}
    end = turn_end(tokenizer, asked_by=config.advice.asks_for_chat) if config.chat else None
    ids = set().union(*tokens.values(), () if end is None else (end,))
    texts = tuple(text for text, found in tokens.items() if not found)
    for text in texts:
        _check_text(text, tokenizer)
    return Stops(tuple(sorted(ids)), texts)


def notes_on_ends(name: str, task: TaskPrompts, *, stop_ids: Sequence[int], stops: Stops) -> list[str]:
    """What the user should know of what ends a response.

    Args:
        name: The tokenizer's folder or hub name.
        task: Whether it is a chat, and what can be done there.
        stop_ids: The tokens that end a response by what the model's authors say.
        stops: What the task names.
    """
    found = []
    if not stop_ids and not stops:
        found.append(
            f"the tokenizer of {name!r} has no end-of-sequence token{task.advice.stops}: nothing ends a response "
            "but max_new_tokens"
        )
    if task.chat and not stops:
        found.append(
            f"{task.advice.asks_for_chat}: the chat template of {name!r} ends an assistant's turn by no token of its "
            f"own, so a response may go on into the user's next turn; {task.advice.no_turn_end}"
        )
    return found


def _ids_of(text: str, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The token of this name, and the one that the text becomes; often they are the same. None for other texts."""
    found = {tokenizer.get_vocab()[text]} if text in tokenizer.get_vocab() else set()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        found.add(ids[0])
    return found


def _check_text(text: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a text that no response could hold as a judge reads it.

    Raises:
        ConfigError: If the tokenizer cannot write it, or it holds a token that is no text.
    """
    ids = tokenizer(f"a{text}", add_special_tokens=False)["input_ids"]
    if text in tokenizer.decode(ids, skip_special_tokens=True):
        return
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    made = " and ".join(map(repr, tokenizer.convert_ids_to_tokens(ids))) or "none"
    what = f"each must be a token of the model's tokenizer or a text that it can write, but {text!r} becomes {made}"
    raise ConfigError([Problem("task.stop", what)])
