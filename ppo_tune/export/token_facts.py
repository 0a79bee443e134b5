"""What another trainer must know of a model's tokens: the longest prompt, the context, what stands before a prompt.

It loads a tokenizer and a model's config, no weights. What cannot be read is None, never an error: the model of
an export may stand where this machine does not see it.
"""

from collections.abc import Sequence

from transformers import AutoConfig, PreTrainedTokenizerBase

from ppo_tune.errors import ModelError
from ppo_tune.export.base import TokenFacts
from ppo_tune.models.loading import load_tokenizer
from ppo_tune.models.text import tokenize
from ppo_tune.prompts import Prompt


def read_tokens(
    model: str, prompts: Sequence[Prompt], *, chat: bool, response_tokens: int
) -> tuple[TokenFacts, tuple[Prompt, ...]]:
    """Facts of a model's tokens, and the prompts that ppo-tune trained on.

    Args:
        model: A folder or hub name.
        prompts: The training prompts.
        chat: Whether prompts are wrapped in the tokenizer's chat template.
        response_tokens: Room that the context must leave for a response.

    Returns:
        The facts; and the prompts less those that are empty or too long, which a task with drop_bad_rows drops.
    """
    context = _context(model)
    try:
        tokenizer = load_tokenizer(model)
        rows = _encode(tokenizer, [prompt.text for prompt in prompts], chat=chat)
    except (ModelError, ValueError):  # no tokenizer, or none with a chat template
        return TokenFacts(context=context), tuple(prompts)
    room = len(max(rows, key=len, default=())) if context is None else context - response_tokens
    kept = [(prompt, row) for prompt, row in zip(prompts, rows, strict=True) if 0 < len(row) <= room]
    facts = TokenFacts(
        longest_prompt=max((len(row) for _, row in kept), default=None),
        context=context,
        before=None if chat else _before(tokenizer, [p.text for p, _ in kept], [row for _, row in kept]),
    )
    return facts, tuple(prompt for prompt, _ in kept)


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, chat: bool) -> list[list[int]]:
    """Token ids of prompts as ppo-tune reads them."""
    if not chat:
        return tokenize(tokenizer, texts)
    chats = [[{"role": "user", "content": text}] for text in texts]
    rendered = [
        str(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)) for chat in chats
    ]
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in rendered]


def _before(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], rows: Sequence[Sequence[int]]
) -> str | None:
    """The text that, written before a prompt, makes a tokenizer that adds nothing read what ours reads.

    Args:
        tokenizer: The model's tokenizer.
        texts: Prompts.
        rows: Their token ids, as ppo-tune reads them.

    Returns:
        None if there is no such text for all of the prompts.
    """
    if not texts:
        return None
    plain = tokenizer(texts[0], add_special_tokens=False)["input_ids"]
    added = rows[0][: max(0, len(rows[0]) - len(plain))]
    before = str(tokenizer.decode(added))
    same = tokenizer([before + text for text in texts], add_special_tokens=False)["input_ids"]
    return before if [list(row) for row in rows] == [list(row) for row in same] else None


def _context(model: str) -> int | None:
    """The longest sequence that the model reads; None where it has no limit, or cannot be read."""
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError, KeyError):
        return None
    length = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return length if isinstance(length, int) else None
