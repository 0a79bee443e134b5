"""Low-rank adapters: `scale · x A_k B_k` is added to a layer's output in the rows of trial k.

Papers: Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685; Kalajdzievski, 2023,
"A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", arXiv:2312.03732.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from ppo_tune.config.model import AdapterKind, ModelConfig
from ppo_tune.models.adapters import LayerAdapters
from ppo_tune.models.fast.linear import layer_shape, multiply, product, weight_of
from ppo_tune.models.rows import ParameterRows


def remark_on_rank(layers: Iterable[nn.Module], rank: int, place: str = "model.lora_rank") -> str | None:
    """That a rank is beyond that of any of these layers' weights, where it is."""
    most = max(min(layer_shape(layer)) for layer in layers)
    if rank <= most:
        return None
    return (
        f"{place}: {rank:,} is beyond the rank that the weights of any linear layer of this model can have, {most:,}: "
        f"the rest takes memory and time for nothing; take {most:,} or less, 16 is usual"
    )


@dataclass(frozen=True)
class Bottleneck:
    """What one trial's adapters are like.

    Attributes:
        rank: Width of the bottleneck; on average in the end, where there is some to spare.
        alpha: The branch is scaled by alpha / rank.
        stabilized: Whether by alpha / √rank instead: what a branch says then keeps its size as the rank grows.
        spares: Whether each is half as wide again at first, and loses that where it matters least; alpha / width then.
    """

    rank: int
    alpha: float
    stabilized: bool = False
    spares: bool = False

    @classmethod
    def of(cls, model: ModelConfig) -> "Bottleneck":
        """What the adapters of a model with a rank are like."""
        assert model.lora_rank is not None, "all weights are trained"
        return cls.made(model.adapter, model.lora_rank, model.lora_alpha)

    @classmethod
    def made(cls, kind: AdapterKind, rank: int, alpha: float) -> "Bottleneck":
        """What adapters of a kind, of a rank and alpha that were asked for, are like at first."""
        return cls(rank, alpha, stabilized=kind == "rslora", spares=kind == "adalora")

    @property
    def width(self) -> int:
        """The width at first."""
        return (3 * self.rank + 1) // 2 if self.spares else self.rank

    @property
    def scale(self) -> float:
        """The factor of the branch."""
        return self.alpha / (math.sqrt(self.rank) if self.stabilized else self.width)


class LowRank(LayerAdapters):
    """Low-rank adapters.

    A trial of a smaller rank has the matrices of the largest, with columns of A and rows of B that are zero: nothing
    passes through them, so their gradients are zero and they stay it, and the trial learns what it learns without them.

    Args:
        model: The frozen model; its linear layers get a forward of ours.
        usual: Of every place that is not told otherwise: R, the largest rank, and alpha.
        idle: Parts of the model that no text passes through; they get no adapters.
        head: The output layer, which gets none; None for the one that makes the logits.
        varies: Whether places may differ in rank and alpha.

    Raises:
        ModelError: If there is no layer to adapt.
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
        super().__init__(model, idle, head)
        self.usual = usual
        self.varies = varies
        self._own: dict[int, Bottleneck] = {}
        self._scales = torch.empty(0)

    @property
    def remark(self) -> str | None:
        """What its user should know: how little the adapters reach, where that is little, or that they are too wide."""
        told = super().remark, remark_on_rank(self.layers.values(), self.usual.rank)
        return "; ".join(filter(None, told)) or None

    def hold(self, rows: ParameterRows) -> None:
        """Have the numbers of all places here, which are as usual until they are reset."""
        super().hold(rows)
        self._own = {}
        self._scales = torch.full((len(rows.values), 1, 1), self.usual.scale, device=rows.values.device)

    def of(self, place: int) -> Bottleneck:
        """What the adapters of a place are like."""
        return self._own.get(place, self.usual)

    def shapes(self) -> dict[str, torch.Size]:
        """Shape of each adapter matrix of one trial: A is (in, R), B is (R, out)."""
        shapes = {}
        for name, layer in self.layers.items():
            n_in, n_out = layer_shape(layer)
            shapes[f"{name}.A"] = torch.Size((n_in, self.usual.width))
            shapes[f"{name}.B"] = torch.Size((self.usual.width, n_out))
        return shapes

    @torch.no_grad()
    def reset(self, place: int, rng: torch.Generator, own: Bottleneck | None = None) -> None:
        """Start a place afresh: A uniform in ±1/√in, B zero, so that the adapter does nothing yet.

        What the adapters are like there is as usual, unless the trial has its own.
        """
        self.become(place, own)
        assert self.rows is not None
        rank = self.of(place).width
        for name, layer in self.layers.items():
            n_in = layer_shape(layer)[0]
            bound = 1 / math.sqrt(n_in)
            matrix = self.rows[f"{name}.A"][place]
            matrix.zero_()
            matrix[:, :rank].copy_(torch.empty(n_in, rank).uniform_(-bound, bound, generator=rng))
            self.rows[f"{name}.B"][place].zero_()

    def become(self, place: int, own: Bottleneck | None) -> None:
        """Say what the adapters of a place are like; None is as usual."""
        own = self.usual if own is None else own
        assert own.width <= self.usual.width, f"rank {own.width} does not fit into {self.usual.width}"
        assert self.varies or own == self.usual, "all places were said to have the same adapters"
        self._own[place] = own
        self._scales[place] = own.scale

    def do_nothing(self, place: int) -> bool:
        """Whether every B of a place is zero, as after a reset."""
        assert self.rows is not None
        return not any(bool(self.rows[f"{name}.B"][place].any()) for name in self.layers)

    def delta(self, name: str, place: int) -> Tensor:
        """What a place's adapter adds to a layer's weight, shape (in, out)."""
        assert self.rows is not None
        a, b = self.rows[f"{name}.A"].detach()[place], self.rows[f"{name}.B"].detach()[place]
        return self.of(place).scale * (a @ b)

    def merge(self, state: Mapping[str, Tensor], place: int) -> None:
        """Add to a copy of the model's weights what the adapters of a place add."""
        for name, layer in self.layers.items():
            delta = self.delta(name, place)
            state[f"{name}.weight"].add_((delta.T if isinstance(layer, nn.Linear) else delta).to("cpu"))

    def to_peft(self, place: int) -> dict[str, Tensor]:
        """Both matrices of every layer, of the place's own rank, each turned: (R, in) and (out, R)."""
        assert self.rows is not None
        tensors, rank, found = self.rows.split(place), self.of(place).width, {}
        for name in self.layers:
            found[f"{name}.lora_A.weight"] = tensors[f"{name}.A"][:, :rank].T.contiguous()
            found[f"{name}.lora_B.weight"] = tensors[f"{name}.B"][:rank].T.contiguous()
        return found

    def from_peft(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Both matrices of every layer."""
        return {
            f"{name}.{side}": tensors[f"{name}.lora_{side}.weight"].T for name in self.layers for side in "AB"
        }

    def peft_config(self, place: int) -> dict[str, Any]:
        """Rank and scale."""
        own = self.of(place)
        return {
            "peft_type": "LORA", "r": own.rank, "lora_alpha": own.alpha, "use_rslora": own.stabilized,
            "lora_dropout": 0.0, "bias": "none",
        }  # fmt: skip

    def _forward(self, name: str, layer: nn.Module, x: Tensor) -> Tensor:
        """What the layer says of x, (k·B, ..., in) -> (k·B, ..., out), with the branch of each trial at work."""
        if not self._count:
            return multiply(layer, x)
        a, b = self._matrices(name)
        scale = self._scales if self.varies else self.usual.scale
        if self._selection is not None:
            scale = scale if isinstance(scale, float) else scale[self._selection]
        rows = x.reshape(self._count, -1, x.shape[-1])
        operands: Any = (rows, weight_of(layer), layer.bias, a, b, scale)
        learns = torch.is_grad_enabled()
        said: Tensor = _Adapted.apply(*operands) if learns else _Adapted.add(*operands)[0]  # type: ignore[no-untyped-call]
        return said.view(*x.shape[:-1], -1)

    def _matrices(self, name: str) -> tuple[Tensor, Tensor]:
        """A and B of the places at work."""
        return self.of_those_at_work(f"{name}.A"), self.of_those_at_work(f"{name}.B")


class _Adapted(torch.autograd.Function):
    """x Wᵀ + bias + scale · x A B of k trials: (k, n, in), (out, in), (out,), (k, in, R), (k, R, out) -> (k·n, out).

    The scale is one number, or one of each trial, (k, 1, 1). The weight is frozen. Every narrow product has its narrow
    side, R, as rows: on a CPU that is up to eight times as fast as R columns; and what the branch adds is added where
    it belongs, in both directions.
    """

    @staticmethod
    def add(
        x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The sum, and what is needed to go back: A and B in the dtype of x, and (x A) turned, (k, R, n).

        B holds the scale already where every trial has its own.
        """
        if isinstance(scale, Tensor):
            b, scale = b * scale, 1.0
        a, b = a.to(x.dtype), b.to(x.dtype)
        low = torch.bmm(a.mT, x.mT)
        # Flat it is no view, which a model could not add to in place.
        said = product(x.flatten(0, 1), weight, bias)
        said.view(*x.shape[:-1], -1).baddbmm_(low.mT, b, alpha=scale)
        return said, a, b, low

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float | Tensor
    ) -> Tensor:
        said, a, b, low = _Adapted.add(x, weight, bias, a, b, scale)
        is_own = isinstance(scale, Tensor)
        ctx.save_for_backward(x, weight, a, b, low, scale if is_own else None)
        ctx.scale = 1.0 if is_own else scale
        return said

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, low, scales = ctx.saved_tensors
        gradient = gradient.view(*x.shape[:-1], -1)
        gradient_low = torch.bmm(b, gradient.mT).mul_(ctx.scale)
        gradient_x = None
        if ctx.needs_input_grad[0]:
            gradient_x = product(gradient, weight.t()).baddbmm_(gradient_low.mT, a.mT)
        gradient_a = torch.bmm(gradient_low, x).mT.float()
        gradient_b = torch.bmm(low, gradient).mul_(ctx.scale).float()
        gradient_b = gradient_b if scales is None else gradient_b.mul_(scales)
        return gradient_x, None, None, gradient_a, gradient_b, None
