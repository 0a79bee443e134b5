"""How a tiny random model of any family is built, and what is expected of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from tests.conftest import PAD_ID, VOCABULARY, tiny_tokenizer

Sizes = Mapping[str, Any]

SIZES: Sizes = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "emb_dim", "embedding_dim", "word_embed_proj_dim"), 16
    ),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_inner", "d_ff", "dim_ff", "ffn_hidden_size"), 24),
    **dict.fromkeys(("max_position_embeddings", "max_target_positions", "n_positions", "max_seq_len"), 32),
    **dict.fromkeys(("initializer_range", "init_std"), 0.2),
    "num_key_value_heads": 1,
    "head_dim": 8,
    "rotary_dim": 4,
    **dict.fromkeys(("sliding_window", "sliding_window_size", "attention_window_size", "window_size"), 4),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_encoder_layers"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("num_encoder_attention_heads", "num_decoder_attention_heads"), 2),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 24),
    # Experts.
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk"), 2),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 1),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group"), 1),
    **dict.fromkeys(("moe_intermediate_size", "expert_ffn_hidden_size", "shared_intermediate_size"), 12),
    **dict.fromkeys(("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"), 12),
    # Attention through a bottleneck, and to a few chosen keys.
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "o_lora_rank", "v_head_dim", "index_head_dim"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "index_topk"), 4),
    "index_n_heads": 32,  # two of them often find nothing in any key, and which of those are chosen is a matter of luck
    # States instead of keys and values.
    **dict.fromkeys(("state_size", "ssm_state_size", "mamba_d_state", "mamba_dt_rank", "time_step_rank"), 4),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size", "block_size"), 4),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 4),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "mamba_headdim"), 8),
    **dict.fromkeys(("mamba_n_groups", "mamba_ngroups", "n_groups"), 1),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads", "linear_num_heads"), 2),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim"), 8),
}
"""How large what a config names is in a tiny model; weights are large enough that every mistake shows."""

TOKENS: Sizes = {"vocab_size": len(VOCABULARY), "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
"""Of the tokenizer."""

START: Sizes = dict.fromkeys(("decoder_start_token_id", "pad_token_id"), PAD_ID)
"""Of an encoder–decoder: as T5's, its decoder begins with the token of padding."""


@dataclass(frozen=True)
class Family:
    """How a tiny model of a family is built, and what becomes of it.

    Attributes:
        name: What the tests call it.
        special: What its config says beside the usual sizes.
        kind: Its kind of config; None is the name.
        model: The class of transformers that a user has saved; None is the choice of `AutoModelForCausalLM`, or of
            `AutoModelForSeq2SeqLM`.
        encodes: Whether it is an encoder–decoder.
        sentence: A pattern of the sentence by which it is refused; None where it is right.
        no_adapter: A pattern of the sentence by which its adapters are not written for PEFT; None where they are.
        no_prefix: A pattern of the sentence by which a prefix of it is refused; None where it is right.
        own_prefix: Whether PEFT cannot read a prefix of it, and layers run without gradients, so that part of it stays.
        adds_up: Whether its rounding in float32 adds up, over two iterations of a trial and on some processors, to more
            than is allowed, so that they are compared in float64.
        brief: Whether it is among the few that every run looks at.
    """

    name: str
    special: Sizes = field(default_factory=dict)
    kind: str | None = None
    model: str | None = None
    sentence: str | None = None
    no_adapter: str | None = None
    no_prefix: str | None = None
    own_prefix: bool = False
    adds_up: bool = False
    brief: bool = False
    encodes: bool = False

    def config(self, **changes: Any) -> PreTrainedConfig:
        """A tiny config."""
        kind = self.kind or self.name
        names = AutoConfig.for_model(kind).to_dict()
        sizes = {name: size for name, size in SIZES.items() if name in names}
        start = START if self.encodes else {}
        return AutoConfig.for_model(kind, **{**sizes, **TOKENS, **start, **self.special, **changes})

    def build(self, **changes: Any) -> PreTrainedModel:
        """A random model, the same every time."""
        auto = AutoModelForSeq2SeqLM if self.encodes else AutoModelForCausalLM
        make = getattr(transformers, self.model) if self.model else auto.from_config
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model: PreTrainedModel = make(self.config(**changes))
        return model

    def save(self, folder: Path, **changes: Any) -> Path:
        """Such a model with its tokenizer, as transformers saves them."""
        self.build(**changes).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        return folder
