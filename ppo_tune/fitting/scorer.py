"""A reward model in fit: made of a language model, it reads prompts with their responses and scores them."""

import math
from array import array
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.data.hub import pretrained
from ppo_tune.data.row_file import RowFile
from ppo_tune.fitting.lengths import Preference
from ppo_tune.fitting.loop import measure
from ppo_tune.fitting.weights import FittedWeights, dtypes_of
from ppo_tune.models.chat import exchange
from ppo_tune.rewards.preference import encode_texts, fill, scores_of
from ppo_tune.seeding import derive_seed, generator

Pair = tuple[Sequence[int], Sequence[int]]
"""What the model reads of a preference: the token ids of the chosen text and of the rejected one."""

TOKENS_AT_ONCE = 2**16
"""Tokens, with padding, that are scored in one pass without gradients."""


TEXTS_AT_ONCE = 1024
"""That are tokenized together."""


def make_classifier(
    base: str, tokenizer: PreTrainedTokenizerBase, config: RewardTrainingConfig
) -> FittedWeights:
    """A model with one score instead of logits, whose head is fitted whatever else is.

    Raises:
        ModelError: If `base` is no causal language model.
    """
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    stored, dtype = dtypes_of(base, config)
    repo, where = pretrained(base)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        repo, **where, num_labels=1, pad_token_id=pad, dtype=stored, trust_remote_code=False
    )
    for name, weight in model.named_parameters():
        if name.startswith("score."):  # N(0, 1/√(d+1)), as OpenAI's reward models
            rng = generator(derive_seed(config.seed, "reward", "head"))
            weight.data.copy_(torch.randn(weight.shape, generator=rng) / math.sqrt(weight.shape[-1] + 1))
    return FittedWeights(model, config, dtype, head=getattr(model, "score", None))


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

    def pairs(self, preferences: Sequence[Preference]) -> Sequence[Pair]:
        """The token ids of preferences."""
        found: RowFile[Pair] = RowFile(_packed, _unpacked)
        for start in range(0, len(preferences), TEXTS_AT_ONCE):
            part = preferences[start : start + TEXTS_AT_ONCE]
            chosen = self.encode([(prompt, chosen) for prompt, chosen, _ in part])
            rejected = self.encode([(prompt, rejected) for prompt, _, rejected in part])
            for pair in zip(chosen, rejected, strict=True):
                found.append(pair)
        return found

    def encode(self, texts: Sequence[tuple[str, str]]) -> list[list[int]]:
        """The token ids of prompts with their responses."""
        model, tokenizer = self.weights.model, self.tokenizer
        if self.chat:
            read = [exchange(tokenizer, p, r.removeprefix(" "), asked_by="reward") for p, r in texts]
            return encode_texts(model, tokenizer, read, append_eos=False, add_special_tokens=False)
        return encode_texts(model, tokenizer, [fill(self.template, *one) for one in texts], append_eos=True)

    def score_pairs(self, pairs: Sequence[Pair]) -> Tensor:
        """Raw scores of the chosen and of the rejected texts of N preferences, in one pass: (N, 2), differentiable."""
        scores = self.score([chosen for chosen, _ in pairs] + [rejected for _, rejected in pairs])
        return scores.view(2, len(pairs)).T

    def score(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Raw scores (N,) of texts as token ids, in one pass, differentiable."""
        return scores_of(self.weights.model, self.tokenizer, rows)

    def measure_pairs(self, pairs: Sequence[Pair], config: RewardTrainingConfig) -> Tensor:
        """The same of any number of preferences, on the CPU and without gradients."""
        longest = max(len(row) for pair in pairs for row in pair)
        return measure(self.weights, pairs, self.score_pairs, rows_at_once(2 * longest, config))

    def measure(self, rows: Sequence[Sequence[int]], config: RewardTrainingConfig) -> Tensor:
        """Raw scores of any number of texts, on the CPU and without gradients."""
        return measure(self.weights, rows, self.score, rows_at_once(max(map(len, rows)), config))


def _packed(pair: Pair) -> bytes:
    chosen, rejected = pair
    return array("i", [len(chosen), *chosen, *rejected]).tobytes()


def _unpacked(packed: bytes) -> Pair:
    n, *ids = array("i", packed)
    return ids[:n], ids[n:]


def rows_at_once(n_tokens: int, config: RewardTrainingConfig) -> int:
    """How many rows of so many tokens at most are scored in one pass."""
    most = max(1, TOKENS_AT_ONCE // max(1, n_tokens))
    return min(most, config.micro_batch_size or most)
