"""A learned reward model: a sequence classifier with one label, read at the last real token."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Formatter

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.data.chats import turns_of
from ppo_tune.data.hub import HubName
from ppo_tune.data.model_folders import called, unread_judge
from ppo_tune.errors import ModelError, PPOTuneError, RewardError
from ppo_tune.models.chat import MARK, control_tokens, exchange
from ppo_tune.models.context import context_length
from ppo_tune.models.fast.kernels import settle
from ppo_tune.models.guard import own_failures
from ppo_tune.models.loading import judge_skeleton, load_tokenizer, load_whole
from ppo_tune.models.text import begin_once, check_tokens, pad_right
from ppo_tune.rewards.base import Columns, Reward, sample

SIDECAR = "reward.json"

JOINED = "{prompt}{response}"
"""A template, or part of one, in which nothing stands between the two."""

PADDING_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.03}
"""How far a text's score may move beside a longer text, as a share of one and the score: rounding, no more."""


@dataclass(frozen=True)
class ScoreFormat:
    """How a reward model reads a text and what its raw score means.

    Attributes:
        template: The text, with {prompt} and {response}; of no effect where it reads chats.
        append_eos: Whether the text ends with the end-of-sequence token.
        gain: The raw score is multiplied by it.
        bias: Then this is added.
        accuracy: Share of held-out preferences it gets right, where known.
        heldout_pairs: How many preferences that share is of.
        accuracy_low: Lower end of its 95 % interval.
        accuracy_high: Upper end.
        chat: Whether it reads the turns of a prompt with the answer through its chat template.
    """

    template: str = JOINED
    append_eos: bool = False
    gain: float = 1.0
    bias: float = 0.0
    accuracy: float | None = None
    heldout_pairs: int | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    chat: bool = False

    def write(self, folder: Path) -> None:
        """Put it beside the model."""
        (folder / SIDECAR).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")


def read_format(name: str | Path) -> ScoreFormat:
    """What stands beside a model, by its folder or hub name, or the plain format for one that is not ours.

    Raises:
        ModelError: If what stands there is no such format.
    """
    sidecar = _sidecar(str(name))
    if sidecar is None:
        return ScoreFormat()
    try:
        return ScoreFormat(**json.loads(sidecar.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{SIDECAR} of reward model {str(name)!r} cannot be read: {error}") from error


def _sidecar(name: str) -> Path | None:
    """The file beside the model, in its folder or on the hub."""
    if Path(name).is_dir():
        return Path(name, SIDECAR) if Path(name, SIDECAR).is_file() else None
    try:
        repo, revision = HubName.of(name)
        found = cached_file(repo, SIDECAR, revision=revision)
    except OSError:
        return None
    return None if found is None else Path(found)


def fill(template: str, prompt: str, response: str) -> str:
    """The text that a reward model reads: fitting, scoring and sampling make it here.

    A response begins with its own space where a word follows the prompt. Where the template writes white space
    before it already, that space is not written twice.
    """
    before = next((literal for literal, name, *_ in Formatter().parse(template) if name == "response"), "")
    if before[-1:].isspace():
        response = response.removeprefix(" ")
    return template.format(prompt=prompt, response=response)


class Reading:
    """How a reward model reads a prompt with its response; needs none of its weights.

    It reads them as the config's template says, else as the file beside the model says, else, where its tokenizer has
    a chat template, as a user's turn with the assistant's answer, else both joined.

    Args:
        config: Names the model and, if need be, how it reads a text.
        model: It, or its skeleton.

    Attributes:
        whole_texts: Whether responses are texts by themselves: a space is then put before one where they are joined,
            unless the prompt ends in white space or the config's template asks for this.

    Raises:
        ModelError: If it is an encoder–decoder, has more than one label, no tokenizer, or a chat template that fails.
    """

    def __init__(self, config: PreferenceRewardConfig, model: PreTrainedModel) -> None:
        self.name = config.model
        if model.config.is_encoder_decoder:
            raise ModelError(unread_judge(called(config.model, judge=True)))
        self.tokenizer = load_tokenizer(config.model)
        if model.config.num_labels != 1:
            raise ModelError(
                f"reward model {config.model!r} must have one label, but has {model.config.num_labels}"
            )
        self.limit = context_length(model)
        self.format = read_format(config.model)
        self.template = config.template or self.format.template
        is_plain = config.template is not None or _sidecar(config.model) is not None
        fitted_to_chats = config.template is None and self.format.chat
        self.reads_chat = fitted_to_chats or (not is_plain and bool(self.tokenizer.chat_template))
        self.whole_texts = False
        self._joins = config.template is None and JOINED in self.template
        self._turns = _tokens_of_turns(self.tokenizer, config.model) if self.reads_chat else []

    def text(self, prompt: str, response: str) -> str:
        """What the model reads of a prompt with its response.

        Raises:
            RewardError: If it reads chats and the prompt is one already.
        """
        if not self.reads_chat:
            apart = self.whole_texts and self._joins and prompt and response
            space = " " if apart and not (prompt[-1].isspace() or response[0].isspace()) else ""
            return fill(self.template, prompt, space + response)
        for token in self._turns:
            if any(token in turn["content"] for turn in turns_of(prompt)):
                raise RewardError(
                    f"reward model {self.name} reads a prompt as a user's turn, but {token!r}, which its chat "
                    f"template writes, is in {sample(prompt, response)} already; give the bare prompt with "
                    "task.chat: true, or set the reward's template to '{prompt}{response}'"
                )
            response = response.replace(token, "")  # a turn that the policy made up is none
        return exchange(
            self.tokenizer, prompt, response.removeprefix(" "), asked_by=f"reward model {self.name!r}"
        )

    def n_too_long(self, prompts: Sequence[str], response_tokens: int) -> int:
        """How many prompts the model reads without their beginning, beside a response of so many tokens."""
        if self.limit is None or not prompts:
            return 0
        texts = [self.text(prompt, "") for prompt in prompts]
        rows = self.tokenizer(texts, add_special_tokens=not self.reads_chat)["input_ids"]
        return sum(len(row) + self.format.append_eos + response_tokens > self.limit for row in rows)


class PreferenceReward(Reward):
    """The score of a reward model, centred and scaled where it was made by `ppo-tune reward`.

    Args:
        config: Names the model and, if need be, how it reads a text.
        device: Where the model runs.

    Attributes:
        reading: How it reads a text.

    Raises:
        ModelError: If the model cannot be loaded, lacks weights, cannot be read with, fails itself, or scores a text
            otherwise beside a longer one.
    """

    def __init__(self, config: PreferenceRewardConfig, device: torch.device) -> None:
        self.name = config.model
        refusal = f"reward model {config.model!r} cannot be loaded"
        model = load_whole(AutoModelForSequenceClassification, config.model, refusal)
        self.reading = Reading(config, model)
        self.tokenizer, self.format = self.reading.tokenizer, self.reading.format
        self.model = settle(model, device).train(False).requires_grad_(False)
        _check_padding(self.model, self.tokenizer, config.model)

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        """One number per response."""
        if not responses:
            return []  # a tokenizer fails on an empty list
        texts = [self.reading.text(*row) for row in zip(prompts, responses, strict=True)]
        with torch.no_grad():
            raw = raw_scores(
                self.model,
                self.tokenizer,
                texts,
                append_eos=self.format.append_eos,
                add_special_tokens=not self.reading.reads_chat,
            )
        scores: list[float] = (self.format.gain * raw + self.format.bias).tolist()
        return scores

    def expect(self, *, whole_texts: bool) -> None:
        """Join prompt and response accordingly."""
        self.reading.whole_texts = whole_texts

    def __str__(self) -> str:
        return f"reward model {self.name}"


def check_judge(
    config: PreferenceRewardConfig, place: str, prompts: Sequence[str], response_tokens: int
) -> str | None:
    """All that can be known of a reward model without its weights, with some prompts that it is to read.

    Returns:
        What its user should know; None if nothing.

    Raises:
        PPOTuneError: If it cannot be used, or not with these prompts.
    """
    reading = Reading(config, judge_skeleton(config.model))
    try:
        n = reading.n_too_long(prompts, response_tokens)
    except RewardError as error:
        raise PPOTuneError(f"{place}: {error}") from None
    if not n:
        return None
    return (
        f"{place}: reward model {config.model!r} reads {reading.limit:,} tokens at most, and {n:,} of {len(prompts):,} "
        f"prompts are longer beside a response of {response_tokens:,}: it does not read their beginning"
    )


def _tokens_of_turns(tokenizer: PreTrainedTokenizerBase, name: str) -> list[str]:
    """The special tokens that the chat template writes around messages."""
    written = exchange(tokenizer, MARK, MARK, asked_by=f"reward model {name!r}")
    return [token for token in control_tokens(tokenizer).values() if token and token in written]


@torch.no_grad()
def _check_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """A text must have one score, whatever else is in its batch.

    Raises:
        ModelError: If it has not, or the model fails.
    """
    short, long = "a", "a b c d e f g h"
    with own_failures(f"reward model {name!r}"):
        alone = float(raw_scores(model, tokenizer, [short], append_eos=False)[0])
        beside = float(raw_scores(model, tokenizer, [short, long], append_eos=False)[0])
    tolerance = PADDING_TOLERANCE.get(model.dtype, 1e-3) * (1 + abs(alone))
    if not abs(alone - beside) <= tolerance:
        raise ModelError(
            f"reward model {name!r} scores a text {alone:.4g} alone and {beside:.4g} beside a longer one, so its "
            "scores would depend on the batch; name one that heeds padding on the right"
        )


def raw_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    append_eos: bool,
    add_special_tokens: bool = True,
) -> Tensor:
    """What a classifier with one label says of N texts, each cut to what it can read, at its last real token.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        texts: N texts.
        append_eos: Whether to end each with the end-of-sequence token.
        add_special_tokens: Whether the tokenizer adds its own; a chat template has written them.

    Returns:
        Shape (N,), float32; differentiable.
    """
    rows = encode_texts(model, tokenizer, texts, append_eos=append_eos, add_special_tokens=add_special_tokens)
    return scores_of(model, tokenizer, rows)


def encode_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    append_eos: bool,
    add_special_tokens: bool = True,
) -> list[list[int]]:
    """Token ids of N texts as a classifier reads them, each without what is beyond its context; see `raw_scores`."""
    eos = [tokenizer.eos_token_id] if append_eos and tokenizer.eos_token_id is not None else []
    tokenizer.truncation_side = "left"  # what is lost is the prompt's beginning, not the response's end
    limit = context_length(model)
    room = {} if limit is None else {"truncation": True, "max_length": limit - len(eos)}
    whole = tokenizer(list(texts), add_special_tokens=add_special_tokens, **room)["input_ids"]
    rows = [row + eos for row in begin_once(tokenizer, texts, whole)]
    check_tokens(rows, tokenizer, model, f"reward model {model.name_or_path!r}")
    return rows


def scores_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]
) -> Tensor:
    """What a classifier with one label says of N texts, given as token ids; see `raw_scores`."""
    padding = tokenizer.pad_token_id  # some encoders count their positions by it
    if padding is None or padding >= model.get_input_embeddings().num_embeddings:
        padding = 0
    ids, mask = pad_right(rows, next(model.parameters()).device, padding=padding)
    head = getattr(model, "score", None)
    if not isinstance(head, torch.nn.Module):  # an encoder: it pools by itself
        return model(input_ids=ids, attention_mask=mask.long()).logits[:, 0].float()  # type: ignore[no-any-return]
    hidden = model.base_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    picked = hidden[torch.arange(len(rows), device=ids.device), mask.sum(-1) - 1]
    with torch.autocast(picked.device.type, enabled=False):  # a score in bfloat16 would be too coarse
        return head(picked.to(next(head.parameters()).dtype))[:, 0].float()  # type: ignore[no-any-return]
