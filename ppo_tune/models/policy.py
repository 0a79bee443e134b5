"""The policy of K trials over one language model: sample, evaluate, and the reference they started from.

Knows nothing of rewards, advantages or optimizers.
"""

import copy
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.config.model import ModelConfig
from ppo_tune.errors import ModelError
from ppo_tune.models.adalora import Allocated
from ppo_tune.models.adapters import Adapters, output_head
from ppo_tune.models.alphabet import Alphabet
from ppo_tune.models.decoding import PolicyOutput, decode_alive, scaled_log_softmax
from ppo_tune.models.dora import Decomposed
from ppo_tune.models.guard import (
    TOLERANCES,
    Tolerance,
    examine,
    examine_pack,
    own_failures,
    read_plainly,
    two_prompts,
)
from ppo_tune.models.ia3 import Rescaling
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.layout import DecodingState, TokenLayout
from ppo_tune.models.lora import Bottleneck, LowRank
from ppo_tune.models.prefix import Prefix
from ppo_tune.models.rows import ParameterRows
from ppo_tune.models.stops import Stops, StopTexts, first_stop
from ppo_tune.models.text import Prompts, Sequences, check_tokens, name_of
from ppo_tune.ppo import entropy


class Policy:
    """A language model with K places for trials.

    With a rank, each place has its own adapters over the frozen model, and the model without them is the reference.
    Without a rank there is one place, all weights are trained, and the reference is a frozen copy.

    Args:
        model: Any Hugging Face causal language model or encoder–decoder.
        tokenizer: Its tokenizer.
        config: Which adapters; their rank None trains all weights, for one place only. Where the model lies and what
            its products are is not read of it.
        places: K, how many trials can be trained side by side.
        adapters_vary: Whether places may have a smaller rank, and another alpha, each its own.
        dtype: Of the products; None is the model's own. Another one than the model's, which is for weights that
            are trained and so stay float32, is had by autocast.

    Raises:
        ModelError: If the model is not what training takes it for: see `ppo_tune.models.guard`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        config: ModelConfig | None = None,
        *,
        places: int = 1,
        adapters_vary: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = config or ModelConfig()
        assert shape.lora_rank is not None or places == 1, "all weights are trained for one trial at a time"
        self.model: PreTrainedModel = model.train(False)  # dropout off, for good
        self.tokenizer = tokenizer
        self._name = name_of(model)
        self.places = places
        self.device: torch.device = next(model.parameters()).device
        self.dtype: torch.dtype = dtype or model.dtype
        layout = layout_of(model.config)
        self.layout: TokenLayout = layout(model, tokenizer, self.dtype)
        head = output_head(model)
        self.stop_ids = torch.tensor(self.layout.stop_ids, dtype=torch.long, device=self.device)
        self.stop_texts: StopTexts | None = None
        self._alphabet = Alphabet(tokenizer, self.layout.stop_ids, head.out_features, self.device)
        with own_failures(self._name, layout.kind):
            embedding: Any = model.get_input_embeddings()
            texts = two_prompts(tokenizer, len(embedding.weight))
            logits, idle = read_plainly(self.layout, texts[0])
            plain = scaled_log_softmax(self._alphabet.cut(logits), 1.0)
        hidden = {"value_head.weight": torch.Size((head.in_features,)), "value_head.bias": torch.Size(())}
        self.adapters: Adapters | None = None
        self._initial: Tensor | None = None
        if shape.lora_rank is None:
            self._reference = layout(copy.deepcopy(model).requires_grad_(False), tokenizer, self.dtype)
            self.rows = ParameterRows.owning(model, hidden, self.device)
            self._initial = self.rows.values[0].clone()
        else:
            model.requires_grad_(False)
            self._reference = self.layout
            self.adapters = self._adapters(shape, idle, varies=adapters_vary)
            self.rows = ParameterRows(places, {**self.adapters.shapes(), **hidden}, self.device)
            self.adapters.hold(self.rows)
        self.layout.listen()
        with own_failures(self._name, layout.kind):
            self._examine(*texts, plain)
            if isinstance(self.adapters, Prefix):
                self.layout.opener = self.adapters.fill
                behind = f"{self._name} behind a prefix"
                self._examine(*texts, self._next(texts[0]), name=behind, way_out="take adapter: lora")

    def _adapters(self, shape: ModelConfig, idle: Sequence[nn.Module], *, varies: bool) -> Adapters:
        match shape.adapter:
            case "prefix":
                return self._prefix(shape.prefix_length)
            case "ia3":
                return Rescaling(self.model, idle)
            case kind:
                low_rank = {"adalora": Allocated, "dora": Decomposed}.get(kind, LowRank)
                assert shape.lora_rank is not None
                usual = Bottleneck.made(kind, shape.lora_rank, shape.lora_alpha)
                return low_rank(self.model, usual, idle, varies=varies)

    def _prefix(self, length: int) -> Prefix:
        """Prefixes of a length, which the model can have.

        Raises:
            ModelError: If it cannot.
        """
        self.layout.n_before = length
        room = self.layout.room_for_responses
        if room is not None and room < 1:
            raise ModelError(
                f"model.prefix_length: must be less than the {room + length} tokens that {self._name} can read, but "
                f"got {length}; lower it"
            )
        try:
            return Prefix(self.layout.remember(length), submodules=1 + self.layout.closes_prompts)
        except ValueError as error:
            raise ModelError(
                f"{self._name} cannot have adapter: prefix, for {error}; take adapter: lora"
            ) from error

    @torch.no_grad()
    def _next(self, prompt: Sequence[int]) -> Tensor:
        """Log-probability of each token after a prompt, (V,), behind the prefix of the first place."""
        ids = torch.tensor([list(prompt)], device=self.device)
        with self._at_work((0,)):
            logits, _ = self.layout.begin(Prompts(ids, torch.ones_like(ids, dtype=torch.bool)), 1).step()
        return scaled_log_softmax(self._alphabet.cut(logits)[0], 1.0)

    def _examine(self, long: Sequence[int], short: Sequence[int], plain: Tensor, **said: str) -> None:
        """Refuse a model that is not what training takes it for."""
        said = {"name": self._name, **said}
        usual: Any = {"temperature": 1.0, "places": (0,)}
        stop_ids, self.stop_ids = self.stop_ids, self.stop_ids[:0]  # nothing ends what is examined
        try:
            examine(
                partial(self.generate, **usual), partial(self.evaluate, **usual), long, short, plain,
                self.tolerance, **said,
            )  # fmt: skip
            if self.places > 1:
                self._examine_pack(long, plain)
        finally:
            self.stop_ids = stop_ids

    @torch.no_grad()
    def _examine_pack(self, prompt: Sequence[int], plain: Tensor) -> None:
        """Refuse a model whose layers do not keep the rows of a batch apart, once two places differ."""
        rng = torch.Generator().manual_seed(0)
        before = self.rows.values.clone()
        for place in (0, 1):
            self.rows.values[place] += (
                torch.randn(self.rows.values.shape[1], generator=rng).to(self.device) / 8
            )
        try:
            examine_pack(
                lambda batch, places: self.evaluate(batch, temperature=1.0, places=places).logprobs,
                prompt, plain, self.tolerance, self._name,
            )  # fmt: skip
        finally:
            self.rows.values.copy_(before)

    def check_readable(self, prompts: Iterable[Sequence[int]]) -> None:
        """Make sure that the model knows every token of some prompts.

        Raises:
            ModelError: If one has no row in the input embedding.
        """
        check_tokens(prompts, self.tokenizer, self.model, self._name)

    def resize(self, places: int) -> None:
        """Have so many places instead, all of them new; what the old ones held is forgotten."""
        if places == self.places:
            return
        assert self.adapters is not None, "all weights are trained for one trial at a time"
        shapes = {name: view.shape[1:] for name, view in self.rows.views.items()}
        self.rows = ParameterRows(places, shapes, self.device)
        self.adapters.hold(self.rows)
        self.places = places

    def stop_also(self, stops: Stops) -> None:
        """End responses there too: at a task's own tokens, such as the end of a turn of a chat, and at its texts."""
        ids = sorted({*self.stop_ids.tolist(), *stops.ids})
        self.stop_ids = torch.tensor(ids, dtype=torch.long, device=self.device)
        if stops.texts:
            n_tokens = output_head(self.model).out_features
            self.stop_texts = StopTexts(self.tokenizer, stops.texts, n_tokens, self.device)

    def decode(self, sequences: Sequences) -> list[str]:
        """The text of each of B responses, (B, ·), without what ended it: what a judge reads."""
        texts = self.layout.texts(sequences)
        if self.stop_texts is None:
            return texts
        whole = self.layout.texts(replace(sequences, ended=torch.zeros_like(sequences.ended)))
        ends = (first_stop(text, self.stop_texts.texts) for text in whole)
        return [
            usual if at is None else text[:at] for usual, text, at in zip(texts, whole, ends, strict=True)
        ]

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
        return None if self.adapters is None else self.adapters.remark

    @property
    def tolerance(self) -> Tolerance:
        """How far two readings of one text may lie apart."""
        return TOLERANCES[self.dtype]

    @property
    def is_exact(self) -> bool:
        """Whether a token has the same log-probability, to 1e-6, when it is sampled and when it is learned from."""
        return self.dtype == torch.float32

    def reset(self, place: int, rng: torch.Generator, own: Bottleneck | None = None) -> None:
        """Start a place afresh, as the reference policy but for a prefix, with a value head of zeros and no gradients.

        Args:
            place: Which of the K.
            rng: Where the adapters' first numbers come from.
            own: What the adapters are like there; None is as usual.
        """
        self.rows.values[place].zero_()
        self.rows.grads[place].zero_()
        if self.adapters is not None:
            self.adapters.reset(place, rng, own)
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
        flat = Prompts(prompts.ids.flatten(0, 1), prompts.mask.flatten(0, 1))
        uniforms = uniforms.flatten(0, 1).to(self.device)
        with self._at_work(places):
            state = self.layout.begin(flat, uniforms.shape[-1])
            return decode_alive(
                partial(self._speak, places), state, prompts, uniforms,
                temperature=temperature, stop_ids=self.stop_ids, stop_texts=self.stop_texts,
                drops_rows=len(places) == 1,
            )  # fmt: skip

    def _speak(self, places: Sequence[int], state: DecodingState) -> tuple[Tensor, Tensor]:
        """Logits (N, V) and values (N,) of the next token of every row."""
        logits, hidden = state.step()
        return self._alphabet.cut(logits), self._values(hidden, places).flatten()

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
            logits, hidden = self.layout.teacher_force(sequences)
            log_distribution = scaled_log_softmax(self._alphabet.cut(logits), temperature)
            return PolicyOutput(
                _pick(log_distribution, sequences.response_ids),
                self._values(hidden, places).view(sequences.response_ids.shape),
                entropy(log_distribution) if with_entropy else None,
            )

    @torch.no_grad()
    def reference(self, sequences: Sequences, *, temperature: float) -> Tensor:
        """Log-probabilities of the responses under the policy that every place started from, (k, B, T)."""
        logits = self._alphabet.cut(self._reference.teacher_force(sequences).logits)
        return _pick(scaled_log_softmax(logits, temperature), sequences.response_ids)

    def _values(self, hidden: Tensor | None, places: Sequence[int]) -> Tensor:
        """Each trial's value head on what the language head reads, (k·n, H) or more axes -> (k, n)."""
        assert hidden is not None, "the layout listens"
        weight: Tensor = self.rows["value_head.weight"]
        bias: Tensor = self.rows["value_head.bias"]
        if (index := self._index(places)) is not None:
            weight, bias = weight[index], bias[index]
        hidden = hidden.view(len(places), -1, hidden.shape[-1]).float()
        return torch.baddbmm(bias[:, None, None], hidden, weight[:, :, None])[..., 0]

    def _index(self, places: Sequence[int]) -> Tensor | None:
        """The places as a tensor, or None where they are all, in order."""
        everybody = tuple(places) == tuple(range(self.places))
        return None if everybody else torch.tensor(places, device=self.device)

    def _at_work(self, places: Sequence[int]) -> AbstractContextManager[None]:
        """Within this block the model speaks for these places."""
        if self.adapters is None:
            return nullcontext()
        return self.adapters.at_work(len(places), self._index(places))


def _pick(log_distribution: Tensor, ids: Tensor) -> Tensor:
    return log_distribution.gather(-1, ids[..., None])[..., 0]
