"""Low-rank adapters of K trials on the linear layers of one frozen model.

The model keeps its class and its modules: an adapter is a forward hook that adds `scale · x A_k B_k` to a
layer's output, where rows of trial k come k-th. Switched off, the model is the reference policy.

Paper: Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
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
    def at_work(self, places: Sequence[int]) -> Iterator[None]:
        """Within this block, an input of k·B rows belongs to these k places, B rows each, in order."""
        assert self.rows is not None
        everyone = list(places) == list(range(len(self.rows.values)))
        self._selection = None if everyone else torch.tensor(list(places), device=self.rows.values.device)
        self._count = len(places)
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
            low = torch.bmm(x, a.to(x.dtype))
            base = output.reshape(self._count, -1, output.shape[-1])
            return torch.baddbmm(base, low, b.to(x.dtype), alpha=scale).view(output.shape)

        return add_branch
