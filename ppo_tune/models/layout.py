"""Token layouts: how one kind of language model reads prompts, and reads or writes responses.

A layout knows its model and tokenizer, and nothing of places, adapters, value heads and references. Outside of it
prompts are padded on the left and responses on the right, whatever the kind of model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.models.adapters import output_head
from ppo_tune.models.cache import Remembered
from ppo_tune.models.text import Prompts, Sequences

Opener = Callable[[DynamicCache, int], int]


class Output(NamedTuple):
    """Output of one pass of a model.

    Attributes:
        logits: Of the tokens, shape (..., V).
        hidden: What value heads read, (..., H): the model's last states; None if the layout does not listen.
    """

    logits: Tensor
    hidden: Tensor | None


class DecodingState(ABC):
    """N responses that are being written: what the model is to read next, and its cache.

    Attributes:
        keeps_rows_apart: Whether rows can be taken out of the cache.
    """

    keeps_rows_apart: bool

    @abstractmethod
    def step(self) -> Output:
        """Let the model read; logits (N, V) and hidden (N, H) of the next token of each row."""

    @abstractmethod
    def append(self, tokens: Tensor) -> None:
        """Have these tokens read next, shape (N,)."""

    @abstractmethod
    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone."""


class TokenLayout(ABC):
    """How one kind of language model reads and writes.

    Products are of `dtype`; another one than the model's is had by autocast.

    Attributes:
        task_type: What PEFT calls this kind of model.
        kind: What messages call it.
        auto: The class of transformers that loads one.
        known: The configs of those that transformers has.
        closes_prompts: Whether a prompt keeps the end-of-sequence token that the tokenizer writes behind it: the model
            is not to go on with the prompt, but to read it. What it writes is then a text by itself.
        stop_ids: Tokens that end a response by what its authors say.
        opener: Has an empty cache for N rows begin with what nobody wrote, and says how many tokens that is.
        n_before: How many it may be.
    """

    task_type: ClassVar[str]
    kind: ClassVar[str]
    auto: ClassVar[Any]
    known: ClassVar[Container[Any]]
    closes_prompts: ClassVar[bool]

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device: torch.device = next(model.parameters()).device
        self.dtype = dtype
        self.casts = dtype != model.dtype
        self.stop_ids = stop_tokens(model, tokenizer)
        self.opener: Opener = _begin_empty
        self.n_before = 0
        self._heard: Tensor | None = None

    @classmethod
    @abstractmethod
    def check(cls, model: PreTrainedModel) -> None:
        """Whether a model, or its skeleton, says all that the layout must know of it.

        Raises:
            ModelError: If it does not.
        """

    @abstractmethod
    def texts(self, sequences: Sequences) -> list[str]:
        """The text of each of B responses, (B, ·), without its stop token and without padding."""

    @abstractmethod
    def room_for_prompts(self, max_new_tokens: int) -> int | None:
        """The longest prompt that leaves room for a response in the model's context; None for no limit."""

    @property
    @abstractmethod
    def room_for_responses(self) -> int | None:
        """The longest response that can be written, to a prompt that takes no room; None for no limit."""

    @classmethod
    @abstractmethod
    def read(cls, model: nn.Module, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
        """Logits of every response token, (T, V), by a model left to itself: one text, no padding, no mask.

        The model is one of transformers, or of peft around it, on any device.
        """

    def next_logits(self, prompt: Sequence[int]) -> Tensor:
        """Logits of a response's first token, (V,), by the model left to itself."""
        with self._products():
            return self.read(self.model, prompt, [0])[0]

    @abstractmethod
    def begin(self, prompts: Prompts, length: int) -> DecodingState:
        """Responses of at most `length` tokens to prompts (N, P), before their first token."""

    @abstractmethod
    def remember(self, n_tokens: int) -> Remembered:
        """What the model remembers of so many tokens that stand between texts, before all else that it writes.

        Raises:
            ValueError: If that is no prefix: not keys and values, or not the same in every layer.
        """

    @property
    def boundary(self) -> int:
        """The token that stands between texts: the tokenizer's first of a text, or its last, or else token 0."""
        named = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return next((token for token in named if token is not None), 0)

    @abstractmethod
    def teacher_force(self, sequences: Sequences) -> Output:
        """Logits (k, B, T, V) and hidden (k, B, T, H) of every response token of (k, B, ·), in one pass."""

    def listen(self) -> None:
        """From now on hand out the model's last states: what the output layer reads."""
        output_head(self.model).register_forward_pre_hook(self._remember)

    def _remember(self, _: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Cut to the last positions it is a strided view, which torch would multiply by a copy per row of the head.
        self._heard = args[0].contiguous()
        return (self._heard, *args[1:])

    def _products(self) -> AbstractContextManager[None]:
        """Within this block products are of the wanted format."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.casts)

    def _run(self, **inputs: Any) -> Output:
        """One pass in the format of the products; one that fails leaves nothing of itself."""
        try:
            with self._products():
                logits: Tensor = self.model(**inputs).logits
            return Output(logits, self._heard)
        finally:
            self._heard = None


def _begin_empty(_: DynamicCache, __: int) -> int:
    return 0


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens that end a response: the tokenizer's, and those that the model's authors named."""
    own = tokenizer.eos_token_id
    return sorted({*_named_stops(model), *([] if own is None else [own])})


def remark_on_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """What its user should know where model and tokenizer end a text by different tokens; None if they do not."""
    named, own = _named_stops(model), tokenizer.eos_token_id
    if own is None or not named or own in named:
        return None
    return (
        f"the tokenizer of {model.name_or_path!r} ends a text by {tokenizer.eos_token!r}, number {own}, and its "
        f"generation_config.json or config.json by number {' or '.join(map(str, sorted(named)))}: if they are of two "
        "models, no text is read as it was learned; save the tokenizer that the model was trained with"
    )


def _named_stops(model: PreTrainedModel) -> set[int]:
    """Ids of the tokens that end a response by what the model's authors say."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return {int(i) for i in (named if isinstance(named, list) else [named]) if i is not None}
