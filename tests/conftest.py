"""Tiny random models, a tokenizer of single words and a toy task: all built here, nothing downloaded."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast

from ppo_tune.config.model import RANKLESS, AdapterKind, ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.errors import RewardError
from ppo_tune.models import Policy, Prompts, Sequences
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.text import pad_left
from ppo_tune.rewards import Columns, Reward
from ppo_tune.seeding import generator
from ppo_tune.tasks import Prompt, Task

pytest_plugins = ["tests.worlds", "tests.searched", "tests.forked"]

EOS, UNKNOWN, PAD = "<eos>", "<unk>", "<pad>"
WORDS = tuple("abcdefghijklm")
VOCABULARY = (EOS, UNKNOWN, *WORDS, PAD)
PAD_ID = VOCABULARY.index(PAD)
"""A token's place is its id: the stop token is 0, and padding is the last."""

LIKES = {"a": 1.0, "b": 0.5, "c": -1.0, "d": 0.25}
"""What the toy task's reward thinks of words."""

_LLAMA_LIKE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "initializer_range": 0.2},
    "gpt_neo": {
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 4,
        "max_position_embeddings": 32,
        "initializer_range": 0.2,
    },
    "gpt_neox": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 32,
        "initializer_range": 0.2,
    },
    "opt": {
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 24,
        "max_position_embeddings": 32,
        "init_std": 0.2,
    },
    "llama": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "qwen3": {**_LLAMA_LIKE, "head_dim": 8},
}

_BART_LIKE: dict[str, Any] = {
    "d_model": 16,
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 24),
    "max_position_embeddings": 32,
    "init_std": 0.2,
    "decoder_start_token_id": 0,
    "pad_token_id": PAD_ID,
}

ENCODER_DECODERS: dict[str, dict[str, Any]] = {
    "bart": _BART_LIKE,
    "pegasus": _BART_LIKE,
    "t5": {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        **dict.fromkeys(("num_layers", "num_decoder_layers", "num_heads"), 2),
        "initializer_factor": 0.5,
        **dict.fromkeys(("decoder_start_token_id", "pad_token_id"), PAD_ID),
    },
}
"""Sizes of a tiny model of each family; weights are large enough that every mistake shows."""


class WordReward(Reward):
    """Sum of the weights of a response's words, and what it was asked."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights
        self.calls: list[tuple[list[str], list[str], Columns]] = []

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        self.calls.append((list(prompts), list(responses), columns))
        return [sum(self.weights.get(word, 0.0) for word in response.split()) for response in responses]

    @property
    def responses(self) -> list[list[str]]:
        """The responses of each call."""
        return [responses for _, responses, _ in self.calls]


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)


class FailingReward(WordReward):
    """Fails at some of its calls, counted from 0: raises, or answers with NaN."""

    def __init__(self, weights: Mapping[str, float], *, raises: Sequence[int] = (), nan: Sequence[int] = ()):
        super().__init__(weights)
        self.raises = raises
        self.nan = nan

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        call = len(self.calls)
        scores = super().score(prompts, responses, columns)
        if call in self.raises:
            raise RewardError(f"call {call} was meant to fail")
        return [float("nan")] * len(scores) if call in self.nan else scores


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each family of models in turn."""
    return str(request.param)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


@pytest.fixture
def reward() -> WordReward:
    return WordReward(LIKES)


@pytest.fixture
def toy_task(reward: WordReward) -> Task:
    return make_toy_task(reward)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A tiny GPT-2 with its tokenizer, as transformers saves them."""
    return save_tiny_model(tmp_path / "model", "gpt2")


def tiny_tokenizer(**tokens: str | None) -> PreTrainedTokenizerFast:
    """One token per word; named special tokens replace the usual ones."""
    vocabulary = {word: i for i, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": EOS, "unk_token": UNKNOWN, "pad_token": PAD, **tokens}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def tiny_model(family: str = "gpt2", *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model of one family, in training mode as transformers builds it."""
    special = {"vocab_size": len(VOCABULARY), "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    config = AutoConfig.for_model(
        family, **{**special, **{**FAMILIES, **ENCODER_DECODERS}.get(family, {}), **changes}
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = layout_of(config).auto.from_config(config)
        return model


def adapters_of(kind: AdapterKind, *, lora_rank: int | None = 4, **more: Any) -> ModelConfig:
    """A config of adapters of any kind, of small rank where they have one."""
    shape = {} if kind in RANKLESS else {"lora_rank": lora_rank, "lora_alpha": 8.0}
    return ModelConfig.model_validate({"adapter": kind, **shape, **more})


def tiny_policy(
    family: str = "gpt2",
    *,
    places: int = 1,
    lora_rank: int | None = 4,
    adapter: AdapterKind = "lora",
    adapters_vary: bool = False,
    tokenizer: PreTrainedTokenizerFast | None = None,
    **changes: Any,
) -> Policy:
    """A policy whose places are all the reference."""
    policy = Policy(
        tiny_model(family, **changes),
        tokenizer or tiny_tokenizer(),
        adapters_of(adapter, lora_rank=lora_rank),
        places=places,
        adapters_vary=adapters_vary,
    )
    for place in range(places):
        policy.reset(place, generator("place", place))
    return policy


def stirred_policy(family: str = "gpt2", **settings: Any) -> Policy:
    """A policy whose places differ from the reference and from one another, value heads included."""
    return stir(tiny_policy(family, **settings))


def stir(policy: Policy, scale: float = 0.1) -> Policy:
    """Add noise to all numbers of all places."""
    policy.rows.values.add_(scale * torch.randn(policy.rows.values.shape, generator=generator("stir")))
    return policy


def save_tiny_model(folder: Path, family: str = "gpt2", **changes: Any) -> Path:
    """A tiny model with its tokenizer in a folder."""
    tiny_model(family, **changes).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def small_config(**changes: Any) -> PPOConfig:
    """Hyperparameters under which everything happens within an iteration or two: steps, clipping, KL."""
    usual = {
        "learning_rate": 0.01,
        "rollout_size": 8,
        "batch_size": 4,
        "ppo_epochs": 2,
        "max_new_tokens": 6,
        "episodes": 64,
    }
    return PPOConfig(**{**usual, **changes})


def make_toy_task(
    reward: Reward,
    *,
    n_train: int = 12,
    n_heldout: int = 6,
    objective: Reward | None = None,
    **judges: Reward,
) -> Task:
    """Prompts of one to five words, no two alike; each row's column `number` tells them apart."""
    rng = random.Random(0)
    texts: dict[str, None] = {}
    while len(texts) < n_train + n_heldout + 1:
        texts[" ".join(rng.choices(WORDS, k=rng.randint(1, 5)))] = None
    prompts = tuple(Prompt(text, {"number": i}) for i, text in enumerate(texts))
    return Task(
        name="toy",
        prompts={
            "train": prompts[:n_train],
            "heldout": prompts[n_train:-1],
            "confirmation": prompts[-1:],
        },
        reward=reward,
        objective=objective or reward,
        judges=judges,
    )


def prompts_for(rows: Sequence[Sequence[int]], places: int = 1) -> Prompts:
    """The same prompts for each of k places, shape (k, B, P)."""
    prompts = pad_left(rows)
    return Prompts(prompts.ids.expand(places, -1, -1), prompts.mask.expand(places, -1, -1))


def uniforms_for(places: int, rows: int, length: int, *, seed: int = 0) -> Tensor:
    """Numbers in (0, 1], shape (k, B, T)."""
    return 1 - torch.rand(places, rows, length, generator=generator("uniforms", seed))


def make_sequences(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], places: int = 1
) -> Sequences:
    """Given token ids as sequences of shape (k, B, ·); a response has ended if its last token is 0."""
    width = max(map(len, responses))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in responses])
    mask = torch.arange(width) < torch.tensor([len(row) for row in responses])[:, None]
    ended = torch.tensor([row[-1] == 0 for row in responses])
    return Sequences(
        prompts_for(prompts, places),
        ids.expand(places, -1, -1),
        mask.expand(places, -1, -1),
        ended.expand(places, -1),
    )
