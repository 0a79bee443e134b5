"""Fit a language model to prompts with good responses: a small new one, or one that exists.

    ppo-tune sft data/restaurants.csv --prompt mr --response ref --out models/restaurants

Knows nothing of reinforcement learning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ppo_tune.config.fitting import SFTConfig
from ppo_tune.data.chats import ROLES, has_turns
from ppo_tune.data.model_folders import called
from ppo_tune.errors import DataError, ModelError
from ppo_tune.files import make_folder
from ppo_tune.fitting.loop import Progress, fit
from ppo_tune.models.causal import positions
from ppo_tune.models.chat import learned_ids
from ppo_tune.models.context import context_length
from ppo_tune.models.fast.kernels import settle
from ppo_tune.models.loading import best_device, check_files, load_causal_lm, load_tokenizer
from ppo_tune.models.read_back import TOLERANCES, Said, logprobs_of, model_note
from ppo_tune.models.text import check_tokens, pad_right, tokenize
from ppo_tune.seeding import derive_seed, generator

Texts = TypeVar("Texts", bound=tuple[str, ...])


class Example(NamedTuple):
    """A text to learn from.

    Attributes:
        ids: Its tokens.
        learned: Which of them: those of the response, in a conversation those of all that the assistant says.
    """

    ids: list[int]
    learned: list[bool]


NEW_MODEL = ("layers", "heads", "width", "activation", "tokens", "vocab_size")
"""Settings that say what a new model is."""

READ_BACK = 8
"""Held-out examples on which the saved model is compared with the fitted one."""

EOS, PAD, UNKNOWN = "<eos>", "<pad>", "<unk>"

TURNS = ("<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template of a new model, and what begins and ends a turn there."""


@dataclass(frozen=True)
class SFTResult:
    """What came of a fit.

    Attributes:
        parameters: Trainable numbers.
        examples: Examples it learned from.
        heldout_nats_per_token: Mean negative log-likelihood of the responses to prompts never learned from.
        notes: What the user should know of the data.
    """

    parameters: int
    examples: int
    heldout_nats_per_token: float
    notes: tuple[str, ...] = ()


def fit_sft(
    pairs: Sequence[tuple[str, str]],
    out: Path,
    config: SFTConfig | None = None,
    *,
    base: str | None = None,
    progress: Progress = lambda _: None,
) -> SFTResult:
    """Fit a model to (prompt, response) pairs and write it as a Hugging Face folder.

    The loss is on the response and the end-of-sequence token after it, never on the prompt. Where a prompt is a
    conversation, all pairs go through the chat template, and the loss is on what the assistant says in all its turns.

    Args:
        pairs: At least two.
        out: The folder to write.
        config: Sizes and step sizes.
        base: A model to go on from; None builds a small GPT-2 and its tokenizer from the texts.
        progress: Told how far the fit is.

    Returns:
        Sizes and the held-out loss.

    Raises:
        DataError: If there are too few pairs, or one is longer than the model's context.
        StorageError: If the folder cannot be written.
        ModelError: If `base` cannot be loaded, has fewer tokens than its tokenizer, no end-of-sequence token, or no
            chat template where one is needed, or if the folder, loaded again, holds something else than was fitted.
    """
    config = config or SFTConfig()
    if len(pairs) < 2:
        raise DataError(f"at least 2 prompts with responses are needed, but got {len(pairs)}")
    pairs, notes = cut_prompts(pairs)
    sizes = [name for name in NEW_MODEL if getattr(config, name) != getattr(SFTConfig(), name)]
    if base and sizes:
        notes += (
            f"{', '.join(sizes)}: of a new model, so without effect on {base}, which is fitted as it is",
        )
    tokenizer, model, examples = _load_or_build(pairs, out, config, base)
    make_folder(out)
    settle(model, best_device())
    split = hold_out(
        [prompt for prompt, _ in pairs], config.heldout_fraction, generator(config.seed, "sft", "split")
    )
    train, heldout = ([examples[i] for i in part] for part in (split.train, split.heldout))

    def loss_per_token(batch: list[Example]) -> Tensor:
        loss, n_tokens = _nats(model, batch)
        return loss / n_tokens

    fit(model, train, loss_per_token, _warm_cosine, config, kind="sft", progress=progress)
    loss = _heldout_loss(model, heldout, config.batch_size)
    starts = ((ids, learned.index(True)) for ids, learned in heldout[:READ_BACK])
    rows = [(ids[:start], ids[start:]) for ids, start in starts]
    said = Said(rows, logprobs_of(model, rows), TOLERANCES[model.dtype])
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    model_note(out, said)
    return SFTResult(model.num_parameters(), len(train), loss, (*notes, *split.notes))


def _load_or_build(
    pairs: Sequence[tuple[str, str]], out: Path, config: SFTConfig, base: str | None
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel, list[Example]]:
    """Tokenizer and model, those of `base` or new ones, and the pairs as token ids that the model can read."""
    if base:
        check_files(base)
        tokenizer = load_tokenizer(base)
    else:
        chat = has_turns(prompt for prompt, _ in pairs)
        tokenizer = build_tokenizer([text for pair in pairs for text in pair], config, chat=chat)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {base!r} has no end-of-sequence token, so a model fitted with it could not learn to "
            "stop; set its eos_token and save it"
        )
    examples = _tokenize_pairs(tokenizer, pairs)
    longest = max(len(ids) for ids, _ in examples)
    model = load_causal_lm(base) if base else build_gpt2(tokenizer, longest, config)
    check_tokens((ids for ids, _ in examples), tokenizer, model, called(base or str(out)))
    limit = context_length(model)
    if limit is not None and longest > limit:
        raise DataError(
            f"`tokens <= {limit}`, the model's context, must hold for a prompt with its response, "
            f"but got {longest}"
        )
    return tokenizer, model, examples


@dataclass(frozen=True)
class HoldOut:
    """Rows to learn from and rows kept apart, and what the user should know of them."""

    train: list[int]
    heldout: list[int]
    notes: tuple[str, ...]


def hold_out(prompts: Sequence[str], fraction: float, rng: torch.Generator) -> HoldOut:
    """Keep some of the prompts apart, each with all of its rows.

    Args:
        prompts: The prompt of each row, at least two.
        fraction: Share of the different prompts that is kept apart, at least one.
        rng: Decides which.
    """
    rows: dict[Any, list[int]] = {}
    alone = len({*prompts}) == 1
    for i, prompt in enumerate(prompts):
        rows.setdefault(i if alone else prompt, []).append(i)
    groups = list(rows.values())
    order: list[int] = torch.randperm(len(groups), generator=rng).tolist()
    n_heldout = max(1, int(len(groups) * fraction))
    heldout, train = ([i for g in part for i in groups[g]] for part in (order[:n_heldout], order[n_heldout:]))
    note = "all rows have one prompt, so what is held out are rows of it and says nothing of other prompts"
    return HoldOut(train, heldout, (note,) if alone else ())


def cut_prompts(rows: Sequence[Texts]) -> tuple[list[Texts], tuple[str, ...]]:
    """Rows whose responses do not begin with their prompt again, and a note where they did.

    Data sets often hold whole texts, the prompt included; fitted as they stand, the prompt would be read twice.
    Where most rows have such a response, it is cut from all of them; where few have, they may mean it and stay.

    Args:
        rows: A prompt and its responses each.
    """
    twice = [bool(prompt) and any(text.startswith(prompt) for text in texts) for prompt, *texts in rows]
    found = f"{sum(twice)} of {len(rows)} rows hold their prompt again at the beginning of the responses"
    if 2 * sum(twice) <= len(rows):
        note = f"{found}; they are taken as they stand, for the others do not"
        return list(rows), (note,) if any(twice) else ()
    cut = [
        cast(Texts, (row[0], *(text.removeprefix(row[0]) for text in row[1:]))) if again else row
        for row, again in zip(rows, twice, strict=True)
    ]
    return cut, (f"{found}; it is cut there",)


def build_tokenizer(
    texts: Sequence[str], config: SFTConfig, *, chat: bool = False
) -> PreTrainedTokenizerFast:
    """A tokenizer fitted to the texts: whole words, or byte-level BPE; for conversations with a chat template."""
    if chat:
        made = build_tokenizer([*texts, "\n".join(ROLES.values())], config)
        made.add_special_tokens({"eos_token": TURNS[1], "additional_special_tokens": [TURNS[0]]})
        made.chat_template = CHATML
        return made
    if config.tokens == "words":
        words = sorted({word for text in texts for word in text.split()})
        vocabulary = {word: i for i, word in enumerate([PAD, EOS, UNKNOWN, *words])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return _wrap(tokenizer, unk_token=UNKNOWN)
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
    return _wrap(tokenizer)


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
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.seed, "sft", "weights"))
        return GPT2LMHeadModel(architecture)


def _wrap(tokenizer: Tokenizer, **tokens: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD, padding_side="left",
        clean_up_tokenization_spaces=False, **tokens,
    )  # fmt: skip


def _tokenize_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]) -> list[Example]:
    if has_turns(prompt for prompt, _ in pairs):
        return [Example(*learned_ids(tokenizer, prompt, response)) for prompt, response in pairs]
    prompts = tokenize(tokenizer, [prompt for prompt, _ in pairs])
    responses = tokenizer([response for _, response in pairs], add_special_tokens=False)["input_ids"]
    return [
        Example([*p, *r, tokenizer.eos_token_id], [False] * len(p) + [True] * (len(r) + 1))
        for p, r in zip(prompts, responses, strict=True)
    ]


def _warm_cosine(optimizer: torch.optim.Optimizer, n_steps: int) -> LRScheduler:
    """A twentieth of the steps to warm up, then a cosine to a thousandth."""
    warmup = max(1, n_steps // 20)
    return LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / n_steps)) + 1e-3),
    )


@torch.no_grad()
def _heldout_loss(model: PreTrainedModel, examples: list[Example], batch_size: int) -> float:
    chunks = (examples[i : i + batch_size] for i in range(0, len(examples), batch_size))
    sums = [_nats(model, chunk) for chunk in chunks]
    return float(sum(loss for loss, _ in sums)) / sum(n for _, n in sums)


def _nats(model: PreTrainedModel, examples: Sequence[Example]) -> tuple[Tensor, int]:
    """Summed negative log-likelihood of the response tokens, and how many there are."""
    device = next(model.parameters()).device
    ids, mask = pad_right([ids for ids, _ in examples], device)
    learned = pad_right([learned for _, learned in examples], device)[0].bool()
    logits = model(input_ids=ids, attention_mask=mask.long(), position_ids=positions(mask)).logits.float()
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return torch.where(learned[:, 1:], losses, 0.0).sum(), int(learned[:, 1:].sum())
