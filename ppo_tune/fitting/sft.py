"""Fit a language model to prompts with good responses: a small new one, or one that exists.

    ppo-tune sft data/restaurants.csv --prompt mr --reference ref --out models/restaurants

Knows nothing of reinforcement learning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import PreTrainedTokenizerBase

from ppo_tune.calling import argument, place_of
from ppo_tune.config.fitting import SFTConfig
from ppo_tune.data.chats import has_turns
from ppo_tune.data.model_folders import called, check_model
from ppo_tune.data.row_file import View
from ppo_tune.errors import DataError, ModelError
from ppo_tune.fitting.examples import Example, Within, parts_of, tokenize_pairs, within_context
from ppo_tune.fitting.folders import FitFolder
from ppo_tune.fitting.intervals import Interval, few_heldout, mean_interval, positive_interval
from ppo_tune.fitting.likelihood import likelihood
from ppo_tune.fitting.loop import Progress, fit, measure
from ppo_tune.fitting.new_model import build_model, build_tokenizer
from ppo_tune.fitting.rows import cut_prompts, hold_out
from ppo_tune.fitting.weights import FittedWeights, check_rank, dtypes_of
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.layout import remark_on_ends
from ppo_tune.models.loading import DTYPES, load_config, load_language_model, load_tokenizer
from ppo_tune.models.read_back import TOLERANCES, Said, logprobs_of, model_note
from ppo_tune.models.text import check_tokens
from ppo_tune.seeding import generator

NEW_MODEL = ("layers", "heads", "width", "activation", "tokens", "vocab_size")
"""Sizes of a new model."""

READ_BACK = 8
"""Held-out examples on which the saved model is compared with the fitted one."""


@dataclass(frozen=True)
class SFTResult:
    """What came of a fit.

    Attributes:
        parameters: Numbers of the model.
        examples: Examples it learned from.
        heldout_nats_per_token: Mean negative log-likelihood of the responses to prompts never learned from.
        notes: What the user should know of the data.
        heldout_examples: How many examples were held out.
        heldout_prompts: Of how many prompts.
        interval: The loss's 95 % interval, by prompt; None of a single one.
        nats_before: The held-out loss before the fit: the base's own, or that of random weights.
        gain_interval: The 95 % interval of what the fit took from it.
    """

    parameters: int
    examples: int
    heldout_nats_per_token: float
    notes: tuple[str, ...] = ()
    heldout_examples: int = 0
    heldout_prompts: int = 0
    interval: Interval | None = None
    nats_before: float = math.nan
    gain_interval: Interval | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with a loss that did not fall, or is measured on little; a sentence each."""
        after, before = self.heldout_nats_per_token, self.nats_before
        low, high = self.gain_interval or (before - after, before - after)
        found = []
        if high < 0:
            found.append(
                f"the held-out loss rose from {before:.3f} to {after:.3f} nats per token, so responses to new "
                "prompts are less likely than before; take fewer epochs or a lower learning_rate"
            )
        elif low <= 0:
            found.append(
                f"the held-out loss cannot be told from that before the fit, {before:.3f} nats per token: it fell by "
                f"{low:.3f} to {high:.3f}; give more examples, more epochs or another learning_rate"
            )
        return (*found, *few_heldout(self.heldout_prompts, "loss"))


def fit_sft(
    pairs: Sequence[tuple[str, str]],
    out: Path,
    config: SFTConfig | None = None,
    *,
    base: str | None = None,
    places: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> SFTResult:
    """Fit a model to (prompt, response) pairs and write it as a Hugging Face folder.

    The loss is on the response and the end-of-sequence token after it, never on the prompt. Where a prompt is a
    conversation, all pairs go through the chat template, and the loss is on what the assistant says in all its turns.
    It is fitted on the first GPU, if there is one. What the fit is worth is kept beside the model in `fit.json`.

    Args:
        pairs: At least two.
        out: The folder to write: new, empty, or with an earlier model of `sft`, which stays until the new one is whole.
        config: Sizes and step sizes.
        base: A model to go on from; None builds a small GPT-2 or T5 and its tokenizer from the texts.
        places: File and line of each pair, for messages.
        progress: Told how far the fit is.

    Returns:
        Sizes and the held-out loss.

    Raises:
        DataError: If there are too few pairs, or one is longer than the model's context.
        StorageError: If the folder holds anything else, or cannot be written.
        ModelError: If `base` cannot be loaded, has fewer tokens than its tokenizer, no end-of-sequence token, or no
            chat template where one is needed, if the fit diverges, which writes nothing, if there is no memory for it,
            or if the folder, loaded again, holds something else than was fitted.
    """
    config = config or SFTConfig()
    if len(pairs) < 2:
        raise DataError(f"at least 2 prompts with responses are needed, but got {len(pairs)}")
    folder = FitFolder.of(out, "sft", base)
    pairs, notes = cut_prompts(pairs)
    notes += (*_note_on_sizes(config, base), *folder.notes)
    tokenizer, weights, data = _load_or_build(pairs, out, config, base, places)
    split = hold_out(data.prompts, config.heldout_fraction, generator(config.seed, "sft", "split"))
    train, heldout = (View[Example](data.examples, numbers=part) for part in (split.train, split.heldout))
    loss = likelihood(weights.model, tokenizer)

    def heldout_nats() -> Tensor:
        return measure(weights, heldout, loss.of, config.micro_batch_size or config.batch_size)

    before = heldout_nats()
    fit(weights, train, loss, _warm_cosine, config, kind="sft", progress=progress)
    after, tokens = heldout_nats(), torch.tensor([loss.terms(example) for example in heldout])
    if not after.isfinite().all():
        raise ModelError("the fit diverged, so no model was written; lower learning_rate")
    said = _what_it_says(weights, heldout[:READ_BACK])
    result = SFTResult(
        weights.model.num_parameters(),
        len(train),
        float(after.sum() / tokens.sum()),
        (*notes, *data.notes, *split.notes),
        len(heldout),
        len({*split.prompts}),
        positive_interval(after, tokens, split.prompts),
        float(before.sum() / tokens.sum()),
        mean_interval(before - after, tokens, split.prompts),
    )
    with folder.written(_facts(result, (*data.notes, *split.notes))) as draft:
        weights.save(draft)
        tokenizer.save_pretrained(draft)
        unread = model_note(draft, said, draft_of=out)
    return replace(result, notes=(*result.notes, *filter(None, [unread])))


def _note_on_sizes(config: SFTConfig, base: str | None) -> tuple[str, ...]:
    """A note where sizes of a new model are given for one that exists."""
    sizes = [name for name in NEW_MODEL if getattr(config, name) != getattr(SFTConfig(), name)]
    if not base or not sizes:
        return ()
    return (f"{', '.join(sizes)}: of a new model, so without effect on {base}, which is fitted as it is",)


def _facts(result: SFTResult, notes: tuple[str, ...]) -> dict[str, Any]:
    """What is kept of how good the model is; what names a path of this machine is left out."""
    return {
        "examples": result.examples,
        "heldout_examples": result.heldout_examples,
        "heldout_prompts": result.heldout_prompts,
        "nats_per_token": result.heldout_nats_per_token,
        "nats_per_token_interval": result.interval,
        "nats_per_token_before": result.nats_before,
        "gain_interval": result.gain_interval,
        "notes": notes,
    }


def _load_or_build(
    pairs: Sequence[tuple[str, str]], out: Path, config: SFTConfig, base: str | None, places: Sequence[str]
) -> tuple[PreTrainedTokenizerBase, FittedWeights, Within]:
    """Tokenizer and model, those of `base` or new ones, and the pairs as token ids that the model can read."""
    if base:
        check_model(base)
        _check_architecture(base, config)
        check_rank(base, config)
        tokenizer = load_tokenizer(base)
    elif config.lora_rank is not None:
        raise ModelError(
            "lora_rank: adapters are of a model that exists, and a new one is fitted; name one as base (--base), or "
            "leave lora_rank out"
        )
    else:
        chat = has_turns(prompt for prompt, _ in pairs)
        tokenizer = build_tokenizer((text for pair in pairs for text in pair), config, chat=chat)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {base!r} has no end-of-sequence token, so a model fitted with it could not learn to "
            "stop; set its eos_token and save it"
        )
    closed = layout_of(load_config(base)).closes_prompts if base else config.architecture == "t5"
    examples = tokenize_pairs(tokenizer, pairs, closed=closed)
    if base:
        stored, dtype = dtypes_of(base, config)
        model = load_language_model(base, stored)
    else:
        dtype = DTYPES.get(config.dtype, torch.float32)
        model = build_model(tokenizer, max(len(ids) for ids, _ in examples), config)
    check_tokens((ids for ids, _ in examples), tokenizer, model, called(base or str(out)))
    parts = parts_of(model, tokenizer)
    within = within_context(tokenizer, pairs, examples, parts, config.too_long, places)
    told = filter(None, [remark_on_ends(model, tokenizer)])
    return tokenizer, FittedWeights(model, config, dtype), replace(within, notes=(*told, *within.notes))


def _check_architecture(base: str, config: SFTConfig) -> None:
    """A base is what it is; of the two architectures, a decoder is what is wanted where nobody asks.

    Raises:
        ModelError: If an encoder–decoder is asked for, and the base is none.
    """
    found = load_config(base)
    if config.architecture == "t5" and not found.is_encoder_decoder:
        raise ModelError(
            f"{place_of('architecture')}: t5 is an encoder–decoder, but {called(base)} holds a causal language model "
            f"({found.model_type}), which stays one; leave out {argument('architecture')}, or {argument('base')} for a "
            "new model"
        )


def _what_it_says(weights: FittedWeights, examples: Sequence[Example]) -> Said:
    """The log-probabilities by which the saved model is known again."""
    starts = ((ids.tolist(), learned.index(1)) for ids, learned in examples)
    rows = [(ids[:start], ids[start:]) for ids, start in starts]
    with weights.at_work():
        return Said(rows, logprobs_of(weights.model, rows), TOLERANCES[weights.dtype])


def _warm_cosine(optimizer: torch.optim.Optimizer, n_steps: int) -> LRScheduler:
    """A twentieth of the steps to warm up, then a cosine to a thousandth."""
    warmup = max(1, n_steps // 20)
    return LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / n_steps)) + 1e-3),
    )
