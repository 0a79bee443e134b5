"""What of a model is fitted: all weights, or adapters on its linear layers, which are merged when it is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from ppo_tune.config.fitting import FitConfig
from ppo_tune.errors import ModelError
from ppo_tune.models.adapters import layers_to_adapt
from ppo_tune.models.fast.kernels import settle
from ppo_tune.models.loading import best_device, dtype_of_products, skeleton
from ppo_tune.models.lora import Bottleneck, LowRank, remark_on_rank
from ppo_tune.models.rows import ParameterRows
from ppo_tune.models.saving import save_whole
from ppo_tune.seeding import generator


class FittedWeights:
    """A model on the device where it is fitted, with dropout off, and what of it is fitted.

    Dropout draws from the global random numbers, and PPO has none either.

    Args:
        model: All weights of it, or all of its head and adapters on its other linear layers.
        config: Rank and scale of the adapters, and seed.
        dtype: Of the products; another one than that of weights which are all fitted is had by autocast.
        head: What has no adapter: the layer of a classifier that makes the scores; None for that of the logits.

    Attributes:
        model: The model.
        parameters: What an optimizer steps; always float32.
        dtype: Of the products.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: FitConfig,
        dtype: torch.dtype,
        head: nn.Module | None = None,
    ) -> None:
        device = best_device()
        self.dtype = dtype
        self.model = settle(model, device).train(False)
        self.adapters: LowRank | None = None
        self.parameters = list(model.parameters())
        if config.lora_rank is None:
            return
        model.requires_grad_(False)
        self.adapters = LowRank(model, Bottleneck(config.lora_rank, config.lora_alpha), head=head)
        rows = ParameterRows(1, self.adapters.shapes(), device)
        self.adapters.hold(rows)
        self.adapters.reset(0, generator(config.seed, "fit", "adapters"))
        learned = [] if head is None else [*head.float().requires_grad_(True).parameters()]
        self.parameters = [*rows.views.values(), *learned]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within this block the model says what was fitted, with products of its format."""
        casts = self.adapters is None and self.dtype != self.model.dtype
        with torch.autocast(self.model.device.type, self.dtype, enabled=casts):
            if self.adapters is None:
                yield
            else:
                with self.adapters.at_work(1, None):
                    yield

    def save(self, folder: Path) -> None:
        """Write an ordinary model folder."""
        if self.adapters is None:
            self.model.save_pretrained(folder)
        else:
            save_whole(self.model, folder, self.adapters)


def check_rank(base: str, config: FitConfig) -> None:
    """Refuse adapters that are wider than all that they could say, by the base's config alone.

    Raises:
        ModelError: If they are, or it is no causal language model.
    """
    if config.lora_rank is not None:
        layers = layers_to_adapt(skeleton(base)).values()
        if problem := remark_on_rank(layers, config.lora_rank, "lora_rank"):
            raise ModelError(problem)


def dtypes_of(base: str, config: FitConfig) -> tuple[torch.dtype, torch.dtype]:
    """The formats of a base's weights and of its products in a fit: what is fitted stays float32.

    Raises:
        ModelError: If it is no causal language model.
    """
    all_weights = config.lora_rank is None
    dtype = dtype_of_products(base, config.dtype, best_device(), all_weights=all_weights)
    return torch.float32 if all_weights else dtype, dtype
