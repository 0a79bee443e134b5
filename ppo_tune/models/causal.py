"""Token layout of decoder-only models: prompt and response are one text, with the prompt padded on its left."""

import inspect
from collections.abc import Container, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from ppo_tune.models.context import context_length, first_position
from ppo_tune.models.layout import DecodingState, Output, TokenLayout
from ppo_tune.models.text import Prompts, Sequences, tokenize


class CausalLayout(TokenLayout):
    """How a decoder-only model reads and writes; the response token at column t is predicted at P + t - 1.

    Attributes:
        context_length: The longest text the model can read, in tokens; None where it has no limit.
    """

    task_type = "CAUSAL_LM"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
    ) -> None:
        super().__init__(model, tokenizer, dtype)
        self.context_length = context_length(model)
        arguments = inspect.signature(model.forward).parameters
        self._takes_position_ids = "position_ids" in arguments
        self._cache_name = cache_name(arguments)
        self._first_position = first_position(model)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids without an end-of-sequence token."""
        return tokenize(self.tokenizer, texts)

    def room_for_prompts(self, max_new_tokens: int) -> int | None:
        """What a response leaves of the context that it shares with its prompt."""
        return None if self.context_length is None else self.context_length - max_new_tokens

    def next_logits(self, prompt: Sequence[int]) -> Tensor:
        """Logits after the prompt's last token, (V,)."""
        return self._run(input_ids=torch.tensor([prompt], device=self.device)).logits[0, -1]

    def begin(self, prompts: Prompts, length: int) -> DecodingState:
        """Responses in a cache that holds their prompts too."""
        return _Responses(self, prompts, length)

    def teacher_force(self, sequences: Sequences) -> Output:
        """Logits (k, B, T, V) and hidden (k, B, T, H) of one pass over prompts and responses."""
        prompts, response_ids = sequences.prompts, sequences.response_ids
        shape = response_ids.shape
        ids = torch.cat([prompts.ids, response_ids], -1)[..., :-1].flatten(0, 1)
        mask = torch.cat([prompts.mask, sequences.response_mask], -1)[..., :-1].flatten(0, 1)
        # What is behind a token is never attended to, so only padding before a prompt needs a mask.
        visible = pad(prompts.mask, (0, shape[-1] - 1), value=True).flatten(0, 1)
        logits, hidden = self.forward(ids, visible, positions(mask), keep=shape[-1])
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
        self.ids, self.mask, self.position = prompts.ids, prompts.mask, positions(prompts.mask)
        self.cache = DynamicCache(config=layout.model.config)
        room = prompts.ids.shape[-1] + length
        self.cache.layers = [
            RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in self.cache.layers
        ]
        # A layer of another kind may hold more than keys and values, out of which no row can be taken.
        self.keeps_rows_apart = all(
            type(layer) in (RoomyLayer, DynamicSlidingWindowLayer) for layer in self.cache.layers
        )

    def step(self) -> Output:
        return self.layout.step(self.ids, self.mask, self.position, self.cache)

    def append(self, tokens: Tensor) -> None:
        self.ids, self.position = tokens[:, None], self.position[:, -1:] + 1
        self.mask = pad(self.mask, (0, 1), value=True)  # what a finished row attends to does not matter

    def keep(self, rows: Tensor) -> None:
        self.ids, self.mask, self.position = self.ids[rows], self.mask[rows], self.position[rows]
        self.cache.batch_select_indices(rows)


class RoomyLayer(DynamicLayer):
    """Keys and values of up to `room` tokens as views into buffers made once, (N, heads, tokens, D)."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new tokens behind the others, and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            shape = (*key_states.shape[:2], self.room)
            self.key_buffer = key_states.new_empty((*shape, key_states.shape[-1]))
            self.value_buffer = value_states.new_empty((*shape, value_states.shape[-1]))
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        self.key_buffer[:, :, start:end] = key_states
        self.value_buffer[:, :, start:end] = value_states
        return self._show(end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        if not self.is_initialized:
            return
        length = self.get_seq_length()
        self.key_buffer, self.value_buffer = self.key_buffer[indices], self.value_buffer[indices]
        self._show(length)

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self.key_buffer[:, :, :length], self.value_buffer[:, :, :length]
        return self.keys, self.values


def positions(mask: Tensor) -> Tensor:
    """Position of each token, counted from the first real one, shape of `mask`."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def cache_name(arguments: Container[str]) -> str:
    """What a model's forward calls its cache: the old name is gone from transformers 5.40, the new one is of 5.24."""
    return "cache" if "cache" in arguments else "past_key_values"
