"""What adapters of any kind have in common: they are of K trials over one frozen model.

The model keeps its class and its modules. Most kinds are on its linear layers, whose `forward` is replaced by one that
has the adapter of each trial at work, where rows of trial k come k-th. Switched off, the model is the reference policy.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ppo_tune.errors import ModelError
from ppo_tune.models.fast.linear import is_linear
from ppo_tune.models.rows import ParameterRows

ADAPTER_PREFIX = "base_model.model."
"""Of the names of weights in PEFT's adapters of layers."""


def output_head(model: PreTrainedModel) -> nn.Linear:
    """The layer that makes the logits.

    Raises:
        ModelError: If there is none.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise ModelError(
            f"a {type(model).__name__} has no linear layer that makes logits; choose a causal language model"
        )
    return head


def linear_layers(
    model: PreTrainedModel, idle: Iterable[nn.Module] = (), head: nn.Module | None = None
) -> dict[str, nn.Module]:
    """Every linear layer of the model by name, but its head (None: what makes the logits) and those of idle parts."""
    others = {head or output_head(model), *(module for part in idle for module in part.modules())}
    return {
        name: module for name, module in model.named_modules() if module not in others and is_linear(module)
    }


def layers_to_adapt(
    model: PreTrainedModel, idle: Iterable[nn.Module] = (), head: nn.Module | None = None
) -> dict[str, nn.Module]:
    """The linear layers that get adapters, by name.

    Raises:
        ModelError: If there is none.
    """
    layers = linear_layers(model, idle, head)
    if not layers:
        raise ModelError(
            "model.lora_rank: adapters want linear layers, and this model has none that they can be added to; "
            "train all weights by lora_rank: null"
        )
    return layers


def adapted_share(
    model: PreTrainedModel,
    layers: Iterable[nn.Module],
    idle: Iterable[nn.Module] = (),
    head: nn.Module | None = None,
) -> float:
    """Which share of a model's weights is in some layers; those of embeddings, output layer and idle parts aside."""
    aside = [head or output_head(model), *idle, *(m for m in model.modules() if isinstance(m, nn.Embedding))]
    left_out = {id(weight) for part in aside for weight in part.parameters()}
    weights = {id(w): w.numel() for w in model.parameters() if id(w) not in left_out}
    adapted = {id(weight) for layer in layers for weight in layer.parameters()}
    return sum(n for weight, n in weights.items() if weight in adapted) / max(1, sum(weights.values()))


MOST_OF_IT = 0.8
"""Share of the weights from which it need not be said that the others have no adapters."""


def remark_on(share: float, place: str = "model.lora_rank") -> str | None:
    """That adapters reach only this share of a model's weights, where that is little."""
    if share >= MOST_OF_IT:
        return None
    return (
        f"{place}: the adapters are on linear layers, which hold {100 * share:.2g} % of this model's "
        "weights (embeddings and output layer aside); the others, as a mixture's experts, stay as they are; "
        "lora_rank: null trains all"
    )


class Adapters(ABC):
    """The adapters of all places, and the switch that says which are at work.

    Attributes:
        peft_prefix: Of the names of weights in PEFT's adapters of this kind.
        can_merge: Whether an ordinary model can be made that says what the model says with the adapters of a place.
    """

    peft_prefix: ClassVar[str] = ADAPTER_PREFIX
    can_merge: ClassVar[bool] = True

    def __init__(self) -> None:
        self.rows: ParameterRows | None = None
        self._selection: Tensor | None = None
        self._count = 0

    @property
    @abstractmethod
    def remark(self) -> str | None:
        """What its user should know."""

    def hold(self, rows: ParameterRows) -> None:
        """Have the numbers of all places here, each of which is as after a reset until it is reset or filled."""
        self.rows = rows

    @contextmanager
    def at_work(self, count: int, index: Tensor | None) -> Iterator[None]:
        """Within this block, an input of k·B rows belongs to k places, B rows each, in order; no index means all."""
        self._selection, self._count = index, count
        try:
            yield
        finally:
            self._count = 0

    def of_those_at_work(self, name: str) -> Tensor:
        """A named tensor of the places at work, (k, ...)."""
        assert self.rows is not None
        every = self.rows[name]
        return every if self._selection is None else every[self._selection]

    @abstractmethod
    def shapes(self) -> dict[str, torch.Size]:
        """Shape of each tensor of one trial."""

    @abstractmethod
    def reset(self, place: int, rng: torch.Generator, own: Any = None) -> None:
        """Start a place afresh; `own` says what the adapter is like, None is as usual."""

    def begin(self, place: int, steps: int) -> None:  # noqa: B027
        """A trial of so many optimizer steps starts in a place that was reset."""

    def before_step(self, place: int) -> None:  # noqa: B027
        """Add to a trial's gradient what the adapters themselves want to be less."""

    def after_step(self, place: int) -> None:  # noqa: B027
        """Change what an optimizer step has left; the gradient is still that of the step."""

    def state(self, place: int) -> dict[str, Tensor]:
        """What a trial is beyond the numbers of its place and its optimizer."""
        return {}

    def restore(self, place: int, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Go on from a state of a trial that was begun."""

    @abstractmethod
    def do_nothing(self, place: int) -> bool:
        """Whether the adapters of a place change nothing, as after a reset those of most kinds do."""

    def merge(self, state: Mapping[str, Tensor], place: int) -> None:
        """Make of a copy of the model's weights, in main memory, what they are with the adapters of a place."""
        raise NotImplementedError("what cannot be merged is saved beside its base")

    @abstractmethod
    def to_peft(self, place: int) -> dict[str, Tensor]:
        """The tensors of a place by PEFT's names, without its prefix."""

    @abstractmethod
    def from_peft(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of `shapes`, of those of `to_peft`."""

    @abstractmethod
    def peft_config(self, place: int) -> dict[str, Any]:
        """What PEFT's config says of the adapters of a place; the layers aside."""


class LayerAdapters(Adapters):
    """Adapters of linear layers.

    Args:
        model: The frozen model; its linear layers get a forward of ours.
        idle: Parts of the model that no text passes through; they get no adapters.
        head: The output layer, which gets none; None for the one that makes the logits.

    Attributes:
        layers: The adapted layers by name.
        share: Which share of the model's weights they hold; those of embeddings, output layer and idle parts aside.

    Raises:
        ModelError: If there is no layer to adapt.
    """

    def __init__(
        self, model: PreTrainedModel, idle: Sequence[nn.Module] = (), head: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.layers = layers_to_adapt(model, idle, head)
        self.share = adapted_share(model, self.layers.values(), idle, head)
        for name, layer in self.layers.items():
            layer.forward = partial(self._forward, name, layer)

    @property
    def remark(self) -> str | None:
        """What its user should know: how little the adapters reach, where that is little."""
        return remark_on(self.share)

    @abstractmethod
    def merge(self, state: Mapping[str, Tensor], place: int) -> None:
        """Make of a copy of the model's weights, in main memory, what they are with the adapters of a place."""

    @abstractmethod
    def _forward(self, name: str, layer: nn.Module, x: Tensor) -> Tensor:
        """What the layer says of x, (k·B, ..., in) -> (k·B, ..., out), with the adapter of each trial at work."""
