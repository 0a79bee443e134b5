"""A small new GPT-2 or T5 and a tokenizer fitted to the user's texts."""

import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, TypeVar

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from ppo_tune.config.fitting import SFTConfig
from ppo_tune.data.chats import ROLES
from ppo_tune.seeding import derive_seed

Architecture = TypeVar("Architecture")
Model = TypeVar("Model")

EOS, PAD, UNKNOWN = "<eos>", "<pad>", "<unk>"

TURNS = ("<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template of a new model, and what begins and ends a turn there."""


def build_tokenizer(
    texts: Iterable[str], config: SFTConfig, *, chat: bool = False
) -> PreTrainedTokenizerFast:
    """A tokenizer fitted to the texts: whole words, or byte-level BPE; for conversations with a chat template.

    That of an encoder–decoder writes the end-of-sequence token behind a text.
    """
    if chat:
        made = build_tokenizer(chain(texts, ["\n".join(ROLES.values())]), config)
        made.add_special_tokens({"eos_token": TURNS[1], "additional_special_tokens": [TURNS[0]]})
        made.chat_template = CHATML
        return made
    if config.tokens == "words":
        words = sorted({word for text in texts for word in text.split()})
        vocabulary = {word: i for i, word in enumerate([PAD, EOS, UNKNOWN, *words])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return _wrap(tokenizer, config, unk_token=UNKNOWN)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[PAD, EOS],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _wrap(tokenizer, config)


def build_model(tokenizer: PreTrainedTokenizerBase, longest: int, config: SFTConfig) -> PreTrainedModel:
    """A new model of the configured kind and size with random weights, and no dropout."""
    if config.architecture == "t5":
        return build_t5(tokenizer, config)
    return build_gpt2(tokenizer, longest, config)


def build_t5(tokenizer: PreTrainedTokenizerBase, config: SFTConfig) -> T5ForConditionalGeneration:
    """A new T5 of the configured size: so many blocks at each end, and as wide feed-forward layers as a GPT-2's."""
    sizes: dict[str, Any] = dict(
        vocab_size=len(tokenizer),
        d_model=config.width,
        d_kv=config.width // config.heads,
        d_ff=4 * config.width,
        num_layers=config.layers,
        num_decoder_layers=config.layers,
        num_heads=config.heads,
        feed_forward_proj="relu" if config.activation == "relu" else "gated-gelu",
        dropout_rate=0.0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return _drawn(config, T5ForConditionalGeneration, T5Config(**sizes))


def build_gpt2(tokenizer: PreTrainedTokenizerBase, longest: int, config: SFTConfig) -> GPT2LMHeadModel:
    """A new GPT-2 of the configured size with random weights, and no dropout."""
    architecture = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=64
        * math.ceil(longest * 1.5 / 64),  # room for the longest example, and for a policy to ramble
        n_embd=config.width,
        n_layer=config.layers,
        n_head=config.heads,
        activation_function=config.activation,
        initializer_range=1 / math.sqrt(config.width),  # GPT-2's own 0.02 is for 768 and more
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return _drawn(config, GPT2LMHeadModel, architecture)


def _drawn(config: SFTConfig, kind: Callable[[Architecture], Model], architecture: Architecture) -> Model:
    """A model whose weights follow from the seed of the fit."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.seed, "sft", "weights"))
        return kind(architecture)


def _wrap(tokenizer: Tokenizer, config: SFTConfig, **tokens: str) -> PreTrainedTokenizerFast:
    if config.architecture == "t5":
        end = (EOS, tokenizer.token_to_id(EOS))
        tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[end])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD, padding_side="left",
        clean_up_tokenization_spaces=False, **tokens,
    )  # fmt: skip
