"""Fit a reward model to preferences, and centre it on what the base model says.

    ppo-tune reward data/preferences.jsonl --base models/base --out models/reward

Papers: Stiennon et al., 2020, arXiv:2009.01325 (the loss); Ziegler et al., 2019, arXiv:1909.08593 (scores
of the base model get mean 0 and standard deviation 1).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.config.blocks import ModelConfig
from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.data.chats import has_turns
from ppo_tune.data.hub import pretrained
from ppo_tune.errors import DataError, ModelError
from ppo_tune.files import make_folder
from ppo_tune.fitting.loop import Progress, fit
from ppo_tune.fitting.sft import cut_prompts, hold_out
from ppo_tune.models import load_policy, load_tokenizer
from ppo_tune.models.answers import answer_texts, draw_uniforms, encode_checked
from ppo_tune.models.chat import exchange, turn_end
from ppo_tune.models.fast.kernels import settle
from ppo_tune.models.stops import Stops
from ppo_tune.ppo import preference_loss
from ppo_tune.rewards.preference import ScoreFormat, fill, raw_scores
from ppo_tune.seeding import derive_seed, generator

Preference = tuple[str, str, str]
"""A prompt, the chosen response and the rejected one."""


@dataclass(frozen=True)
class RewardTrainingResult:
    """What came of a fit.

    Attributes:
        preferences: Preferences it learned from.
        accuracy: Share of held-out preferences where the chosen response scores higher; equal scores count half.
        heldout_pairs: How many preferences were held out.
        interval: The accuracy's 95 % interval, by Wilson.
        base_mean: Mean raw score of the base model's responses, before centring.
        base_std: Their standard deviation.
        notes: What the user should know of the data.
    """

    preferences: int
    accuracy: float
    heldout_pairs: int
    interval: tuple[float, float]
    base_mean: float
    base_std: float
    notes: tuple[str, ...] = ()

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


def fit_reward(
    preferences: Sequence[Preference],
    base: str,
    out: Path,
    config: RewardTrainingConfig | None = None,
    *,
    progress: Progress = lambda _: None,
) -> RewardTrainingResult:
    """Fit a Bradley–Terry reward model and write it as a Hugging Face folder.

    Where a prompt is a conversation, the model reads all of them through the chat template of its tokenizer.

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
            writes nothing.
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
    heldout, train = [preferences[i] for i in split.heldout], [preferences[i] for i in split.train]
    samples = sample_base(base, [prompt for prompt, _, _ in train], config, chat=chat)
    tokenizer = load_tokenizer(base)
    model = _classifier(base, tokenizer, config.seed)

    score = partial(_scores, model, tokenizer, None if chat else config.template)

    def loss(batch: list[Preference]) -> Tensor:
        return preference_loss(*_score_pairs(score, batch)).mean()

    fit(model, train, loss, CosineAnnealingLR, config, kind="reward", progress=progress)
    with torch.no_grad():
        chosen, rejected = _score_pairs(score, heldout)
    accuracy = share_right(chosen, rejected)
    mean, std = _mean_and_std(score, samples)
    low, high = wilson(accuracy, len(heldout))
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    ScoreFormat(
        config.template,
        append_eos=not chat and tokenizer.eos_token_id is not None,
        gain=1 / std,
        bias=-(1 / std) * mean,
        accuracy=accuracy,
        heldout_pairs=len(heldout),
        accuracy_low=low,
        accuracy_high=high,
        chat=chat,
    ).write(out)
    notes = (*notes, *(() if chat else _note_on_joining(preferences, config.template)), *split.notes)
    return RewardTrainingResult(len(train), accuracy, len(heldout), (low, high), mean, std, notes)


def share_right(chosen: Tensor, rejected: Tensor) -> float:
    """Share of the preferences, (N,) and (N,), whose chosen response scores higher; equal scores count half."""
    return float(((chosen > rejected).float() + (chosen == rejected).float() / 2).mean())


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of n.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)

    Paper: Wilson, 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    z2 = 1.959964**2 / n
    centre, half = share + z2 / 2, math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    return max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))


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
    policy = load_policy(ModelConfig(name=base, lora_rank=1))
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


def _classifier(base: str, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        **pretrained(base), num_labels=1, pad_token_id=pad, dtype=torch.float32, trust_remote_code=False
    )
    for name, weight in model.named_parameters():
        if name.startswith("score."):  # N(0, 1/√(d+1)), as OpenAI's reward models
            rng = generator(derive_seed(seed, "reward", "head"))
            weight.data.copy_(torch.randn(weight.shape, generator=rng) / math.sqrt(weight.shape[-1] + 1))
    return settle(model, torch.device("cpu"))


Score = Callable[[Sequence[tuple[str, str]]], Tensor]
"""Raw scores (N,) of N prompts with their responses."""


def _scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: str | None,
    pairs: Sequence[tuple[str, str]],
) -> Tensor:
    """Raw scores, by a template or, where it is None, through the tokenizer's chat template."""
    if template is not None:
        return raw_scores(model, tokenizer, [fill(template, *pair) for pair in pairs], append_eos=True)
    texts = [exchange(tokenizer, p, r.removeprefix(" "), asked_by="reward") for p, r in pairs]
    return raw_scores(model, tokenizer, texts, append_eos=False, add_special_tokens=False)


def _score_pairs(score: Score, preferences: Sequence[Preference]) -> tuple[Tensor, Tensor]:
    """Raw scores of the chosen and of the rejected responses, in one pass."""
    scores = score([(p, c) for p, c, _ in preferences] + [(p, r) for p, _, r in preferences])
    return scores[: len(preferences)], scores[len(preferences) :]


@torch.no_grad()
def _mean_and_std(score: Score, pairs: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """Mean raw score of some prompts with responses, and the standard deviation, which is never 0.

    Raises:
        ModelError: If one of them is not finite.
    """
    raw = score(pairs)
    mean, std = float(raw.mean()), float(raw.std())
    if not math.isfinite(mean + std):
        raise ModelError("the fit diverged, so no reward model was written; lower learning_rate")
    return mean, max(std, 1e-6)
