"""A model's own functions, by kernels that are faster on a CPU; nothing is approximated.

GPT-2's GELU is x·(1 + tanh u)/2, which is x·σ(2u): the logistic function is several times cheaper than the
hyperbolic tangent. Attention over short texts is two products and a softmax, for torch's blocked kernel is made
for long ones, and its backward pass in bfloat16 is five times as slow as in float32.
"""

import inspect
import math
import sys
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.activations import GELUTanh, NewGELUActivation
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ppo_tune.models.fast.linear import quicken

GELU_LINEAR = 2 * math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715 * GELU_LINEAR

ATTENTION = "plain_products"
"""The name under which `attend` is known to transformers."""

LONGEST = 1024
"""Keys up to which plain products win in bfloat16, measured on one core with AVX512-BF16."""

LONGEST_FLOAT32 = 128
"""The same for float32, where they do not win for a single query."""


def settle(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """Move a model to where it will work, and give it the kernels that are fast there."""
    model.to(device)  # type: ignore[arg-type]
    quicken(model)
    on_cpu = device.type == "cpu"
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, NewGELUActivation | GELUTanh):
                setattr(parent, name, TanhGELU() if on_cpu else nn.GELU("tanh"))
    if on_cpu and model.config._attn_implementation == "sdpa" and not _asks_for_its_attention(model):
        model.set_attn_implementation(ATTENTION)
    return model


def _asks_for_its_attention(model: PreTrainedModel) -> bool:
    """Whether the model's own code does something else where its attention has a name that it does not know.

    Sparse attention, as in DeepSeek-V3.2, hides the keys that were not chosen only from the attentions it knows by
    name; another one is given the choice to make use of, and ours would see every key.
    """
    try:
        source = inspect.getsource(sys.modules[type(model).__module__])
    except (OSError, TypeError):  # it was typed in
        return False
    return "_attn_implementation in (" in source


class TanhGELU(nn.Module):
    """GELU by the hyperbolic tangent, in any shape.

    Paper: Hendrycks and Gimpel, 2016, "Gaussian Error Linear Units", arXiv:1606.08415.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
        if torch.is_grad_enabled():
            result: Tensor = _LogisticGELU.apply(x)  # type: ignore[no-untyped-call]
            return result
        return _LogisticGELU.share(x).mul_(x)


class _LogisticGELU(torch.autograd.Function):
    """x·σ(x·(a + b·x²)), whose derivative is s + x·s·(1 - s)·(a + 3b·x²)."""

    @staticmethod
    def share(x: Tensor) -> Tensor:
        """σ(x·(a + b·x²)): how much of x is let through."""
        return x.square().mul_(GELU_CUBIC).add_(GELU_LINEAR).mul_(x).sigmoid_()

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        share = _LogisticGELU.share(x)
        ctx.save_for_backward(x, share)
        return x * share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, share = ctx.saved_tensors
        slope = x.square().mul_(3 * GELU_CUBIC).add_(GELU_LINEAR).mul_(x)
        result: Tensor = torch.ops.aten.sigmoid_backward(slope, share).add_(share).mul_(gradient)
        return result


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention by plain products where they win; an attention function of transformers.

    Args:
        module: The attention layer.
        query: Shape (N, heads, Q, D).
        key: Shape (N, key heads, S, D).
        value: Like `key`.
        attention_mask: Added to the scores, broadcasts over (N, heads, Q, S); None where the layer's own kind is
            all: a decoder's query sees the keys up to itself, an encoder's sees every key.
        scaling: Factor of the scores; None is 1/√D.
        position_bias: Added to the scores too, broadcasts over (N, heads, Q, S), as T5's; None for none.
        others: What else transformers passes on; `is_causal` goes before what the layer says of itself.

    Returns:
        Outputs of shape (N, Q, heads, D), and None for the weights.
    """
    longest = LONGEST if query.dtype == torch.bfloat16 else LONGEST_FLOAT32 if query.shape[-2] > 1 else 0
    special = any(others.get(name) for name in ("dropout", "softcap")) or others.get("cache") is not None
    # Our products have no gradient for a mask.
    learned = any(added is not None and added.requires_grad for added in (attention_mask, position_bias))
    if key.shape[-2] > longest or special or learned or torch.is_autocast_enabled(query.device.type):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, position_bias=position_bias, **others
        )
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if attention_mask is None:
        causal = _is_causal(module, others)
        attention_mask = _mask(causal, query.shape[-2], key.shape[-2], query.dtype, query.device)
    if position_bias is not None:
        attention_mask = attention_mask + position_bias
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    mask = attention_mask.expand(*query.shape[:-1], key.shape[-2]).flatten(0, 1)
    operands: Any = (mask, query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), factor)
    learns = torch.is_grad_enabled()
    mixed: Tensor = _Attention.apply(*operands) if learns else _Attention.mix(*operands)[0]  # type: ignore[no-untyped-call]
    return mixed.view(*query.shape[:-1], -1).transpose(1, 2).contiguous(), None


class _Attention(torch.autograd.Function):
    """softmax(mask + factor · Q Kᵀ) V: (M, Q, S), (M, Q, D), (M, S, D), (M, S, D) -> (M, Q, D); M = N · heads."""

    @staticmethod
    def mix(mask: Tensor, query: Tensor, key: Tensor, value: Tensor, factor: float) -> tuple[Tensor, Tensor]:
        """What is said, and the weights, (M, Q, S)."""
        weights = torch.baddbmm(mask, query, key.mT, alpha=factor).softmax(-1)
        return torch.bmm(weights, value), weights

    @staticmethod
    def forward(ctx: Any, mask: Tensor, query: Tensor, key: Tensor, value: Tensor, factor: float) -> Tensor:
        mixed, weights = _Attention.mix(mask, query, key, value, factor)
        ctx.save_for_backward(query, key, value, weights)
        ctx.factor = factor
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights = ctx.saved_tensors
        slope = torch.ops.aten._softmax_backward_data(
            torch.bmm(gradient, value.mT), weights, -1, weights.dtype
        ).mul_(ctx.factor)
        gradient_value = torch.bmm(weights.mT, gradient)
        return None, torch.bmm(slope, key), torch.bmm(slope.mT, query), gradient_value, None


def additive_mask(*args: Any, dtype: torch.dtype = torch.float32, **others: Any) -> Tensor | None:
    """A mask that is added to the scores; None where the layer's kind is all; a mask function of transformers."""
    seen = sdpa_mask(*args, **others)
    return None if seen is None else torch.where(seen, 0.0, _lowest(dtype)).to(dtype)


def _is_causal(module: nn.Module, others: dict[str, Any]) -> bool:
    """Whether a layer that is given no mask hides what comes later; transformers' own rule for `sdpa`."""
    told = others.get("is_causal")
    return bool(getattr(module, "is_causal", True) if told is None else told)


@lru_cache(maxsize=128)
def _mask(causal: bool, n_queries: int, n_keys: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What the last queries may see, (Q, S): 0, and where it is causal the lowest number at keys behind them."""
    hidden = torch.full((n_queries, n_keys), causal, device=device).triu(1 + n_keys - n_queries)
    return torch.where(hidden, _lowest(dtype), 0.0).to(dtype)


def _lowest(dtype: torch.dtype) -> float:
    """The lowest number that a shorter format holds too: a row without anything to see must not become NaN."""
    return max(torch.finfo(dtype).min, torch.finfo(torch.bfloat16).min)


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, additive_mask)
