"""A learned reward model: a sequence classifier, read at the last real token."""

from collections.abc import Sequence
from string import Formatter

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.data.chats import turns_of
from ppo_tune.data.model_folders import called, unread_judge
from ppo_tune.errors import ModelError, PPOTuneError, RewardError
from ppo_tune.models.chat import MARK, control_tokens, exchange
from ppo_tune.models.context import context_length
from ppo_tune.models.fast.kernels import settle
from ppo_tune.models.guard import own_failures
from ppo_tune.models.loading import judge_skeleton, load_tokenizer, load_whole
from ppo_tune.models.text import begin_once, check_tokens, pad_right
from ppo_tune.rewards.base import Columns, Reward, sample
from ppo_tune.rewards.links import Link
from ppo_tune.rewards.score_format import JOINED, SIDECAR, ScoreFormat, read_format, sidecar

PADDING_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.03}
"""How far a text's score may move beside a longer text, as a share of one and the score: rounding, no more."""


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
        ModelError: If it is an encoder–decoder, has several labels of which none is named, no tokenizer, or a chat
            template that fails.
    """

    def __init__(self, config: PreferenceRewardConfig, model: PreTrainedModel) -> None:
        self.name, self._reads = config.model, config.reads
        if model.config.is_encoder_decoder:
            raise ModelError(unread_judge(called(config.model, judge=True)))
        self.tokenizer = load_tokenizer(config.model)
        self.limit = context_length(model)
        self.format = read_format(config.model)
        self.link = _link(config, model, self.format)
        self.gain, self.bias = self._scale(config)
        self.template = config.template or self.format.template
        is_plain = config.template is not None or sidecar(config.model) is not None
        fitted_to_chats = config.template is None and self.format.chat
        self.reads_chat = fitted_to_chats or (not is_plain and bool(self.tokenizer.chat_template))
        self.whole_texts = False
        self._joins = config.template is None and JOINED in self.template
        self._turns = _tokens_of_turns(self.tokenizer, config.model) if self.reads_chat else []

    def _scale(self, config: PreferenceRewardConfig) -> tuple[float, float]:
        """What the raw score is multiplied by, and what is added; nothing is done to a probability."""
        if config.reads != "score":
            return 1.0, 0.0
        if self.link.column is not None and self.format.scales:
            return self.format.scales[self.link.column]
        return self.format.gain, self.format.bias

    def score(self, said: Tensor) -> Tensor:
        """What is made of the model's outputs, (N, H) -> (N,)."""
        return self.gain * self.link.read(said, self._reads) + self.bias

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
        _check_padding(self.model, self.reading)

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        """One number per response."""
        if not responses:
            return []  # a tokenizer fails on an empty list
        texts = [self.reading.text(*row) for row in zip(prompts, responses, strict=True)]
        with torch.no_grad():
            said = raw_outputs(
                self.model,
                self.tokenizer,
                texts,
                append_eos=self.format.append_eos,
                add_special_tokens=not self.reading.reads_chat,
            )
        scores: list[float] = self.reading.score(said).tolist()
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


def _link(config: PreferenceRewardConfig, model: PreTrainedModel, format: ScoreFormat) -> Link:
    """From the model's outputs to one number, as the file beside it says, or by the class that is to be reached.

    Raises:
        ModelError: If that is not known, or the model has other outputs.
    """
    name, n = f"reward model {config.model!r}", len(model.config.id2label or {})
    if format.link.outputs == n:
        try:
            link = format.link if config.label is None else format.link.of_attribute(config.label)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None
    else:
        names = tuple(str(one) for _, one in sorted((model.config.id2label or {}).items()))
        if format.link != Link():
            raise ModelError(
                f"{SIDECAR} of {name} speaks of {format.link.outputs} outputs, but the model has {n} labels"
            )
        if config.label not in names:
            got = "" if config.label is None else f", but got {config.label!r}"
            raise ModelError(
                f"{name} has {n} labels, {', '.join(names)}; say by `label` which of them is to be reached{got}"
            )
        good = names.index(config.label)
        if model.config.problem_type == "multi_label_classification":  # each has a logit of its own
            link = Link((f"not {config.label}", config.label), (0.0,), 1, column=good)
        else:
            link = Link(names, good=good)
    link.check(config.reads, name)
    return link


@torch.no_grad()
def _check_padding(model: PreTrainedModel, reading: Reading) -> None:
    """A text must have one score, whatever else is in its batch.

    Raises:
        ModelError: If it has not, or the model fails.
    """
    name, short, long = reading.name, "a", "a b c d e f g h"

    def scores(texts: list[str]) -> Tensor:
        return reading.link.read(raw_outputs(model, reading.tokenizer, texts, append_eos=False), "score")

    with own_failures(f"reward model {name!r}"):
        alone, beside = float(scores([short])[0]), float(scores([short, long])[0])
    tolerance = PADDING_TOLERANCE.get(model.dtype, 1e-3) * (1 + abs(alone))
    if not abs(alone - beside) <= tolerance:
        raise ModelError(
            f"reward model {name!r} scores a text {alone:.4g} alone and {beside:.4g} beside a longer one, so its "
            "scores would depend on the batch; name one that heeds padding on the right"
        )


def raw_outputs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    append_eos: bool,
    add_special_tokens: bool = True,
) -> Tensor:
    """What a classifier with H labels says of N texts, each cut to what it can read, at its last real token.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        texts: N texts.
        append_eos: Whether to end each with the end-of-sequence token.
        add_special_tokens: Whether the tokenizer adds its own; a chat template has written them.

    Returns:
        Shape (N, H), float32; differentiable.
    """
    rows = encode_texts(model, tokenizer, texts, append_eos=append_eos, add_special_tokens=add_special_tokens)
    return outputs_of(model, tokenizer, rows)


def encode_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    append_eos: bool,
    add_special_tokens: bool = True,
) -> list[list[int]]:
    """Token ids of N texts as a classifier reads them, each without what is beyond its context; see `raw_outputs`."""
    eos = [tokenizer.eos_token_id] if append_eos and tokenizer.eos_token_id is not None else []
    tokenizer.truncation_side = "left"  # what is lost is the prompt's beginning, not the response's end
    limit = context_length(model)
    room = {} if limit is None else {"truncation": True, "max_length": limit - len(eos)}
    whole = tokenizer(list(texts), add_special_tokens=add_special_tokens, **room)["input_ids"]
    rows = [row + eos for row in begin_once(tokenizer, texts, whole)]
    check_tokens(rows, tokenizer, model, f"reward model {model.name_or_path!r}")
    return rows


def outputs_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]
) -> Tensor:
    """What a classifier with H labels says of N texts, given as token ids: (N, H); see `raw_outputs`."""
    padding = tokenizer.pad_token_id  # some encoders count their positions by it
    if padding is None or padding >= model.get_input_embeddings().num_embeddings:
        padding = 0
    ids, mask = pad_right(rows, next(model.parameters()).device, padding=padding)
    head = getattr(model, "score", None)
    if not isinstance(head, torch.nn.Module):  # an encoder: it pools by itself
        return model(input_ids=ids, attention_mask=mask.long()).logits.float()  # type: ignore[no-any-return]
    hidden = model.base_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    picked = hidden[torch.arange(len(rows), device=ids.device), mask.sum(-1) - 1]
    with torch.autocast(picked.device.type, enabled=False):  # a score in bfloat16 would be too coarse
        return head(picked.to(next(head.parameters()).dtype)).float()  # type: ignore[no-any-return]
