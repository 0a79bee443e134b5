"""Token layout of encoder–decoders: the encoder reads the prompt, the decoder writes the response.

Prompts are turned to be padded on the right, for learned positions count from the left; the decoder needs no mask,
because what is behind a token is never attended to.

Papers: Raffel et al., 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
arXiv:1910.10683; Lewis et al., 2019, "BART", arXiv:1910.13461.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoModelForSeq2SeqLM,
    DynamicCache,
    EncoderDecoderCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.generic import ModelOutput

from ppo_tune.data.model_folders import OPENING
from ppo_tune.errors import ModelError
from ppo_tune.models.cache import Remembered, cache_name, keeps_rows_apart, make_room, remembered
from ppo_tune.models.context import usable_positions
from ppo_tune.models.layout import DecodingState, Output, TokenLayout
from ppo_tune.models.text import Prompts, Sequences, name_of


class EncoderDecoderLayout(TokenLayout):
    """How an encoder–decoder reads and writes; the response token at column t is predicted at decoder position t.

    Value heads read what the decoder says at its end, before the factor by which a head that is tied to the input
    embeddings may scale it.

    Attributes:
        opening: Tokens that the decoder is given before a response: its start token, and the one that its authors
            force to follow, such as a language's.
    """

    task_type = "SEQ_2_SEQ_LM"
    kind = "an encoder–decoder"
    auto = AutoModelForSeq2SeqLM
    known = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    closes_prompts = True

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
    ) -> None:
        super().__init__(model, tokenizer, dtype)
        self.opening = opening_tokens(model)
        self._cache_name = cache_name(inspect.signature(model.forward).parameters)

    @classmethod
    def check(cls, model: PreTrainedModel) -> None:
        """Whether it has the tokens that its decoder begins with.

        Raises:
            ModelError: If they are not named, or it has none of such a number.
        """
        embedding: Any = model.get_decoder().get_input_embeddings()
        last = len(embedding.weight) - 1
        opening_tokens(model)
        for name in OPENING:
            number = _named(model, name)
            if number is not None and not (type(number) is int and 0 <= number <= last):
                raise ModelError(
                    f"{name_of(model)}: {name} must be the number of a token, 0 to {last}, but is {number!r}; correct "
                    "it in its generation_config.json or config.json"
                )

    def texts(self, sequences: Sequences) -> list[str]:
        """What each response says by itself: it begins a text."""
        lengths = (sequences.response_mask.sum(-1) - sequences.ended.long()).tolist()
        rows = [row[:n] for row, n in zip(sequences.response_ids.tolist(), lengths, strict=True)]
        return list(self.tokenizer.batch_decode(rows, skip_special_tokens=True))

    def room_for_prompts(self, max_new_tokens: int) -> int | None:
        """What the encoder can read; the response has the decoder to itself.

        Raises:
            ModelError: If the decoder cannot write so long a response.
        """
        most = self.room_for_responses
        if most is not None and max_new_tokens > most:
            raise ModelError(
                f"ppo.max_new_tokens: must be at most {most}, what the decoder of {name_of(self.model)} can write, "
                f"but got {max_new_tokens}; lower it"
            )
        return usable_positions(self.model.get_encoder().config)

    @property
    def room_for_responses(self) -> int | None:
        """The longest response that the decoder can write; None for no limit."""
        longest = usable_positions(self.model.get_decoder().config)
        return None if longest is None else longest - self.n_before - len(self.opening) + 1

    @classmethod
    def read(cls, model: nn.Module, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
        """Logits of the decoder behind its opening and each token but the response's last, (T, V)."""
        device = next(model.parameters()).device
        opening = opening_tokens(model)
        decoder_ids = torch.tensor([[*opening, *response[:-1]]], device=device)
        logits: Tensor = model(
            input_ids=torch.tensor([prompt], device=device), decoder_input_ids=decoder_ids, use_cache=False
        ).logits
        return logits[0, len(opening) - 1 :]

    def begin(self, prompts: Prompts, length: int) -> DecodingState:
        """Responses to prompts that the encoder reads once."""
        return _Responses(self, prompts, length)

    def remember(self, n_tokens: int) -> Remembered:
        """What the decoder remembers of its opening, whose last token is there again and again, to no prompt."""
        ids = torch.tensor([[self.boundary]], device=self.device)
        state = _Responses(self, Prompts(ids, torch.ones_like(ids, dtype=torch.bool)), n_tokens)
        for _ in range(n_tokens):
            state.step()
            state.append(torch.tensor(self.opening[-1:], device=self.device))
        return remembered(state.written, n_tokens)

    def teacher_force(self, sequences: Sequences) -> Output:
        """Logits (k, B, T, V) and hidden (k, B, T, H) of one pass through encoder and decoder."""
        response_ids = sequences.response_ids
        shape = response_ids.shape
        flat = response_ids.flatten(0, 1)
        opening = self.opened(len(flat))
        decoder_ids = torch.cat([opening, flat[:, :-1]], -1)
        prompts = on_the_left(
            Prompts(sequences.prompts.ids.flatten(0, 1), sequences.prompts.mask.flatten(0, 1))
        )
        written, read = self.empty_caches()
        more: dict[str, Any] = {"use_cache": False, "input_ids": prompts.ids}
        if self.opener(
            written, len(flat)
        ):  # a cache is of the decoder, and some encoders refuse to hear of one
            cache = EncoderDecoderCache(written, read)
            more = {"use_cache": True, "encoder_outputs": self.encode(prompts), self._cache_name: cache}
        logits, hidden = self._run(attention_mask=prompts.mask.long(), decoder_input_ids=decoder_ids, **more)
        start = opening.shape[-1] - 1
        said = logits[:, start:].view(*shape, -1)
        return Output(said, None if hidden is None else hidden[:, start:].reshape(*shape, -1))

    def empty_caches(self) -> tuple[DynamicCache, DynamicCache]:
        """For what the decoder writes, and for what it reads."""
        config = self.model.get_decoder().config
        return DynamicCache(config=config), DynamicCache(config=config)

    def opened(self, n_rows: int) -> Tensor:
        """What the decoder is given before N responses, (N, number of tokens)."""
        return torch.tensor(self.opening, device=self.device).expand(n_rows, -1)

    def encode(self, prompts: Prompts) -> ModelOutput:
        """What the encoder says of prompts (N, P) that are padded on the right: states (N, P, H)."""
        with self._products():
            said: ModelOutput = self.model.get_encoder()(
                input_ids=prompts.ids, attention_mask=prompts.mask.long()
            )
        return said

    def step(self, ids: Tensor, encoded: ModelOutput, mask: Tensor, cache: EncoderDecoderCache) -> Output:
        """Logits (N, V) and hidden (N, H) behind the last of ids (N, Q), of prompts that were read."""
        inputs: dict[str, Any] = {self._cache_name: cache, "decoder_input_ids": ids, "attention_mask": mask}
        logits, hidden = self._run(encoder_outputs=encoded, use_cache=True, **inputs)
        return Output(logits[:, -1], None if hidden is None else hidden[:, -1])

    def listen(self) -> None:
        """From now on hand out what the decoder says at its end."""
        self.model.get_decoder().register_forward_hook(self._remember_end)

    def _remember_end(self, _: nn.Module, __: tuple[Tensor, ...], said: Any) -> None:
        self._heard = said[0].contiguous()


class _Responses(DecodingState):
    def __init__(self, layout: EncoderDecoderLayout, prompts: Prompts, length: int) -> None:
        self.layout = layout
        turned = on_the_left(prompts)
        self.mask = turned.mask.long()
        self.encoded = layout.encode(turned)
        self.ids = layout.opened(len(turned.ids))
        self.written, read = layout.empty_caches()
        make_room(self.written, layout.n_before + self.ids.shape[-1] + length)
        layout.opener(self.written, len(self.ids))
        self.cache = EncoderDecoderCache(self.written, read)
        self.keeps_rows_apart = keeps_rows_apart(self.written) and keeps_rows_apart(read)

    def step(self) -> Output:
        return self.layout.step(self.ids, self.encoded, self.mask, self.cache)

    def append(self, tokens: Tensor) -> None:
        self.ids = tokens[:, None]

    def keep(self, rows: Tensor) -> None:
        self.ids, self.mask = self.ids[rows], self.mask[rows]
        self.encoded = type(self.encoded)(last_hidden_state=self.encoded["last_hidden_state"][rows])
        self.cache.batch_select_indices(rows)


def on_the_left(prompts: Prompts) -> Prompts:
    """Prompts (N, P) with their padding on the right."""
    order = (~prompts.mask).to(torch.uint8).argsort(dim=-1, stable=True)
    return Prompts(prompts.ids.gather(-1, order), prompts.mask.gather(-1, order))


def opening_tokens(model: Any) -> list[int]:
    """Ids of the tokens that a decoder is given before a response, by what the authors of the model say.

    Raises:
        ModelError: If they do not say with what it begins.
    """
    start, forced = (_named(model, name) for name in OPENING)
    if start is None:
        raise ModelError(
            f"{name_of(model)} does not say with which token its decoder begins; put decoder_start_token_id into its "
            "config.json"
        )
    return [start] if forced is None else [start, forced]


def _named(model: Any, name: str) -> Any:
    """The number of a token, from what the model's authors say of writing, or else of the model; None if they do not.

    It may be anything where a model was not checked.
    """
    found = (getattr(config, name, None) for config in (model.generation_config, model.config))
    return next((number for number in found if number is not None), None)
