"""What ends a response of a task, besides what the model's own authors named."""

from transformers import PreTrainedTokenizerBase

from ppo_tune.config.blocks import DatasetTaskConfig, TaskConfig
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.models.chat import turn_end


def stops_of(config: TaskConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens that end a response: the end of an assistant's turn in a chat, and those of `stop`.

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
