"""The policy of K trials over one language model: sample, evaluate, and the reference they started from.

Knows nothing of rewards, advantages or optimizers.
"""

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.models.lora import Adapters, output_head
from ppo_tune.models.rows import ParameterRows
from ppo_tune.models.text import Prompts, Sequences
from ppo_tune.ppo import entropy


@dataclass(frozen=True)
class Evaluation:
    """What a policy says about given responses.

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
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        places: int = 1,
        lora_rank: int | None = 16,
        lora_alpha: float = 16.0,
    ) -> None:
        assert lora_rank is not None or places == 1, "all weights are trained for one trial at a time"
        self.model: PreTrainedModel = model.train(False)  # dropout off, for good
        self.tokenizer = tokenizer
        self.places = places
        self.device: torch.device = next(model.parameters()).device
        self.stop_ids = torch.tensor(stop_tokens(model, tokenizer), device=self.device)
        self.dtype: torch.dtype = model.dtype
        self.context_length = context_length(model)
        self._takes_position_ids = "position_ids" in inspect.signature(model.forward).parameters
        self._head_input: Tensor | None = None
        head = output_head(model)
        hidden = {"value_head.weight": torch.Size((head.in_features,)), "value_head.bias": torch.Size(())}
        self.adapters: Adapters | None = None
        self._initial: Tensor | None = None
        if lora_rank is None:
            self._reference = copy.deepcopy(model).requires_grad_(False)
            self.rows = self._own_weights(hidden)
        else:
            model.requires_grad_(False)
            self._reference = model
            self.adapters = Adapters(model, lora_rank, lora_alpha)
            self.rows = ParameterRows(places, {**self.adapters.shapes(), **hidden}, self.device)
            self.adapters.rows = self.rows
        head.register_forward_pre_hook(self._remember_head_input)

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
    def generate(
        self, prompts: Prompts, uniforms: Tensor, *, temperature: float, places: Sequence[int]
    ) -> tuple[Sequences, Evaluation]:
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
        k, rows, length = uniforms.shape
        ids, mask = prompts.ids.flatten(0, 1), prompts.mask.flatten(0, 1)
        position = positions(mask)
        uniforms = uniforms.flatten(0, 1).to(self.device)
        cache = DynamicCache(config=self.model.config)
        finished = torch.zeros(k * rows, dtype=torch.bool, device=self.device)
        tokens, alive, seen = [], [], []
        with self._at_work(places):
            for t in range(length):
                logits = self._forward(
                    self.model, ids, mask, position, keep=1, past_key_values=cache, use_cache=True
                )[:, -1]
                log_distribution = torch.log_softmax(logits.float() / temperature, -1)
                token = sample_tokens(log_distribution, uniforms[:, t])
                logprob = log_distribution.gather(-1, token[:, None])[:, 0]
                seen.append((logprob, self._take_head_input()[:, -1], entropy(log_distribution)))
                tokens.append(token)
                alive.append(~finished)
                finished = finished | torch.isin(token, self.stop_ids)
                if finished.all():
                    break
                ids, position = token[:, None], position[:, -1:] + 1
                mask = torch.cat([mask, alive[-1][:, None]], dim=1)
        sequences = Sequences(
            prompts,
            torch.stack(tokens, -1).view(k, rows, -1),
            torch.stack(alive, -1).view(k, rows, -1),
            finished.view(k, rows),
        )
        logprobs, hidden, entropies = (torch.stack(column, 1) for column in zip(*seen, strict=True))
        shape = sequences.response_ids.shape
        evaluation = Evaluation(
            logprobs.view(shape), self._values(hidden, shape, places), entropies.view(shape)
        )
        return sequences, evaluation

    def evaluate(
        self, sequences: Sequences, *, temperature: float, places: Sequence[int], with_entropy: bool = False
    ) -> Evaluation:
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
        values = self._values(self._take_head_input(), sequences.response_ids.shape, places)
        return Evaluation(
            _pick(log_distribution, sequences.response_ids),
            values,
            entropy(log_distribution) if with_entropy else None,
        )

    @torch.no_grad()
    def reference(self, sequences: Sequences, *, temperature: float) -> Tensor:
        """Log-probabilities of the responses under the policy that every place started from, (k, B, T)."""
        log_distribution = self._log_distribution(self._reference, sequences, temperature)
        self._head_input = None
        return _pick(log_distribution, sequences.response_ids)

    def _log_distribution(self, model: PreTrainedModel, sequences: Sequences, temperature: float) -> Tensor:
        """Log-softmax of the scaled logits at every response position, (k, B, T, V), in float32."""
        prompts, response_ids = sequences.prompts, sequences.response_ids
        ids = torch.cat([prompts.ids, response_ids], -1)[..., :-1].flatten(0, 1)
        mask = torch.cat([prompts.mask, sequences.response_mask], -1)[..., :-1].flatten(0, 1)
        # The token at response column t is predicted at sequence position P + t - 1.
        logits = self._forward(
            model, ids, mask, positions(mask), keep=response_ids.shape[-1], use_cache=False
        )
        logits = logits.float().view(*response_ids.shape, -1)
        return torch.log_softmax(logits / temperature, -1)

    def _forward(
        self, model: PreTrainedModel, ids: Tensor, mask: Tensor, position: Tensor, *, keep: int, **cache: Any
    ) -> Tensor:
        if self._takes_position_ids:
            cache["position_ids"] = position
        output = model(input_ids=ids, attention_mask=mask.long(), logits_to_keep=keep, **cache)
        return output.logits  # type: ignore[no-any-return]

    def _values(self, hidden: Tensor, shape: torch.Size, places: Sequence[int]) -> Tensor:
        """Each trial's value head on what the language head reads, (k·B, T, H) -> (k, B, T)."""
        at = torch.tensor(list(places), device=self.device)
        weight, bias = self.rows["value_head.weight"][at], self.rows["value_head.bias"][at]
        return torch.einsum("kbth,kh->kbt", hidden.float().view(*shape, -1), weight) + bias[:, None, None]

    def _take_head_input(self) -> Tensor:
        hidden, self._head_input = self._head_input, None
        assert hidden is not None
        return hidden

    def _remember_head_input(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._head_input = args[0]

    @contextmanager
    def _at_work(self, places: Sequence[int]) -> Iterator[None]:
        with self.adapters.at_work(places) if self.adapters is not None else nullcontext():
            yield

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
    named = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = [*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id]
    return sorted({int(i) for i in ids if i is not None})


def context_length(model: PreTrainedModel) -> int | None:
    """The longest sequence the model can read, in tokens; None where it has no limit."""
    return getattr(model.config, "max_position_embeddings", None)


def positions(mask: Tensor) -> Tensor:
    """Position of each token, counted from the first real one, shape of `mask`."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def sample_tokens(log_distribution: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the cumulative distribution reaches a uniform number.

    Args:
        log_distribution: Log-probabilities of every token, shape (N, V).
        uniforms: Numbers in (0, 1], shape (N,).

    Returns:
        Token ids, shape (N,); a token of probability 0 is never chosen.
    """
    cumulative = log_distribution.exp().cumsum(-1)
    index = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:])
    return index[:, 0].clamp(max=cumulative.shape[-1] - 1)  # NaN, a diverged trial, finds no place


def _pick(log_distribution: Tensor, ids: Tensor) -> Tensor:
    return log_distribution.gather(-1, ids[..., None])[..., 0]
