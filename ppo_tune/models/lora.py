"""Low-rank adapters of K trials on the linear layers of one frozen model.

The model keeps its class and its modules: an adapter is a forward hook that adds `scale · x A_k B_k` to a
layer's output, where rows of trial k come k-th. Switched off, the model is the reference policy.

Paper: Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ppo_tune.models.rows import ParameterRows


def output_head(model: PreTrainedModel) -> nn.Linear:
    """The layer that makes the logits."""
    head: nn.Linear = model.get_output_embeddings()
    return head


def linear_layers(model: PreTrainedModel) -> dict[str, nn.Linear | Conv1D]:
    """Every linear layer of the model by name, but the one that makes the logits."""
    head = output_head(model)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }


def layer_shape(layer: nn.Linear | Conv1D) -> tuple[int, int]:
    """Width of a layer's input and of its output."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.nx, layer.nf


class Adapters:
    """The adapters of all layers and places, and the switch that says which are at work.

    Args:
        model: The frozen model; hooks are put on its linear layers.
        rank: R, the width of the bottleneck.
        alpha: The branch is scaled by alpha / R.
    """

    def __init__(self, model: PreTrainedModel, rank: int, alpha: float) -> None:
        self.rank = rank
        self.alpha = alpha
        self.layers = linear_layers(model)
        self.rows: ParameterRows | None = None
        self._selection: Tensor | None = None
        self._count = 0
        for name, layer in self.layers.items():
            layer.register_forward_hook(self._hook(name))

    def shapes(self) -> dict[str, torch.Size]:
        """Shape of each adapter matrix of one trial: A is (in, R), B is (R, out)."""
        shapes = {}
        for name, layer in self.layers.items():
            n_in, n_out = layer_shape(layer)
            shapes[f"{name}.A"] = torch.Size((n_in, self.rank))
            shapes[f"{name}.B"] = torch.Size((self.rank, n_out))
        return shapes

    @torch.no_grad()
    def reset(self, place: int, rng: torch.Generator) -> None:
        """Start a place afresh: A uniform in ±1/√in, B zero, so that the adapter does nothing yet."""
        assert self.rows is not None
        for name, layer in self.layers.items():
            bound = 1 / math.sqrt(layer_shape(layer)[0])
            matrix = self.rows[f"{name}.A"][place]
            matrix.copy_(torch.empty(matrix.shape).uniform_(-bound, bound, generator=rng))
            self.rows[f"{name}.B"][place].zero_()

    @contextmanager
    def at_work(self, count: int, index: Tensor | None) -> Iterator[None]:
        """Within this block, an input of k·B rows belongs to k places, B rows each, in order.

        Args:
            count: k.
            index: Which places; None for all.
        """
        self._selection, self._count = index, count
        try:
            yield
        finally:
            self._count = 0

    def delta(self, name: str, place: int) -> Tensor:
        """What a place's adapter adds to a layer's weight, shape (in, out)."""
        assert self.rows is not None
        a, b = self.rows[f"{name}.A"].detach()[place], self.rows[f"{name}.B"].detach()[place]
        return (self.alpha / self.rank) * (a @ b)

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        scale = self.alpha / self.rank

        def add_branch(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not self._count:
                return output
            assert self.rows is not None
            a: Tensor = self.rows[f"{name}.A"]
            b: Tensor = self.rows[f"{name}.B"]
            if self._selection is not None:
                a, b = a[self._selection], b[self._selection]
            x = args[0].reshape(self._count, -1, args[0].shape[-1])
            base = output.reshape(self._count, -1, output.shape[-1])
            adapted: Tensor
            if torch.is_grad_enabled():
                adapted = _Branch.apply(base, x, a, b, scale)  # type: ignore[no-untyped-call]
            else:  # a fresh output that nobody else needs
                adapted = base.baddbmm_(_narrow(x, a.to(x.dtype)).mT, b.to(x.dtype), alpha=scale)
            return adapted.view(output.shape)

        return add_branch


def _narrow(x: Tensor, a: Tensor) -> Tensor:
    """(x A) of each trial, turned: (k, n, in), (k, in, R) -> (k, R, n)."""
    return torch.bmm(a.mT, x.mT)


class _Branch(torch.autograd.Function):
    """base + scale · x A B for k trials: (k, n, out), (k, n, in), (k, in, R), (k, R, out) -> (k, n, out).

    Every product has its narrow side, R, as rows: on a CPU that is up to eight times as fast as R columns.
    """

    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        a, b = a.to(x.dtype), b.to(x.dtype)
        low = _narrow(x, a)
        ctx.save_for_backward(x, a, b, low)
        ctx.scale = scale
        return torch.baddbmm(base, low.mT, b, alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, low = ctx.saved_tensors
        gradient_low = torch.bmm(b, gradient.mT).mul_(ctx.scale)
        gradient_x = torch.bmm(gradient_low.mT, a.mT) if ctx.needs_input_grad[1] else None
        gradient_a = torch.bmm(gradient_low, x).mT.float()
        gradient_b = torch.bmm(low, gradient).mul_(ctx.scale).float()
        return gradient, gradient_x, gradient_a, gradient_b, None
