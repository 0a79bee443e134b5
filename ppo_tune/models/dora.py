"""DoRA adapters: a low-rank adapter that turns each row of a layer's weight, and the length of that row beside it.

The weight becomes m · (W + scale · (A B)ᵀ) / ‖W + scale · (A B)ᵀ‖, one m and one length for each output; the bias
stays. The length is a constant to the gradient, as in the paper's section 4.3 and in PEFT.

Paper: Liu et al., 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", arXiv:2402.09353.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ppo_tune.models.fast.linear import layer_shape, product, weight_of
from ppo_tune.models.lora import Bottleneck, LowRank
from ppo_tune.models.rows import ParameterRows


class Decomposed(LowRank):
    """DoRA adapters; arguments and errors are those of `LowRank`.

    No weight of a trial is ever built: the squared length of a row is ‖w‖² + 2 w·d + ‖d‖², where d = A b is of rank
    R, so that both terms with d cost what R more tokens cost. Where nothing is learned, it is found once for all.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        usual: Bottleneck,
        idle: Sequence[nn.Module] = (),
        head: nn.Module | None = None,
        *,
        varies: bool = False,
    ) -> None:
        super().__init__(model, usual, idle, head, varies=varies)
        self._squares = {name: squared_lengths(weight_of(layer)) for name, layer in self.layers.items()}
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def hold(self, rows: ParameterRows) -> None:
        """Have the numbers of all places here, and let each row keep its length."""
        super().hold(rows)
        for name, squares in self._squares.items():
            rows[f"{name}.magnitude"].copy_(squares.sqrt())

    @contextmanager
    def at_work(self, count: int, index: Tensor | None) -> Iterator[None]:
        """Within this block an input belongs to k places, whose numbers stay as they are."""
        with super().at_work(count, index):
            try:
                yield
            finally:
                self._known.clear()

    def shapes(self) -> dict[str, torch.Size]:
        """Shape of each tensor of one trial: A is (in, R), B is (R, out), the magnitude (out,)."""
        lengths = {
            f"{name}.magnitude": torch.Size((layer_shape(layer)[1],)) for name, layer in self.layers.items()
        }
        return super().shapes() | lengths

    @torch.no_grad()
    def reset(self, place: int, rng: torch.Generator, own: Bottleneck | None = None) -> None:
        """Start a place afresh, with matrices as LoRA's and the lengths that the rows have."""
        super().reset(place, rng, own)
        assert self.rows is not None
        for name, squares in self._squares.items():
            self.rows[f"{name}.magnitude"][place].copy_(squares.sqrt())

    def do_nothing(self, place: int) -> bool:
        """Whether every B of a place is zero and every row has its length, as after a reset."""
        rows = self.rows
        assert rows is not None
        return super().do_nothing(place) and all(
            torch.equal(rows[f"{name}.magnitude"].detach()[place], squares.sqrt())
            for name, squares in self._squares.items()
        )

    def merge(self, state: Mapping[str, Tensor], place: int) -> None:
        """Turn the rows of a copy of the model's weights, and give them the lengths of a place."""
        super().merge(state, place)
        assert self.rows is not None
        for name, layer in self.layers.items():
            weight = state[f"{name}.weight"]
            magnitude = self.rows[f"{name}.magnitude"].detach()[place].to("cpu")
            give_lengths(weight if isinstance(layer, nn.Linear) else weight.T, magnitude)

    def to_peft(self, place: int) -> dict[str, Tensor]:
        """Both matrices of every layer, and its magnitude."""
        assert self.rows is not None
        lengths = {name: self.rows[f"{name}.magnitude"].detach()[place].clone() for name in self.layers}
        return super().to_peft(place) | {f"{name}.{MAGNITUDE}": m for name, m in lengths.items()}

    def from_peft(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Both matrices of every layer, and its magnitude."""
        lengths = {f"{name}.magnitude": tensors[f"{name}.{MAGNITUDE}"] for name in self.layers}
        return super().from_peft(tensors) | lengths

    def peft_config(self, place: int) -> dict[str, Any]:
        """Rank and scale, and that there is a magnitude."""
        return super().peft_config(place) | {"use_dora": True}

    def _forward(self, name: str, layer: nn.Module, x: Tensor) -> Tensor:
        """What the layer says of x, (k·B, ..., in) -> (k·B, ..., out), with the rows of each trial's own weight."""
        said = super()._forward(name, layer, x)
        if not self._count:
            return said
        rows = said.view(self._count, -1, said.shape[-1])
        bias: Any = layer.bias
        change = self._change(name, layer).to(x.dtype)
        return torch.addcmul(rows, rows if bias is None else rows - bias, change).view(said.shape)

    def _change(self, name: str, layer: nn.Module) -> Tensor:
        """How much longer a row is made than it is once turned, as a share of that, (k, 1, out)."""
        if torch.is_grad_enabled():
            return self._longer(name, layer)
        if name not in self._known:
            self._known[name] = self._longer(name, layer)
        return self._known[name]

    def _longer(self, name: str, layer: nn.Module) -> Tensor:
        magnitude, lengths = self.of_those_at_work(f"{name}.magnitude"), self._lengths(name, layer)
        turned = lengths > 0  # a row of zeros is not
        return torch.where(turned, magnitude / lengths.where(turned, 1.0) - 1, 0.0)[:, None]

    @torch.no_grad()
    def _lengths(self, name: str, layer: nn.Module) -> Tensor:
        """The length of each row of a layer's weight once it is turned, (k, out)."""
        a, b = self.of_those_at_work(f"{name}.A"), self.of_those_at_work(f"{name}.B")
        scales = self._scales if self._selection is None else self._scales[self._selection]
        b, weight = b * scales, weight_of(layer)
        along = product(a.mT.to(weight.dtype), weight).float()
        both = torch.baddbmm(along, a.mT @ a, b, beta=2.0)
        lengths: Tensor = (self._squares[name] + (both * b).sum(1)).clamp(min=0.0).sqrt()
        return lengths


MAGNITUDE = "lora_magnitude_vector"
"""PEFT's name for the lengths of a layer's rows."""


@torch.no_grad()
def squared_lengths(weight: Tensor) -> Tensor:
    """The squared length of each row of a weight in float32, (out, in) -> (out,)."""
    lengths: Tensor = torch.linalg.vector_norm(weight, dim=1, dtype=torch.float32)
    return lengths.square()


def give_lengths(weight: Tensor, lengths: Tensor) -> None:
    """Give each row of a weight another length, in place; a row of zeros has none to be changed."""
    now = squared_lengths(weight).sqrt()
    weight *= torch.where(now > 0, lengths / now, 1.0)[:, None]
