"""Fit a reward model to preferences, and centre it on what the base model says.

    ppo-tune reward data/preferences.jsonl --base models/base --out models/reward

Papers: Stiennon et al., 2020, arXiv:2009.01325 (the loss); Ziegler et al., 2019, arXiv:1909.08593 (scores
of the base model get mean 0 and standard deviation 1).
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.config.blocks import ModelConfig
from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.data.chats import has_turns
from ppo_tune.data.hub import pretrained
from ppo_tune.errors import DataError, ModelError
from ppo_tune.files import make_folder, write_json
from ppo_tune.fitting.intervals import Interval, few_heldout, share_interval
from ppo_tune.fitting.loop import Loss, Progress, fit, measure
from ppo_tune.fitting.rows import FACTS, cut_prompts, hold_out
from ppo_tune.fitting.weights import FittedWeights, dtypes_of
from ppo_tune.models import load_policy, load_tokenizer
from ppo_tune.models.answers import answer_texts, draw_uniforms, encode_checked
from ppo_tune.models.chat import exchange, turn_end
from ppo_tune.models.context import context_length
from ppo_tune.models.stops import Stops
from ppo_tune.ppo import preference_loss
from ppo_tune.rewards.preference import ScoreFormat, encode_texts, fill, scores_of
from ppo_tune.seeding import derive_seed, generator

Preference = tuple[str, str, str]
"""A prompt, the chosen response and the rejected one."""

Pair = tuple[Sequence[int], Sequence[int]]
"""What the model reads of a preference: the token ids of the chosen text and of the rejected one."""

TOKENS_AT_ONCE = 2**16
"""Tokens, with padding, that are scored in one pass without gradients."""


@dataclass(frozen=True)
class RewardTrainingResult:
    """What came of a fit.

    Attributes:
        preferences: Preferences it learned from.
        accuracy: Share of held-out preferences where the chosen response scores higher; equal scores count half.
        heldout_pairs: How many preferences were held out.
        interval: The accuracy's 95 % interval: Wilson's, of fewer pairs where several have one prompt.
        base_mean: Mean raw score of the base model's responses, before centring.
        base_std: Their standard deviation.
        notes: What the user should know of the data.
        heldout_prompts: Of how many prompts the held-out preferences are; None for as many.
        loss: Mean held-out loss, -log σ(chosen - rejected) of the raw scores; log 2 at chance.
    """

    preferences: int
    accuracy: float
    heldout_pairs: int
    interval: Interval
    base_mean: float
    base_std: float
    notes: tuple[str, ...] = ()
    heldout_prompts: int | None = None
    loss: float = math.nan

    @property
    def warning(self) -> str | None:
        """What is wrong with an accuracy that is not above chance; None if it is."""
        low, high = self.interval
        if high < 0.5:
            return (
                "the reward model prefers what was rejected: its accuracy is below chance, 0.5; look whether "
                "`chosen` and `rejected` are swapped"
            )
        if low <= 0.5:
            return (
                "the reward model cannot be told from chance, 0.5, so a policy trained on it learns nothing that is "
                "preferred; give more preferences, more epochs or another learning rate"
            )
        return None

    @property
    def warnings(self) -> tuple[str, ...]:
        """That, and an accuracy that is measured on little; a sentence each."""
        few = few_heldout(self.heldout_prompts or self.heldout_pairs, "accuracy")
        return (*filter(None, [self.warning]), *few)


def fit_reward(
    preferences: Sequence[Preference],
    base: str,
    out: Path,
    config: RewardTrainingConfig | None = None,
    *,
    progress: Progress = lambda _: None,
) -> RewardTrainingResult:
    """Fit a Bradley–Terry reward model and write it as a Hugging Face folder.

    Where a prompt is a conversation, the model reads all of them through the chat template of its tokenizer. It is
    fitted on the first GPU, if there is one. What the fit is worth is kept beside the model in `fit.json`.

    Args:
        preferences: At least two.
        base: Folder or hub name of the model it starts from, whose samples also fix mean and scale.
        out: The folder to write.
        config: How to fit.
        progress: Told how far the fit is.

    Returns:
        The held-out accuracy and the scale.

    Raises:
        DataError: If there are too few preferences, or a prompt is too long for the base model to answer.
        ModelError: If `base` cannot be loaded, has no chat template where one is needed, or the fit diverges, which
            writes nothing, or there is no memory for it.
        StorageError: If the folder cannot be written.
    """
    config = config or RewardTrainingConfig()
    if len(preferences) < 2:
        raise DataError(f"at least 2 preferences are needed, but got {len(preferences)}")
    make_folder(out)
    preferences, notes = cut_prompts(preferences)
    prompts = [prompt for prompt, _, _ in preferences]
    chat = has_turns(prompts)
    split = hold_out(prompts, config.heldout_fraction, generator(config.seed, "reward", "split"))
    samples = sample_base(base, [prompts[i] for i in split.train], config, chat=chat)
    tokenizer = load_tokenizer(base)
    reader = _Reader(_classifier(base, tokenizer, config), tokenizer, config.template, chat=chat)
    pairs = reader.pairs(preferences)
    heldout, train = ([pairs[i] for i in part] for part in (split.heldout, split.train))
    loss: Loss[Pair] = Loss(lambda batch: preference_loss(*reader.score_pairs(batch).unbind(-1)), lambda _: 1)
    fit(reader.weights, train, loss, CosineAnnealingLR, config, kind="reward", progress=progress)
    chosen, rejected = reader.measure_pairs(heldout, config).unbind(-1)
    right = rights(chosen, rejected)
    mean, std = _mean_and_std(reader.measure(reader.encode(samples), config))
    reader.weights.save(out)
    tokenizer.save_pretrained(out)
    result = RewardTrainingResult(
        len(train),
        float(right.mean()),
        len(heldout),
        share_interval(right, split.prompts),
        mean,
        std,
        (
            *notes,
            *(() if chat else _note_on_joining(preferences, config.template)),
            *reader.notes(),
            *split.notes,
        ),
        len({*split.prompts}),
        float(preference_loss(chosen, rejected).mean()),
    )
    reader.format(result).write(out)
    write_json(out / FACTS, _facts(result, (*reader.notes(), *split.notes)))
    return result


def _facts(result: RewardTrainingResult, notes: tuple[str, ...]) -> dict[str, Any]:
    """What is kept of how good a reward model is; what the user's texts say is left out."""
    return {
        "kind": "reward",
        "preferences": result.preferences,
        "heldout_pairs": result.heldout_pairs,
        "heldout_prompts": result.heldout_prompts,
        "accuracy": result.accuracy,
        "accuracy_interval": result.interval,
        "loss": result.loss,
        "notes": notes,
    }


def rights(chosen: Tensor, rejected: Tensor) -> Tensor:
    """1 for each preference, (N,) and (N,), whose chosen response scores higher, 1/2 for equal scores, else 0."""
    return (chosen > rejected).float() + (chosen == rejected).float() / 2


def _note_on_joining(preferences: Sequence[Preference], template: str) -> tuple[str, ...]:
    """A note where most prompts and responses become one word at their border."""

    def glued(prompt: str, response: str) -> bool:
        return not prompt[-1:].isspace() and response[:1].isascii() and response[:1].isalnum()

    joined = [(prompt, chosen) for prompt, chosen, _ in preferences if glued(prompt, chosen)]
    if "{prompt}{response}" not in template or 2 * len(joined) <= len(preferences):
        return ()
    prompt, chosen = joined[0]
    return (
        f"prompt and response are read without a space between them, as in {prompt[-20:] + chosen[:20]!r}; if "
        "responses are to begin with one, fit with the template '{prompt} {response}'",
    )


def sample_base(
    base: str, prompts: Sequence[str], config: RewardTrainingConfig, *, chat: bool = False
) -> list[tuple[str, str]]:
    """Prompts with responses of the base model, `config.base_samples` of them; through its chat template if so.

    Raises:
        DataError: If a prompt leaves no room for a response in the model's context.
        ModelError: If `base` cannot be loaded.
    """
    policy = load_policy(ModelConfig(name=base, lora_rank=1, dtype=config.dtype))
    if chat and (end := turn_end(policy.tokenizer, asked_by="reward")) is not None:
        policy.stop_also(Stops((end,)))
    encode_checked(policy, prompts, config.max_new_tokens, chat=chat)
    chosen = [prompts[i % len(prompts)] for i in range(config.base_samples)]
    pairs: list[tuple[str, str]] = []
    for start in range(0, len(chosen), 256):
        chunk = chosen[start : start + 256]
        rng = generator(config.seed, "reward", "samples", start)
        uniforms = draw_uniforms(len(chunk), config.max_new_tokens, rng)
        answers = answer_texts(policy, chunk, uniforms, temperature=1.0, chat=chat)
        pairs += zip(chunk, answers, strict=True)
    return pairs


def _classifier(base: str, tokenizer: PreTrainedTokenizerBase, config: RewardTrainingConfig) -> FittedWeights:
    """A model with one score instead of logits, whose head is fitted whatever else is."""
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


class _Reader:
    """A reward model in fit, which reads a text by a template or, of chats, through its chat template."""

    def __init__(
        self, weights: FittedWeights, tokenizer: PreTrainedTokenizerBase, template: str, *, chat: bool
    ) -> None:
        self.weights = weights
        self.tokenizer = tokenizer
        self.template = template
        self.chat = chat
        self._n_cut = self._n_pairs = 0

    def format(self, result: RewardTrainingResult) -> ScoreFormat:
        """How the model reads a text, what its raw score means, and how good it is."""
        low, high = result.interval
        return ScoreFormat(
            self.template,
            append_eos=not self.chat and self.tokenizer.eos_token_id is not None,
            gain=1 / result.base_std,
            bias=-(1 / result.base_std) * result.base_mean,
            accuracy=result.accuracy,
            heldout_pairs=result.heldout_pairs,
            accuracy_low=low,
            accuracy_high=high,
            chat=self.chat,
        )

    def pairs(self, preferences: Sequence[Preference]) -> list[Pair]:
        """The token ids of preferences; how many have a text that lost its beginning is kept for `notes`."""
        chosen, chosen_cut = self._encoded([(p, c) for p, c, _ in preferences])
        rejected, rejected_cut = self._encoded([(p, r) for p, _, r in preferences])
        self._n_pairs = len(preferences)
        self._n_cut = sum(a or b for a, b in zip(chosen_cut, rejected_cut, strict=True))
        return list(zip(chosen, rejected, strict=True))

    def encode(self, texts: Sequence[tuple[str, str]]) -> list[Sequence[int]]:
        """The token ids of prompts with their responses."""
        return self._encoded(texts)[0]

    def _encoded(self, texts: Sequence[tuple[str, str]]) -> tuple[list[Sequence[int]], list[bool]]:
        model, tokenizer = self.weights.model, self.tokenizer
        rows: list[Sequence[int]] = []
        cut: list[bool] = []
        for start in range(0, len(texts), 1024):
            part = texts[start : start + 1024]
            if self.chat:
                read = [exchange(tokenizer, p, r.removeprefix(" "), asked_by="reward") for p, r in part]
                found = encode_texts(model, tokenizer, read, append_eos=False, add_special_tokens=False)
            else:
                found = encode_texts(
                    model, tokenizer, [fill(self.template, *one) for one in part], append_eos=True
                )
            rows += [array("i", row) for row in found[0]]
            cut += found[1]
        return rows, cut

    def notes(self) -> tuple[str, ...]:
        """How many preferences have a text beyond the context."""
        if not self._n_cut:
            return ()
        return (
            f"{self._n_cut:,} of {self._n_pairs:,} preferences have a text of more than "
            f"{context_length(self.weights.model):,} tokens, the model's context, of which its end is read",
        )

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
        return measure(self.weights, pairs, self.score_pairs, _at_once(2 * longest, config))

    def measure(self, rows: Sequence[Sequence[int]], config: RewardTrainingConfig) -> Tensor:
        """Raw scores of any number of texts, on the CPU and without gradients."""
        return measure(self.weights, rows, self.score, _at_once(max(map(len, rows)), config))


def _at_once(n_tokens: int, config: RewardTrainingConfig) -> int:
    """How many rows of so many tokens at most are scored in one pass."""
    most = max(1, TOKENS_AT_ONCE // max(1, n_tokens))
    return min(most, config.micro_batch_size or most)


def _mean_and_std(raw: Tensor) -> tuple[float, float]:
    """Mean of raw scores, and their standard deviation, which is never 0.

    Raises:
        ModelError: If one of them is not finite.
    """
    mean, std = float(raw.mean()), float(raw.std())
    if not math.isfinite(mean + std):
        raise ModelError("the fit diverged, so no reward model was written; lower learning_rate")
    return mean, max(std, 1e-6)
