"""IA³ adapters: one factor for each number that a layer says or reads, in the rows of trial k.

Every linear layer's output is multiplied by a vector, bias included; where a layer leads from a wider inner layer back
to the model's width, as the last of a feed-forward block does, its input is. Ones change nothing. The paper has keys,
values and the inside of feed-forward blocks only; queries, gates and what is added to the residual stream come on top.

Paper: Liu et al., 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
arXiv:2205.05638.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ppo_tune.models.adapters import LayerAdapters, output_head, remark_on
from ppo_tune.models.fast.linear import layer_shape, multiply
from ppo_tune.models.rows import ParameterRows


class Rescaling(LayerAdapters):
    """IA³ adapters.

    What is trained is the factor itself, as PEFT keeps it, so that what is saved is what is loaded to the bit. What is
    computed is its distance from 1, which bfloat16 knows to three digits; of the factor it knows 1, 1.0078, 1.0156.

    Args:
        model: The frozen model; its linear layers get a forward of ours.
        idle: Parts of the model that no text passes through; they get no adapters.
        head: The output layer, which gets none; None for the one that makes the logits.

    Attributes:
        inward: Names of the layers whose input is multiplied, not their output.

    Raises:
        ModelError: If there is no layer to adapt.
    """

    def __init__(
        self, model: PreTrainedModel, idle: Sequence[nn.Module] = (), head: nn.Module | None = None
    ) -> None:
        super().__init__(model, idle, head)
        width = layer_shape(head or output_head(model))[0]
        shapes = {name: layer_shape(layer) for name, layer in self.layers.items()}
        self.inward = {name for name, (n_in, n_out) in shapes.items() if n_in > max(n_out, width)}

    @property
    def remark(self) -> str | None:
        """What its user should know: how little the adapters reach, where that is little."""
        return remark_on(self.share, "model.adapter")

    @torch.no_grad()
    def hold(self, rows: ParameterRows) -> None:
        """Have the numbers of all places here, and let each of them do nothing."""
        super().hold(rows)
        for name in self.shapes():
            rows[name].fill_(1.0)

    def shapes(self) -> dict[str, torch.Size]:
        """Shape of each vector of one trial: as wide as the input or the output of its layer."""
        widths = {name: layer_shape(layer)[name not in self.inward] for name, layer in self.layers.items()}
        return {f"{name}.ia3": torch.Size((width,)) for name, width in widths.items()}

    @torch.no_grad()
    def reset(self, place: int, rng: torch.Generator, own: None = None) -> None:
        """Start a place afresh, with ones; nothing is drawn."""
        assert self.rows is not None
        for name in self.shapes():
            self.rows[name][place].fill_(1.0)

    def do_nothing(self, place: int) -> bool:
        """Whether every factor of a place is 1, as after a reset."""
        assert self.rows is not None
        return all(bool((self.rows[name][place] == 1.0).all()) for name in self.shapes())

    def merge(self, state: Mapping[str, Tensor], place: int) -> None:
        """Multiply a copy of the model's weights, and of its biases where outputs are, by the factors of a place."""
        vectors = self.to_peft(place)
        for name, layer in self.layers.items():
            weight = state[f"{name}.weight"]
            outward = weight if isinstance(layer, nn.Linear) else weight.T
            rescale(outward, state.get(f"{name}.bias"), vectors[f"{name}.ia3_l"].to("cpu"))

    def to_peft(self, place: int) -> dict[str, Tensor]:
        """The vector of every layer, (1, in) or (out, 1)."""
        assert self.rows is not None
        vectors = {name: self.rows[f"{name}.ia3"].detach()[place].clone() for name in self.layers}
        return {
            f"{name}.ia3_l": vector[None] if name in self.inward else vector[:, None]
            for name, vector in vectors.items()
        }

    def from_peft(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The vector of every layer."""
        return {f"{name}.ia3": tensors[f"{name}.ia3_l"].flatten() for name in self.layers}

    def peft_config(self, place: int) -> dict[str, Any]:
        """Which layers' inputs are multiplied; PEFT calls these feed-forward."""
        return {"peft_type": "IA3", "feedforward_modules": sorted(self.inward)}

    def _forward(self, name: str, layer: nn.Module, x: Tensor) -> Tensor:
        """What the layer says of x, (k·B, ..., in) -> (k·B, ..., out), with the factors of each trial at work."""
        if not self._count:
            return multiply(layer, x)
        change = (self.of_those_at_work(f"{name}.ia3") - 1.0)[:, None]
        if name in self.inward:
            return multiply(layer, self._rescaled(x, change))
        return self._rescaled(multiply(layer, x), change)

    def _rescaled(self, x: Tensor, change: Tensor) -> Tensor:
        """The product x · (1 + change) of k trials' rows, (k·B, ..., width) by (k, 1, width)."""
        rows = x.reshape(self._count, -1, x.shape[-1])
        return torch.addcmul(rows, rows, change.to(x.dtype)).view(x.shape)


def rescale(weight: Tensor, bias: Tensor | None, factors: Tensor) -> None:
    """Multiply a layer's weight, (out, in), in place by factors of its inputs, (1, in), or of its outputs, (out, 1).

    The bias, (out,), is multiplied where outputs are.
    """
    weight *= factors
    if bias is not None and len(factors) > 1:
        bias *= factors[:, 0]
