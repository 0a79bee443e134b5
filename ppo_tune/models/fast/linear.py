"""Linear layers on a CPU, by the faster of the two libraries that torch brings.

In float32 torch multiplies by MKL, which keeps its AVX-512 for Intel's processors; oneDNN takes it everywhere and
is up to 2.3 times as fast elsewhere. It costs some ten microseconds more per product, so small products stay where
they are. Who does a product depends on its size and on the processor, never on a clock, so a run can be repeated.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

SMALL = 2**20
"""Multiplications below which oneDNN is no faster, measured on one core with AVX-512."""

KNOWS_BETTER = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
"""Whether oneDNN has instructions here that MKL may leave aside."""


def is_linear(module: nn.Module) -> bool:
    """Whether a module multiplies by its weight, adds its bias, and does nothing else.

    A layer with a forward of its own is tried: on small and large numbers it must say what the product says.
    """
    if type(module).forward in _PLAIN:
        return True
    return isinstance(module, nn.Linear | Conv1D) and _says_the_product(module)


@torch.no_grad()
def _says_the_product(layer: nn.Linear | Conv1D) -> bool:
    weight = weight_of(layer)
    if not weight.is_floating_point():
        return False
    n_in = layer_shape(layer)[0]
    sizes = torch.tensor([1e-3, 1.0, 1e3], device=weight.device)[:, None]
    x = (sizes * torch.arange(1, n_in + 1, device=weight.device).cos()).to(weight.dtype)
    forward: Any = type(layer).forward  # not that of an adapter
    try:
        said, expected = forward(layer, x), functional.linear(x, weight, layer.bias)
    except Exception:  # it wants another input, or its weight is not one to multiply by
        return False
    if not isinstance(said, Tensor) or said.shape != expected.shape:
        return False
    distance, size = (torch.linalg.vector_norm(y.float(), dim=-1) for y in (said - expected, expected))
    return bool((distance <= 16 * torch.finfo(weight.dtype).eps * size).all())


def layer_shape(layer: nn.Module) -> tuple[int, int]:
    """Width of a linear layer's input and of its output."""
    n_out, n_in = weight_of(layer).shape
    return n_in, n_out


def weight_of(layer: nn.Module) -> Tensor:
    """A linear layer's weight as (out, in), whichever way it is kept."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight.t() if isinstance(layer, Conv1D) else weight


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The sum x Wᵀ + b in fresh memory, without a gradient: (..., in), (out, in), (out,) -> (..., out)."""
    if _is_for_onednn(x, weight):
        if torch.compiler.is_compiling():
            return torch.ops.ppo_tune.product(x, weight, bias)  # type: ignore[no-any-return]
        return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]
    return functional.linear(x, weight, bias)


_LIBRARY = torch.library.Library("ppo_tune", "DEF")
"""Where a compiler finds `product`, which it would not know how to compile."""
_LIBRARY.define("product(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
_LIBRARY.impl("product", product, "CPU")


@torch.library.register_fake("ppo_tune::product")  # type: ignore[untyped-decorator]
def _shape_of_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], len(weight)))


def multiply(layer: nn.Module, x: Tensor) -> Tensor:
    """What a linear layer says of x, (..., in) -> (..., out), with gradients where they are wanted."""
    weight, bias = weight_of(layer), layer.bias
    if torch.is_autocast_enabled(x.device.type) or not _is_for_onednn(x, weight):
        return functional.linear(x, weight, bias)  # type: ignore[arg-type]
    return _Product.apply(x, weight, bias)  # type: ignore[no-untyped-call, no-any-return]


def quicken(model: nn.Module) -> None:
    """Let every linear layer of a model choose its library, product by product."""
    for module in model.modules():
        if is_linear(module):
            module.__class__ = _QuickConv1D if isinstance(module, Conv1D) else _QuickLinear


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    large = x.numel() * len(weight) >= SMALL
    return KNOWS_BETTER and large and x.dtype == torch.float32 and x.device.type == "cpu"


class _Product(torch.autograd.Function):
    """x Wᵀ + b with all its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted_x, wanted_weight, wanted_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            product(gradient, weight.t()) if wanted_x else None,
            product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if wanted_weight else None,
            rows.sum(0) if wanted_bias else None,
        )


class _QuickLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return multiply(self, x)


class _QuickConv1D(Conv1D):
    def forward(self, x: Tensor) -> Tensor:
        return multiply(self, x)


_PLAIN = {kind.forward for kind in (nn.Linear, Conv1D, _QuickLinear, _QuickConv1D)}
