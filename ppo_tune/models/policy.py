"""The policy of K trials over one language model: sample, evaluate, and the reference they started from.

Knows nothing of rewards, advantages or optimizers.
"""

import copy
import inspect
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from ppo_tune.models.alphabet import Alphabet
from ppo_tune.models.context import context_length, first_position
from ppo_tune.models.decoding import Decoded, FixedDecoder, decode_alive, positions, scaled_log_softmax
from ppo_tune.models.guard import TOLERANCES, Reader, Tolerance, examine, own_failures, two_prompts, watched
from ppo_tune.models.lora import Adapters, output_head
from ppo_tune.models.rows import ParameterRows
from ppo_tune.models.text import Prompts, Sequences, check_tokens
from ppo_tune.ppo import entropy

N_DECODERS = 2
"""Shapes of decoding whose buffers are kept: that of rollouts, and that of evaluations."""

MOST_OF_IT = 0.8
"""Share of the weights from which it need not be said that the others have no adapters."""

WIDTH_STEP = 16
"""Prompts of a decoder of fixed shape are this wide, or a multiple, so that few shapes are seen."""


@dataclass(frozen=True)
class PolicyOutput:
    """Log-probabilities, values and entropies of a policy at the tokens of responses.

    Attributes:
        logprobs: Log-probability of each response token, shape (k, B, T).
        values: Value estimate before each response token, shape (k, B, T).
        entropy: Entropy of the distribution at each response token, shape (k, B, T); None if not asked for.
    """

    logprobs: Tensor
    values: Tensor
    entropy: Tensor | None


class Policy:
    """A language model with K places for trials.

    With a rank, each place has its own low-rank adapters over the frozen model, and the model without them
    is the reference. Without a rank there is one place, all weights are trained, and the reference is a
    frozen copy.

    Args:
        model: Any Hugging Face causal language model.
        tokenizer: Its tokenizer.
        places: K, how many trials can be trained side by side.
        lora_rank: Rank of the adapters; None trains all weights, for one place only.
        lora_alpha: The adapters are scaled by alpha / rank.
        dtype: Of the products; None is the model's own. Another one than the model's, which is for weights that
            are trained and so stay float32, is had by autocast.

    Raises:
        ModelError: If the model is not what training takes it for: see `ppo_tune.models.guard`.

    Attributes:
        graphs: Whether decoding has one shape and, on CUDA, is a replayed graph; by default where there is CUDA.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        places: int = 1,
        lora_rank: int | None = 16,
        lora_alpha: float = 16.0,
        dtype: torch.dtype | None = None,
    ) -> None:
        assert lora_rank is not None or places == 1, "all weights are trained for one trial at a time"
        self.model: PreTrainedModel = model.train(False)  # dropout off, for good
        self.tokenizer = tokenizer
        self._name = f"model {model.name_or_path!r} ({type(model).__name__})"
        self.places = places
        self.device: torch.device = next(model.parameters()).device
        self.dtype: torch.dtype = dtype or model.dtype
        self._casts = self.dtype != model.dtype
        self.context_length = context_length(model)
        arguments = inspect.signature(model.forward).parameters
        self._takes_position_ids = "position_ids" in arguments
        self._cache_name = cache_name(arguments)
        self._first_position = first_position(model)
        self.graphs = self.device.type == "cuda"
        # Casts by autocast would be repeated in every step, and leave keys and values of different dtypes.
        self._graphable = (
            model._can_compile_fullgraph and not self._casts and FixedDecoder.suits(model.config)
        )
        self._decoders: dict[Any, FixedDecoder] = {}
        self._indices: dict[tuple[int, ...], Tensor] = {}
        self._head_input: Tensor | None = None
        head = output_head(model)
        stop_ids = stop_tokens(model, tokenizer)
        self.stop_ids = torch.tensor(stop_ids, dtype=torch.long, device=self.device)
        self._alphabet = Alphabet(tokenizer, stop_ids, head.out_features, self.device)
        with own_failures(self._name):
            embedding: Any = model.get_input_embeddings()
            texts = two_prompts(tokenizer, len(embedding.weight))
            plain, idle = self._read_plainly(texts[0])
        hidden = {"value_head.weight": torch.Size((head.in_features,)), "value_head.bias": torch.Size(())}
        self.adapters: Adapters | None = None
        self._initial: Tensor | None = None
        if lora_rank is None:
            self._reference = copy.deepcopy(model).requires_grad_(False)
            self.rows = self._own_weights(hidden)
        else:
            model.requires_grad_(False)
            self._reference = model
            self.adapters = Adapters(model, lora_rank, lora_alpha, idle)
            self.rows = ParameterRows(places, {**self.adapters.shapes(), **hidden}, self.device)
            self.adapters.rows = self.rows
        head.register_forward_pre_hook(self._remember_head_input)
        with own_failures(self._name):
            self._examine(*texts, plain)

    @torch.no_grad()
    def _read_plainly(self, ids: Sequence[int]) -> tuple[Tensor, list[nn.Module]]:
        """What the model, left to itself, expects after a text, log-probabilities (V,); and its parts that are idle."""
        idle: list[nn.Module] = []
        with watched(self.model, idle), torch.autocast(self.device.type, self.dtype, enabled=self._casts):
            logits = self.model(input_ids=torch.tensor([ids], device=self.device)).logits[0, -1]
        return scaled_log_softmax(self._alphabet.cut(logits), 1.0), idle

    def _examine(self, long: Sequence[int], short: Sequence[int], plain: Tensor) -> None:
        """Refuse a model that is not what training takes it for."""
        usual: Any = {"temperature": 1.0, "places": (0,)}
        reader = Reader(partial(self.generate, **usual), partial(self.evaluate, **usual), plain, long, short)
        stop_ids, self.stop_ids = self.stop_ids, self.stop_ids[:0]  # nothing ends what is examined
        try:
            examine(reader, self.tolerance, self._name)
        finally:
            self.stop_ids = stop_ids
            self.release()

    def room_for_prompts(self, max_new_tokens: int) -> int | None:
        """The longest prompt that leaves room for a response in the model's context; None for no limit."""
        return None if self.context_length is None else self.context_length - max_new_tokens

    def check_readable(self, prompts: Iterable[Sequence[int]]) -> None:
        """Make sure that the model knows every token of some prompts.

        Raises:
            ModelError: If one has no row in the input embedding.
        """
        check_tokens(prompts, self.tokenizer, self.model, self._name)

    def resize(self, places: int) -> None:
        """Have so many places instead, all of them new; what the old ones held is forgotten."""
        assert self.adapters is not None, "all weights are trained for one trial at a time"
        if places != self.places:
            shapes = {name: view.shape[1:] for name, view in self.rows.views.items()}
            self.rows = self.adapters.rows = ParameterRows(places, shapes, self.device)
            self.places = places
            self._decoders.clear()  # their graphs read the old rows
            self._indices.clear()

    def stop_also(self, ids: Iterable[int]) -> None:
        """End responses at these tokens too: a task's own, such as the one that ends a turn of a chat."""
        stops = sorted({*self.stop_ids.tolist(), *ids})
        self.stop_ids = torch.tensor(stops, dtype=torch.long, device=self.device)
        self._decoders.clear()  # they hold the old ones

    def release(self) -> bool:
        """Give up buffers that are only kept to be used again; says whether there were any."""
        had = bool(self._decoders)
        self._decoders.clear()
        if had and self.device.type == "cuda":
            torch.cuda.empty_cache()
        return had

    @property
    def trainable(self) -> list[nn.Parameter]:
        """Every parameter that is trained; its gradient is a view into the gradients of `rows`."""
        if self.adapters is not None:
            return list(self.rows.views.values())
        heads = [view for name, view in self.rows.views.items() if name.startswith("value_head.")]
        return [*self.model.parameters(), *heads]

    @property
    def remark(self) -> str | None:
        """What its user should know of the adapters: how little they reach, where that is little."""
        if self.adapters is None or self.adapters.share >= MOST_OF_IT:
            return None
        return (
            f"model.lora_rank: the adapters are on linear layers, which hold {100 * self.adapters.share:.2g} % of this "
            "model's weights (embeddings and output layer aside); the others, as a mixture's experts, stay as they "
            "are; lora_rank: null trains all"
        )

    @property
    def tolerance(self) -> Tolerance:
        """How far two readings of one text may lie apart."""
        return TOLERANCES[self.dtype]

    @property
    def is_exact(self) -> bool:
        """Whether a token has the same log-probability, to 1e-6, when it is sampled and when it is learned from."""
        return self.dtype == torch.float32

    def reset(self, place: int, rng: torch.Generator) -> None:
        """Make a place the reference policy with a value head of zeros; gradients are cleared.

        Args:
            place: Which of the K.
            rng: Where the adapters' first numbers come from.
        """
        self.rows.values[place].zero_()
        self.rows.grads[place].zero_()
        if self.adapters is not None:
            self.adapters.reset(place, rng)
        elif self._initial is not None:
            self.rows.values[place].copy_(self._initial)

    @torch.no_grad()
    def is_reference(self, place: int) -> bool:
        """Whether a place says what the reference says by construction: nothing of it was trained yet."""
        if self.adapters is not None:
            return self.adapters.do_nothing(place)
        return self._initial is not None and torch.equal(self.rows.values[place], self._initial)

    @torch.no_grad()
    def generate(
        self, prompts: Prompts, uniforms: Tensor, *, temperature: float, places: Sequence[int]
    ) -> tuple[Sequences, PolicyOutput]:
        """Sample a response to every prompt from softmax(logits / temperature), and from nothing else.

        A token is found by inverting the cumulative distribution at a given uniform number, so that what a
        trial samples depends on its own numbers alone.

        Args:
            prompts: Prompts of shape (k, B, P).
            uniforms: Numbers in (0, 1], shape (k, B, T); T is the longest response.
            temperature: > 0.
            places: The k places that the leading axis stands for.

        Returns:
            Sequences of shape (k, B, ·), and what the policy said of each token as it was sampled. A response
            ends with its stop token or at length T, and the tensors are cut to the longest.
        """
        k, rows, _ = uniforms.shape
        flat = Prompts(prompts.ids.flatten(0, 1), prompts.mask.flatten(0, 1))
        uniforms = uniforms.flatten(0, 1).to(self.device)
        with self._at_work(places):
            if self.graphs and self._graphable:
                more = -prompts.ids.shape[-1] % WIDTH_STEP
                wide = Prompts(pad(flat.ids, (more, 0)), pad(flat.mask, (more, 0)))
                said = self._decode_fixed(places, wide, uniforms, temperature)
            else:
                said = decode_alive(
                    partial(self._next, places), self.model.config, flat, uniforms,
                    temperature=temperature, stop_ids=self.stop_ids, drops_rows=k == 1,
                )  # fmt: skip
        said = said.view(k, rows)
        sequences = Sequences(prompts, said.ids, said.alive, said.finished)
        return sequences, PolicyOutput(said.logprobs, said.values, said.entropy)

    def _decode_fixed(
        self, places: Sequence[int], prompts: Prompts, uniforms: Tensor, temperature: float
    ) -> Decoded:
        """By the decoder of this shape; the last few are kept, for each holds its buffers and its graph."""
        n_rows, length = uniforms.shape
        width = prompts.ids.shape[-1]
        key = (tuple(places), n_rows, width, length, temperature)
        decoder = self._decoders.pop(key, None)
        while len(self._decoders) >= N_DECODERS:
            del self._decoders[next(iter(self._decoders))]
        decoder = decoder or FixedDecoder(
            partial(self._next, places), self.model.config, n_rows=n_rows, width=width, length=length,
            temperature=temperature, stop_ids=self.stop_ids,
        )  # fmt: skip
        said = decoder(prompts, uniforms)
        said = said.cut(int(said.alive.sum(-1).max()))
        self._decoders[key] = decoder  # only now, for one that failed halfway is not to be used again
        return said

    def _next(
        self, places: Sequence[int], ids: Tensor, mask: Tensor, position: Tensor, cache: Cache
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, V) and values (N,) at the last position of every row."""
        memory: dict[str, Any] = {self._cache_name: cache, "use_cache": True}
        logits = self._forward(self.model, ids, mask, position, keep=1, **memory)
        hidden = self._take_head_input()[:, -1]
        return logits[:, -1], self._values(hidden.view(len(places), -1, hidden.shape[-1]), places).flatten()

    def evaluate(
        self, sequences: Sequences, *, temperature: float, places: Sequence[int], with_entropy: bool = False
    ) -> PolicyOutput:
        """Log-probabilities, values and, if asked for, entropies at every response token.

        Args:
            sequences: Sequences of shape (k, B, ·).
            temperature: The one they were sampled with.
            places: The k places that the leading axis stands for.
            with_entropy: Whether to compute entropies too.

        Returns:
            Tensors of shape (k, B, T), float32; differentiable unless under `torch.no_grad()`.
        """
        with self._at_work(places):
            log_distribution = self._log_distribution(self.model, sequences, temperature)
            hidden = self._take_head_input()
            shape = sequences.response_ids.shape
            values = self._values(hidden.view(shape[0], -1, hidden.shape[-1]), places).view(shape)
            return PolicyOutput(
                _pick(log_distribution, sequences.response_ids),
                values,
                entropy(log_distribution) if with_entropy else None,
            )

    @torch.no_grad()
    def reference(self, sequences: Sequences, *, temperature: float) -> Tensor:
        """Log-probabilities of the responses under the policy that every place started from, (k, B, T)."""
        with self._at_work(None):
            log_distribution = self._log_distribution(self._reference, sequences, temperature)
            self._head_input = None
            return _pick(log_distribution, sequences.response_ids)

    def _log_distribution(self, model: PreTrainedModel, sequences: Sequences, temperature: float) -> Tensor:
        """Log-softmax of the scaled logits at every response position, (k, B, T, V), in float32."""
        prompts, response_ids = sequences.prompts, sequences.response_ids
        ids = torch.cat([prompts.ids, response_ids], -1)[..., :-1].flatten(0, 1)
        mask = torch.cat([prompts.mask, sequences.response_mask], -1)[..., :-1].flatten(0, 1)
        # What is behind a token is never attended to, so only padding before a prompt needs a mask.
        visible = pad(prompts.mask, (0, response_ids.shape[-1] - 1), value=True).flatten(0, 1)
        # The token at response column t is predicted at sequence position P + t - 1.
        logits = self._forward(
            model, ids, visible, positions(mask), keep=response_ids.shape[-1], use_cache=False
        )
        return scaled_log_softmax(logits.view(*response_ids.shape, -1), temperature)

    def _forward(
        self,
        model: PreTrainedModel,
        ids: Tensor,
        mask: Tensor,
        position: Tensor,
        *,
        keep: int,
        **cache: Any,
    ) -> Tensor:
        """Logits of the alphabet at the last positions, (N, keep, V)."""
        if self._takes_position_ids:
            cache["position_ids"] = position + self._first_position
        with torch.autocast(self.device.type, self.dtype, enabled=self._casts):
            output = model(input_ids=ids, attention_mask=mask.long(), logits_to_keep=keep, **cache)
        return self._alphabet.cut(output.logits)

    def _values(self, hidden: Tensor, places: Sequence[int]) -> Tensor:
        """Each trial's value head on what the language head reads, (k, n, H) -> (k, n)."""
        weight: Tensor = self.rows["value_head.weight"]
        bias: Tensor = self.rows["value_head.bias"]
        if (index := self._index(places)) is not None:
            weight, bias = weight[index], bias[index]
        return torch.baddbmm(bias[:, None, None], hidden.float(), weight[:, :, None])[..., 0]

    def _index(self, places: Sequence[int]) -> Tensor | None:
        """The places as a tensor that stays where it is, or None where they are all, in order."""
        key = tuple(places)
        if key == tuple(range(self.places)):
            return None
        if key not in self._indices:
            self._indices[key] = torch.tensor(key, device=self.device)
        return self._indices[key]

    def _take_head_input(self) -> Tensor:
        hidden, self._head_input = self._head_input, None
        assert hidden is not None
        return hidden

    def _remember_head_input(self, _: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Cut to the last positions it is a strided view, which torch would multiply by a copy per row of the head.
        self._head_input = args[0].contiguous()
        return (self._head_input, *args[1:])

    @contextmanager
    def _at_work(self, places: Sequence[int] | None) -> Iterator[None]:
        """Within this block the model speaks for these places, or for the reference; a failure leaves nothing."""
        working = (
            nullcontext()
            if places is None or self.adapters is None
            else self.adapters.at_work(len(places), self._index(places))
        )
        try:
            with working:
                yield
        except BaseException:
            self._head_input = None  # with it would stay the whole pass
            raise

    def _own_weights(self, value_head: dict[str, torch.Size]) -> ParameterRows:
        """Move every weight of the model into a row, so that a full trial is a vector like any other."""
        weights = dict(self.model.named_parameters())
        rows = ParameterRows(1, {**{n: p.shape for n, p in weights.items()}, **value_head}, self.device)
        for name, weight in weights.items():
            view = rows[name]
            with torch.no_grad():
                view[0].copy_(weight)
            weight.data = view.detach()[0]
            weight.grad = view.grad[0] if view.grad is not None else None
        self._initial = rows.values[0].clone()
        return rows


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens that end a response: the tokenizer's, and those that the model's authors named."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = [*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id]
    return sorted({int(i) for i in ids if i is not None})


def cache_name(arguments: Container[str]) -> str:
    """What a model's forward calls its cache: the old name is gone from transformers 5.40, the new one is of 5.24."""
    return "cache" if "cache" in arguments else "past_key_values"


def _pick(log_distribution: Tensor, ids: Tensor) -> Tensor:
    return log_distribution.gather(-1, ids[..., None])[..., 0]
