"""Token layout of decoder-only models: prompt and response are one text, with the prompt padded on its left."""

import inspect
from collections.abc import Container, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StaticCache
from transformers.cache_utils import Cache

from ppo_tune.models.caches import counts_on_the_device, growing_cache, keeps_rows_apart
from ppo_tune.models.context import context_length, first_position
from ppo_tune.models.layout import FixedState, GrowingState, Output, TokenLayout
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
        # Casts by autocast would be repeated in every step, and leave keys and values of different dtypes.
        self.has_fixed_shapes = (
            model._can_compile_fullgraph and not self.casts and counts_on_the_device(model.config)
        )
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

    def begin(self, prompts: Prompts, length: int) -> GrowingState:
        """Responses in a cache that holds their prompts too."""
        return _Growing(self, prompts, length)

    def begin_fixed(self, prompts: Prompts, length: int) -> FixedState:
        """Responses in a static cache that holds their prompts too."""
        return _Fixed(self, prompts, length)

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


class _Growing(GrowingState):
    def __init__(self, layout: CausalLayout, prompts: Prompts, length: int) -> None:
        self.layout = layout
        self.ids, self.mask, self.position = prompts.ids, prompts.mask, positions(prompts.mask)
        self.cache = growing_cache(layout.model.config, prompts.ids.shape[-1] + length)
        self.keeps_rows_apart = keeps_rows_apart(self.cache)

    def step(self) -> Output:
        return self.layout.step(self.ids, self.mask, self.position, self.cache)

    def append(self, tokens: Tensor) -> None:
        self.ids, self.position = tokens[:, None], self.position[:, -1:] + 1
        self.mask = pad(self.mask, (0, 1), value=True)  # what a finished row attends to does not matter

    def keep(self, rows: Tensor) -> None:
        self.ids, self.mask, self.position = self.ids[rows], self.mask[rows], self.position[rows]
        self.cache.batch_select_indices(rows)


class _Fixed(FixedState):
    def __init__(self, layout: CausalLayout, prompts: Prompts, length: int) -> None:
        n_rows, width = prompts.ids.shape
        self.layout = layout
        self.cache = StaticCache(layout.model.config, max_cache_len=width + length)
        self.mask = torch.ones(n_rows, width + length, dtype=torch.bool, device=layout.device)
        self.token = torch.zeros(n_rows, 1, dtype=torch.long, device=layout.device)
        self.token_position = torch.zeros_like(self.token)

    def restart(self, prompts: Prompts) -> None:
        self.cache.reset()
        self.mask[:, : prompts.mask.shape[-1]] = prompts.mask
        self.ids, self.position = prompts.ids, positions(prompts.mask)
        self.token_position.copy_(self.position[:, -1:])

    def step(self) -> Output:
        return self.layout.step(self.ids, self.mask, self.position, self.cache)

    def append(self, tokens: Tensor) -> None:
        self.token.copy_(tokens[:, None])
        self.token_position.add_(1)
        self.ids, self.position = self.token, self.token_position


def positions(mask: Tensor) -> Tensor:
    """Position of each token, counted from the first real one, shape of `mask`."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def cache_name(arguments: Container[str]) -> str:
    """What a model's forward calls its cache: the old name is gone from transformers 5.40, the new one is of 5.24."""
    return "cache" if "cache" in arguments else "past_key_values"
