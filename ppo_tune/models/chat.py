"""A tokenizer's chat template: prompts as turns, exchanges as a judge reads them, the end of a turn.

Every failure is one sentence that names the setting which asked for the template.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from ppo_tune.data.chats import Chat, Turn, turns_of
from ppo_tune.data.model_folders import missing_chat_template
from ppo_tune.errors import ModelError
from ppo_tune.models.text import closing_token, tokenize

MARK = "qzx"
"""What an assistant says where only what the template writes after it is of interest."""


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    chat: bool,
    closed: bool = False,
    asked_by: str = "task.chat",
) -> list[list[int]]:
    """Token ids of a task's prompts: as they stand, or each as its turns up to where the assistant begins.

    Where they are `closed` they keep the end-of-sequence token that the tokenizer writes behind texts.

    Raises:
        ModelError: If they are turns, and there is no chat template, or it fails.
    """
    if not chat:
        return tokenize(tokenizer, texts, closed=closed)
    turns = [_render(tokenizer, turns_of(text), asked_by, add_generation_prompt=True) for text in texts]
    end = closing_token(tokenizer) if closed else None
    rows = [tokenizer(turn, add_special_tokens=False)["input_ids"] for turn in turns]
    return [row if end is None or row[-1:] == [end] else [*row, end] for row in rows]


def shortened(
    tokenizer: PreTrainedTokenizerBase, prompt: str, most: int, *, chat: bool, closed: bool = False
) -> tuple[str, list[int]] | None:
    """The end of a prompt that has so many tokens at most, and they; None where there is none to keep.

    Of a text its last tokens are kept, behind the token that begins every text; of a conversation its system message
    and as many of the last turns as there is room for. Where it is `closed` the last is what ends every text.
    """
    if chat:
        system = [turn for turn in turns_of(prompt)[:1] if turn["role"] == "system"]
        turns = turns_of(prompt)[len(system) :]
        starts = (i for i, turn in enumerate(turns) if i and turn["role"] == "user")
        texts = (Chat([*system, *turns[start:]]) for start in starts)
        found = ((text, prompt_ids(tokenizer, [text], chat=True, closed=closed)[0]) for text in texts)
        return next(((text, ids) for text, ids in found if len(ids) <= most), None)
    (ids,) = tokenize(tokenizer, [prompt], closed=closed)
    begin = ids[:1] if ids[:1] == [tokenizer.bos_token_id] else []
    if most <= len(begin):
        return None
    kept = [*begin, *ids[len(begin) - most :]]
    (text,) = tokenizer.batch_decode([kept], skip_special_tokens=True)
    return text, kept


def exchange(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, *, asked_by: str) -> str:
    """The turns of a prompt and the assistant's answer as one text.

    Raises:
        ModelError: If there is no chat template, or it fails.
    """
    return _render(tokenizer, [*turns_of(prompt), {"role": "assistant", "content": response}], asked_by)


def learned_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: str, response: str
) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation with its last answer, and which of them the assistant says, ends of turns included.

    An earlier answer counts where the template writes the turns up to it as it writes them alone.

    Raises:
        ModelError: If there is no chat template, it fails, or it writes the last answer otherwise than it asks for it.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"sft: the tokenizer of {tokenizer.name_or_path!r} does not tell where its tokens stand in a text, which a "
            "fit to conversations needs; save a fast one beside the model"
        )
    turns = [*turns_of(prompt), {"role": "assistant", "content": response}]
    whole = _render(tokenizer, turns, "sft")
    said: list[tuple[int, int]] = []
    for i, turn in enumerate(turns):
        if turn["role"] == "assistant":
            before = _render(tokenizer, turns[:i], "sft", add_generation_prompt=True)
            after = _render(tokenizer, turns[: i + 1], "sft")
            if whole.startswith(after) and after.startswith(before):
                said.append((len(before), len(after.rstrip())))
    if not said or said[-1][1] != len(whole.rstrip()):
        raise ModelError(
            f"sft: the chat template of {tokenizer.name_or_path!r} writes an answer otherwise than it asks for one, so "
            "a model fitted to it would not be asked what it learned"
        )
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    kept = [(i, span) for i, span in spans if span[0] < len(whole.rstrip())]
    learned = [any(begin <= start < end for begin, end in said) for _, (start, _) in kept]
    return [int(i) for i, _ in kept], learned


def turn_end(tokenizer: PreTrainedTokenizerBase, *, asked_by: str) -> int | None:
    """The first special token that the template writes after an assistant's message; None if it writes none.

    Raises:
        ModelError: If there is no chat template, or it fails.
    """
    _, found, after = exchange(tokenizer, MARK, MARK, asked_by=asked_by).rpartition(MARK)
    special = control_tokens(tokenizer)
    ids = tokenizer(after, add_special_tokens=False)["input_ids"] if found else []
    return next((int(i) for i in ids if i in special), None)


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The tokens that stand outside of ordinary text, by their ids."""
    added = {i: str(token) for i, token in tokenizer.added_tokens_decoder.items()}
    return {**added, **dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))}


def _render(tokenizer: PreTrainedTokenizerBase, chat: Sequence[Turn], asked_by: str, **settings: Any) -> str:
    if not tokenizer.chat_template:
        raise ModelError(missing_chat_template(tokenizer.name_or_path, asked_by=asked_by))
    try:
        text = tokenizer.apply_chat_template([dict(turn) for turn in chat], tokenize=False, **settings)
    except Exception as error:  # a template is a program of its author
        roles = " and ".join(f"a message of the {message['role']}" for message in chat)
        raise ModelError(
            f"{asked_by}: the chat template of {tokenizer.name_or_path!r} cannot write {roles}: "
            f"{type(error).__name__}: {error}"
        ) from error
    assert isinstance(text, str)
    return text
