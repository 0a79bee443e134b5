"""Folders of tiny reward models, of bare texts and of chats."""

from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from tests.conftest import FAMILIES, VOCABULARY, tiny_tokenizer


def tiny_classifier(family: str, **changes: Any) -> PreTrainedModel:
    """A random reward model, with dropout where the family has it."""
    special = {"vocab_size": len(VOCABULARY), "eos_token_id": 0, "bos_token_id": 0, "num_labels": 1}
    config = AutoConfig.for_model(family, **{**special, "pad_token_id": 15, **FAMILIES[family], **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
        model.eval()
        return model


def save_reward(folder: Path, family: str = "gpt2", **tokens: str | None) -> Path:
    tiny_classifier(family).save_pretrained(folder)
    tiny_tokenizer(**tokens).save_pretrained(folder)
    return folder


CHAT = (
    "{% for m in messages %}<t> {% if m['role'] == 'user' %}b{% else %}c{% endif %} {{ m['content'] }} <e> "
    "{% endfor %}"
)
"""Of two roles in words of the tiny tokenizer; <t> and <e> are the tokens 16 and 17."""


def save_chat_reward(folder: Path, template: str = CHAT, *, begins: bool = False) -> Path:
    """A reward model that reads chats; `begins` makes its tokenizer write a stop token before every text."""
    tiny_classifier("gpt2", vocab_size=18).save_pretrained(folder)
    tokenizer = tiny_tokenizer(bos_token="<eos>" if begins else None)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<t>", "<e>"]})
    tokenizer.chat_template = template
    if begins:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<eos> $A", special_tokens=[("<eos>", 0)]
        )
    tokenizer.save_pretrained(folder)
    return folder
