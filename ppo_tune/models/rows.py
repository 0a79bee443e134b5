"""The trainable numbers of K trials, as K rows of one matrix.

Every named tensor is a view into the matrix, and so is its gradient. A trial is then one vector: its
optimizer is an ordinary one over a single parameter, its gradient norm is one norm, and starting it
afresh, saving it or copying it is one assignment. Trials share no number, so one backward pass through
the sum of their losses does not mix them.
"""

import math
import warnings
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor, nn


class ParameterRows:
    """K rows of trainable numbers and their gradients.

    Args:
        n_rows: K, one row per place.
        shapes: Shape of each named tensor within one row.
        device: Where the numbers live; they are float32 whatever the model's dtype.
    """

    def __init__(self, n_rows: int, shapes: Mapping[str, torch.Size], device: torch.device) -> None:
        _suppress_stride_warning()
        width = sum(math.prod(shape) for shape in shapes.values())
        self.values = torch.zeros(n_rows, width, device=device)
        self.grads = torch.zeros(n_rows, width, device=device)
        self.views: dict[str, nn.Parameter] = {}
        start = 0
        for name, shape in shapes.items():
            columns = slice(start, start + math.prod(shape))
            view = nn.Parameter(self.values[:, columns].view(n_rows, *shape))
            view.grad = self.grads[:, columns].view(n_rows, *shape)
            self.views[name] = view
            start = columns.stop

    @classmethod
    def owning(
        cls, model: nn.Module, shapes: Mapping[str, torch.Size], device: torch.device
    ) -> "ParameterRows":
        """One row that holds every weight of a model and is where the model finds them, and more tensors behind."""
        weights = dict(model.named_parameters())
        rows = cls(1, {**{name: weight.shape for name, weight in weights.items()}, **shapes}, device)
        for name, weight in weights.items():
            view = rows[name]
            with torch.no_grad():
                view[0].copy_(weight)
            weight.data = view.detach()[0]
            weight.grad = view.grad[0] if view.grad is not None else None
        return rows

    def __getitem__(self, name: str) -> nn.Parameter:
        """The named tensor of all trials, shape (K, ...)."""
        return self.views[name]

    def row(self, place: int) -> nn.Parameter:
        """All numbers of one trial as a vector that an optimizer can step; shares memory with the views."""
        row = nn.Parameter(self.values[place])
        row.grad = self.grads[place]
        return row

    def split(self, place: int) -> dict[str, Tensor]:
        """A copy of each named tensor of one trial."""
        return {name: view.detach()[place].clone() for name, view in self.views.items()}

    def cut(self, row: Tensor) -> dict[str, Tensor]:
        """The named parts of a vector that is as wide as a row, as views into it."""
        shapes = {name: view.shape[1:] for name, view in self.views.items()}
        parts = row.split([math.prod(shape) for shape in shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    @torch.no_grad()
    def fill(self, place: int, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite one trial's tensors; the names must be all of them."""
        for name, view in self.views.items():
            view[place].copy_(tensors[name])


@cache
def _suppress_stride_warning() -> None:
    """Have autograd give here, unseen, a warning that it gives once per process: strided gradients may add up slower.

    A view into K rows is strided, and so is its gradient. A filter on warnings would be the user's to lift.
    """
    weight = nn.Parameter(torch.zeros(2, 2)[:, :1])
    weight.grad = torch.zeros(2, 2)[:, :1]
    with warnings.catch_warnings(action="ignore"):
        weight.sum().backward()
