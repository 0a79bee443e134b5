"""A reward model in fit: made of a language model, it reads prompts with their responses and scores them."""

import math
from array import array
from collections.abc import Sequence
from itertools import chain, islice

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.data.hub import pretrained
from ppo_tune.data.row_file import RowFile
from ppo_tune.fitting.lengths import Texts
from ppo_tune.fitting.loop import measure
from ppo_tune.fitting.weights import FittedWeights, dtypes_of
from ppo_tune.models.chat import exchange
from ppo_tune.rewards.preference import encode_texts, fill, outputs_of
from ppo_tune.seeding import derive_seed, generator

Encoded = tuple[Sequence[int], ...]
"""What the model reads of a row: the token ids of the prompt with each of its R responses."""

TOKENS_AT_ONCE = 2**16
"""Tokens, with padding, that are scored in one pass without gradients."""


TEXTS_AT_ONCE = 1024
"""That are tokenized together."""


def make_classifier(
    base: str, tokenizer: PreTrainedTokenizerBase, config: RewardTrainingConfig, outputs: int = 1
) -> FittedWeights:
    """A model with so many outputs instead of logits, whose head is fitted whatever else is.

    Raises:
        ModelError: If `base` is no causal language model.
    """
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    stored, dtype = dtypes_of(base, config)
    repo, where = pretrained(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "reward", "new weights"))  # an encoder's head and pooler
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            repo, **where, num_labels=outputs, pad_token_id=pad, dtype=stored, trust_remote_code=False
        )
    for name, weight in model.named_parameters():
        if name.startswith("score."):  # N(0, 1/√(d+1)), as OpenAI's reward models
            rng = generator(derive_seed(config.seed, "reward", "head"))
            weight.data.copy_(torch.randn(weight.shape, generator=rng) / math.sqrt(weight.shape[-1] + 1))
    return FittedWeights(
        model, config, dtype, head=getattr(model, "score", None) or getattr(model, "classifier", None)
    )


class Scorer:
    """A reward model in fit: it reads a prompt with its response, and scores them.

    Args:
        weights: The classifier.
        tokenizer: Its tokenizer.
        template: The text that it reads, with {prompt} and {response}.
        chat: Whether it reads turns through the tokenizer's chat template instead.
    """

    def __init__(
        self, weights: FittedWeights, tokenizer: PreTrainedTokenizerBase, template: str, *, chat: bool
    ) -> None:
        self.weights = weights
        self.tokenizer = tokenizer
        self.template = template
        self.chat = chat

    def rows(self, texts: Sequence[Texts]) -> Sequence[Encoded]:
        """The token ids of prompts with their responses."""
        found: RowFile[Encoded] = RowFile(_packed, _unpacked)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = texts[start : start + TEXTS_AT_ONCE]
            columns = zip(*part, strict=True)
            prompts = next(columns)
            read = [self.encode([*zip(prompts, responses, strict=True)]) for responses in columns]
            for row in zip(*read, strict=True):
                found.append(row)
        return found

    def encode(self, texts: Sequence[tuple[str, str]]) -> list[list[int]]:
        """The token ids of prompts with their responses."""
        model, tokenizer = self.weights.model, self.tokenizer
        if self.chat:
            read = [exchange(tokenizer, p, r.removeprefix(" "), asked_by="reward") for p, r in texts]
            return encode_texts(model, tokenizer, read, append_eos=False, add_special_tokens=False)
        return encode_texts(model, tokenizer, [fill(self.template, *one) for one in texts], append_eos=True)

    def outputs(self, rows: Sequence[Encoded]) -> Tensor:
        """What the model says of N rows of R responses, in one pass: (N, R, H), differentiable."""
        texts = [ids for part in zip(*rows, strict=True) for ids in part]
        said = outputs_of(self.weights.model, self.tokenizer, texts)
        return said.view(-1, len(rows), said.shape[-1]).transpose(0, 1)

    def measure(self, rows: Sequence[Encoded], config: RewardTrainingConfig) -> Tensor:
        """The same of any number of rows, on the CPU and without gradients."""
        longest = max(len(row) * max(map(len, row)) for row in rows)
        return measure(self.weights, rows, self.outputs, rows_at_once(longest, config))


def _packed(row: Encoded) -> bytes:
    return array("i", [len(row), *map(len, row), *chain(*row)]).tobytes()


def _unpacked(packed: bytes) -> Encoded:
    numbers = iter(array("i", packed))
    lengths = [*islice(numbers, next(numbers))]
    return tuple([*islice(numbers, n)] for n in lengths)


def rows_at_once(n_tokens: int, config: RewardTrainingConfig) -> int:
    """How many rows of so many tokens at most are scored in one pass."""
    most = max(1, TOKENS_AT_ONCE // max(1, n_tokens))
    return min(most, config.micro_batch_size or most)
