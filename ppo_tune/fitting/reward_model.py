"""Fit a reward model to preferences, and centre it on what the base model says.

    ppo-tune reward data/preferences.jsonl --base models/base --out models/reward

Papers: Stiennon et al., 2020, arXiv:2009.01325 (the loss); Ziegler et al., 2019, arXiv:1909.08593 (scores
of the base model get mean 0 and standard deviation 1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.config.model import ModelConfig
from ppo_tune.data.chats import has_turns
from ppo_tune.data.model_folders import check_model
from ppo_tune.data.row_file import View
from ppo_tune.errors import DataError, ModelError
from ppo_tune.fitting.folders import FitFolder
from ppo_tune.fitting.intervals import Interval, few_heldout, share_interval
from ppo_tune.fitting.lengths import Preference, PreferenceLengths, preferences_within
from ppo_tune.fitting.loop import Loss, Progress, fit
from ppo_tune.fitting.rows import cut_prompts, hold_out
from ppo_tune.fitting.scorer import Pair, Scorer, make_classifier
from ppo_tune.fitting.weights import check_rank
from ppo_tune.models import load_policy, load_tokenizer
from ppo_tune.models.answers import answer_texts, check_room, draw_uniforms
from ppo_tune.models.chat import turn_end
from ppo_tune.models.context import context_length
from ppo_tune.models.loading import require_decoder, skeleton
from ppo_tune.models.stops import Stops
from ppo_tune.ppo import preference_loss
from ppo_tune.rewards.preference import JOINED, ScoreFormat
from ppo_tune.seeding import generator


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
    places: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> RewardTrainingResult:
    """Fit a Bradley–Terry reward model and write it as a Hugging Face folder.

    Where a prompt is a conversation, the model reads all of them through the chat template of its tokenizer. It is
    fitted on the first GPU, if there is one. What the fit is worth is kept beside the model in `fit.json`.

    Args:
        preferences: At least two.
        base: Folder or hub name of the model it starts from, whose samples also fix mean and scale.
        out: The folder to write: new, empty, or with an earlier model of `reward`, which stays until the new one is
            whole.
        config: How to fit.
        places: File and line of each preference, for messages.
        progress: Told how far the fit is.

    Returns:
        The held-out accuracy and the scale.

    Raises:
        DataError: If there are too few preferences, or one is longer than the model's context.
        ModelError: If `base` cannot be loaded, has no chat template where one is needed, or the fit diverges, which
            writes nothing, or there is no memory for it.
        StorageError: If the folder holds anything else, or cannot be written.
    """
    config = config or RewardTrainingConfig()
    if len(preferences) < 2:
        raise DataError(f"at least 2 preferences are needed, but got {len(preferences)}")
    folder = FitFolder.of(out, "reward", base)
    check_model(base)
    require_decoder(base)
    check_rank(base, config)
    preferences, notes = cut_prompts(preferences)
    chat = has_turns(prompt for prompt, _, _ in preferences)
    limit, tokenizer = context_length(skeleton(base)), load_tokenizer(base)
    lengths = PreferenceLengths(tokenizer, config, chat=chat)
    data = preferences_within(preferences, lengths, limit, config, places)
    preferences = data.preferences
    split = hold_out(data.prompts, config.heldout_fraction, generator(config.seed, "reward", "split"))
    samples = sample_base(base, View(preferences, itemgetter(0), split.train), config, chat=chat)
    scorer = Scorer(make_classifier(base, tokenizer, config), tokenizer, config.template, chat=chat)
    pairs = scorer.pairs(preferences)
    heldout, train = (View[Pair](pairs, numbers=part) for part in (split.heldout, split.train))
    loss: Loss[Pair] = Loss(lambda batch: preference_loss(*scorer.score_pairs(batch).unbind(-1)), lambda _: 1)
    fit(scorer.weights, train, loss, CosineAnnealingLR, config, kind="reward", progress=progress)
    chosen, rejected = scorer.measure_pairs(heldout, config).unbind(-1)
    right = rights(chosen, rejected)
    mean, std = _mean_and_std(scorer.measure(scorer.encode(samples), config))
    result = RewardTrainingResult(
        len(train),
        float(right.mean()),
        len(heldout),
        share_interval(right, split.prompts),
        mean,
        std,
        (
            *notes,
            *folder.notes,
            *(() if chat else _note_on_joining(preferences, config.template)),
            *data.notes,
            *split.notes,
        ),
        len({*split.prompts}),
        float(preference_loss(chosen, rejected).mean()),
    )
    with folder.written(_facts(result, (*data.notes, *split.notes))) as draft:
        scorer.weights.save(draft)
        tokenizer.save_pretrained(draft)
        _format(result, scorer).write(draft)
    return result


def _format(result: RewardTrainingResult, scorer: Scorer) -> ScoreFormat:
    """How the model reads a text, what its raw score means, and how good it is."""
    low, high = result.interval
    return ScoreFormat(
        scorer.template,
        append_eos=not scorer.chat and scorer.tokenizer.eos_token_id is not None,
        gain=1 / result.base_std,
        bias=-(1 / result.base_std) * result.base_mean,
        accuracy=result.accuracy,
        heldout_pairs=result.heldout_pairs,
        accuracy_low=low,
        accuracy_high=high,
        chat=scorer.chat,
    )


def _facts(result: RewardTrainingResult, notes: tuple[str, ...]) -> dict[str, Any]:
    """What is kept of how good a reward model is; what the user's texts say is left out."""
    return {
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

    joined = (row for row in preferences if glued(*row[:2]))
    first = next(joined, None)
    if JOINED not in template or first is None:
        return ()
    if 2 * (1 + sum(1 for _ in joined)) <= len(preferences):
        return ()
    prompt, chosen, _ = first
    return (
        f"prompt and response are read without a space between them, as in {prompt[-20:] + chosen[:20]!r}; if "
        "responses are to begin with one, fit with the template '{prompt} {response}' (--template)",
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
    check_room(policy, prompts, config.max_new_tokens, chat=chat)
    chosen = [prompts[i % len(prompts)] for i in range(config.base_samples)]
    pairs: list[tuple[str, str]] = []
    for start in range(0, len(chosen), 256):
        chunk = chosen[start : start + 256]
        rng = generator(config.seed, "reward", "samples", start)
        uniforms = draw_uniforms(len(chunk), config.max_new_tokens, rng)
        answers = answer_texts(policy, chunk, uniforms, temperature=1.0, chat=chat)
        pairs += zip(chunk, answers, strict=True)
    return pairs


def _mean_and_std(raw: Tensor) -> tuple[float, float]:
    """Mean of raw scores, and their standard deviation, which is never 0.

    Raises:
        ModelError: If one of them is not finite.
    """
    mean, std = float(raw.mean()), float(raw.std())
    if not math.isfinite(mean + std):
        raise ModelError("the fit diverged, so no reward model was written; lower learning_rate")
    return mean, max(std, 1e-6)
