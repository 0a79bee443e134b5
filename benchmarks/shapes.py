"""The equal work of a throughput benchmark: models, tokenizer and prompts, written to disk once for all contestants.

Imported by our contestant and by the peer's, which live in environments of their own; needs transformers only.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)


@dataclass(frozen=True)
class Shape:
    """A model's shape and the work of one update.

    Attributes:
        layers: Blocks.
        width: Hidden size.
        vocab: Words.
        episodes: Responses per update.
        mini_batches: Optimizer steps per epoch.
        epochs: Passes over an update's responses.
        prompt: Tokens of every prompt.
        response: Tokens of every response, none of which ends early.
        lora_rank: Rank of our adapters.
        heads: Of attention.
        kv_heads: Key-value heads of a Qwen2; None makes a GPT-2.
        intermediate: Width between the two products of a Qwen2's feed-forward layers.
    """

    layers: int
    width: int
    vocab: int
    episodes: int = 32
    mini_batches: int = 4
    epochs: int = 4
    prompt: int = 8
    response: int = 24
    lora_rank: int = 8
    heads: int = 4
    kv_heads: int | None = None
    intermediate: int = 0

    def work(self) -> dict[str, int]:
        """What both sides must have done in one update."""
        return {
            "episodes": self.episodes,
            "prompt_tokens": self.episodes * self.prompt,
            "response_tokens": self.episodes * self.response,
            "epochs": self.epochs,
            "optimizer_steps": self.epochs * self.mini_batches,
        }

    def config(self) -> PreTrainedConfig:
        """The model, word and output embeddings tied, without dropout."""
        ids = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, "num_labels": 1}
        if self.kv_heads is None:
            return GPT2Config(
                vocab_size=self.vocab, n_positions=64, n_embd=self.width, n_layer=self.layers, n_head=self.heads,
                resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **ids,
            )  # fmt: skip
        return Qwen2Config(
            vocab_size=self.vocab, max_position_embeddings=64, hidden_size=self.width,
            num_hidden_layers=self.layers, num_attention_heads=self.heads, num_key_value_heads=self.kv_heads,
            intermediate_size=self.intermediate, tie_word_embeddings=True, **ids,
        )  # fmt: skip


SHAPES = {
    "S0": Shape(layers=2, width=64, vocab=256),
    "S1": Shape(layers=4, width=128, vocab=512),
    "S2": Shape(layers=4, width=256, vocab=2048),
    "S3": Shape(layers=6, width=768, vocab=50257, episodes=8, mini_batches=2),
}

GPU_SHAPES = {  # GPT-2 with 124 M weights, and what Qwen's 0.5B is
    "S4": Shape(layers=12, width=768, vocab=50257, prompt=16, response=32, heads=12),
    "S5": Shape(
        layers=24, width=896, vocab=151936, prompt=16, response=32, heads=14, kv_heads=2, intermediate=4864
    ),
}


def build(shape: Shape, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write `policy/`, `reward/` and `prompts.txt`, a prompt a line, unless they are there."""
    if (folder / "prompts.txt").is_file():
        return
    vocabulary = {"<pad>": 0, "<eos>": 1, **{f"w{i}": i for i in range(2, shape.vocab)}}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )
    for name, kind in (("policy", AutoModelForCausalLM), ("reward", AutoModelForSequenceClassification)):
        torch.manual_seed(0)
        kind.from_config(shape.config()).to(dtype).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    rng = random.Random(0)
    lines = [" ".join(f"w{rng.randrange(2, shape.vocab)}" for _ in range(shape.prompt)) for _ in range(512)]
    (folder / "prompts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def describe(shape: Shape) -> str:
    """One line for a table."""
    return f"{shape.layers} layers × {shape.width}, {shape.vocab:,} words, {shape.episodes} episodes"
