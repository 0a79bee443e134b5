"""Token layout of decoder-only models: prompt and response are one text, with the prompt padded on its left."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.cache_utils import Cache

from ppo_tune.errors import ModelError
from ppo_tune.models.cache import Remembered, cache_name, keeps_rows_apart, make_room, remembered
from ppo_tune.models.context import context_length, first_position, look_back
from ppo_tune.models.layout import DecodingState, Output, TokenLayout
from ppo_tune.models.text import Prompts, Sequences, decode_responses, name_of


class CausalLayout(TokenLayout):
    """How a decoder-only model reads and writes; the response token at column t is predicted at P + t - 1.

    Attributes:
        context_length: The longest text the model can read, in tokens, a prefix included; None where it has no limit.
    """

    task_type = "CAUSAL_LM"
    kind = "a causal language model"
    auto = AutoModelForCausalLM
    known = MODEL_FOR_CAUSAL_LM_MAPPING
    closes_prompts = False

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
    ) -> None:
        super().__init__(model, tokenizer, dtype)
        self.context_length = context_length(model)
        self._look_back = look_back(model)
        arguments = inspect.signature(model.forward).parameters
        self._takes_position_ids = "position_ids" in arguments
        self._cache_name = cache_name(arguments)
        self._first_position = first_position(model)

    @classmethod
    def check(cls, model: PreTrainedModel) -> None:
        """It needs to know nothing."""

    def texts(self, sequences: Sequences) -> list[str]:
        """What each response says behind its prompt, the space before its first word included."""
        return decode_responses(self.tokenizer, sequences)

    def room_for_prompts(self, max_new_tokens: int) -> int | None:
        """What a response leaves of the context that it shares with its prompt.

        Raises:
            ModelError: If a prefix and the response leave no prompt any room.
        """
        room = self.room_for_responses
        if room is not None and self.n_before and room <= max_new_tokens:
            raise ModelError(
                f"model.prefix_length: {self.n_before} tokens of a prefix and {max_new_tokens} max_new_tokens leave a "
                f"prompt no room in the {room + self.n_before} tokens that {name_of(self.model)} can read; lower either"
            )
        return None if room is None else room - max_new_tokens

    @property
    def room_for_responses(self) -> int | None:
        """The whole context; behind a prefix what it leaves, of which every layer must see all.

        Between a prefix and a shorter prompt is padding, so that of windows each row would have another part of it.
        """
        sizes = (self.context_length, *([self._look_back] if self.n_before else []))
        known = [size for size in sizes if size is not None]
        return min(known) - self.n_before if known else None

    @classmethod
    def read(cls, model: nn.Module, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
        """Logits behind the prompt and each token but the response's last, (T, V)."""
        ids = torch.tensor([[*prompt, *response[:-1]]], device=next(model.parameters()).device)
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
        return logits[0, len(prompt) - 1 :]

    def begin(self, prompts: Prompts, length: int) -> DecodingState:
        """Responses in a cache that holds their prompts too."""
        return _Responses(self, prompts, length)

    def remember(self, n_tokens: int) -> Remembered:
        """What the model remembers of so many of them at the beginning of a text."""
        ids = torch.full((1, n_tokens), self.boundary, device=self.device)
        state = _Responses(self, Prompts(ids, torch.ones_like(ids, dtype=torch.bool)), 1)
        state.step()
        return remembered(state.cache, n_tokens)

    def teacher_force(self, sequences: Sequences) -> Output:
        """Logits (k, B, T, V) and hidden (k, B, T, H) of one pass over prompts and responses."""
        prompts, response_ids = sequences.prompts, sequences.response_ids
        shape = response_ids.shape
        ids = torch.cat([prompts.ids, response_ids], -1)[..., :-1].flatten(0, 1)
        mask = torch.cat([prompts.mask, sequences.response_mask], -1)[..., :-1].flatten(0, 1)
        # What is behind a token is never attended to, so only padding before a prompt needs a mask.
        visible = pad(prompts.mask, (0, shape[-1] - 1), value=True).flatten(0, 1)
        cache = DynamicCache(config=self.model.config) if self.n_before else None
        before = 0 if cache is None else self.opener(cache, len(ids))
        logits, hidden = self.forward(
            ids,
            pad(visible, (before, 0), value=True),
            positions(mask) + before,
            keep=shape[-1],
            cache=cache if before else None,
        )
        return Output(logits.view(*shape, -1), None if hidden is None else hidden.view(*shape, -1))

    def forward(
        self, ids: Tensor, mask: Tensor, position: Tensor, *, keep: int, cache: Cache | None = None
    ) -> Output:
        """One pass over ids (N, Q) at positions (N, Q), with a mask (N, S) of all that is read: the last positions."""
        more: dict[str, Any] = {"use_cache": False}
        if cache is not None:
            more = {"use_cache": True, self._cache_name: cache}
        if self._takes_position_ids:
            more["position_ids"] = position + self._first_position
        return self._run(input_ids=ids, attention_mask=mask.long(), logits_to_keep=keep, **more)

    def step(self, ids: Tensor, mask: Tensor, position: Tensor, cache: Cache) -> Output:
        """The same, at the last position alone: (N, V) and (N, H)."""
        logits, hidden = self.forward(ids, mask, position, keep=1, cache=cache)
        return Output(logits[:, -1], None if hidden is None else hidden[:, -1])


class _Responses(DecodingState):
    def __init__(self, layout: CausalLayout, prompts: Prompts, length: int) -> None:
        self.layout = layout
        self.cache = DynamicCache(config=layout.model.config)
        make_room(self.cache, layout.n_before + prompts.ids.shape[-1] + length)
        before = layout.opener(self.cache, len(prompts.ids))
        self.ids, self.mask = prompts.ids, pad(prompts.mask, (before, 0), value=True)
        self.position = positions(prompts.mask) + before
        self.keeps_rows_apart = keeps_rows_apart(self.cache)

    def step(self) -> Output:
        return self.layout.step(self.ids, self.mask, self.position, self.cache)

    def append(self, tokens: Tensor) -> None:
        self.ids, self.position = tokens[:, None], self.position[:, -1:] + 1
        self.mask = pad(self.mask, (0, 1), value=True)  # what a finished row attends to does not matter

    def keep(self, rows: Tensor) -> None:
        self.ids, self.mask, self.position = self.ids[rows], self.mask[rows], self.position[rows]
        self.cache.batch_select_indices(rows)


def positions(mask: Tensor) -> Tensor:
    """Position of each token, counted from the first real one, shape of `mask`."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)
