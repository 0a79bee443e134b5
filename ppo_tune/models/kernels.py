"""A model's own functions, by kernels that are faster on a CPU; nothing is approximated.

GPT-2's GELU is x·(1 + tanh u)/2, which is x·σ(2u): the logistic function is several times cheaper than the
hyperbolic tangent. Attention in bfloat16 is two products and a softmax, for torch's blocked kernel has a
backward pass there that is five times as slow as in float32.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.activations import GELUTanh, NewGELUActivation
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ATTENTION = "plain_products"
"""The name under which `attend` is known to transformers."""

LONGEST = 1024
"""Keys up to which plain products win in bfloat16, measured on one core with AVX512-BF16."""


def settle(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """Move a model to where it will work, and give it the kernels that are fast there."""
    model.to(device)  # type: ignore[arg-type]
    on_cpu = device.type == "cpu"
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, NewGELUActivation | GELUTanh):
                setattr(parent, name, TanhGELU() if on_cpu else nn.GELU("tanh"))
    if on_cpu and model.config._attn_implementation == "sdpa" and model.dtype == torch.bfloat16:
        model.set_attn_implementation(ATTENTION)
    return model


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

    A = 2 * math.sqrt(2 / math.pi)
    B = 0.044715 * A

    @staticmethod
    def share(x: Tensor) -> Tensor:
        """σ(x·(a + b·x²)): how much of x is let through."""
        return x.square().mul_(_LogisticGELU.B).add_(_LogisticGELU.A).mul_(x).sigmoid_()

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        share = _LogisticGELU.share(x)
        ctx.save_for_backward(x, share)
        return x * share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, share = ctx.saved_tensors
        slope = x.square().mul_(3 * _LogisticGELU.B).add_(_LogisticGELU.A).mul_(x)
        slope.mul_(torch.addcmul(share, share, share, value=-1.0)).add_(share)
        result: Tensor = slope.mul_(gradient)
        return result


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention by plain products where they win; an attention function of transformers.

    Args:
        module: The attention layer.
        query: Shape (N, heads, Q, D).
        key: Shape (N, key heads, S, D).
        value: Like `key`.
        attention_mask: Added to the scores, broadcasts over (N, heads, Q, S); None where causality is all.
        scaling: Factor of the scores; None is 1/√D.
        others: What else transformers passes on.

    Returns:
        Outputs of shape (N, Q, heads, D), and None for the weights.
    """
    special = any(others.get(name) for name in ("dropout", "softcap")) or any(
        others.get(name) is not None for name in ("position_bias", "cache")
    )
    if attention_mask is None or key.shape[-2] > LONGEST or special:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **others)
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    shape = (*query.shape[:-1], key.shape[-2])
    scores = torch.baddbmm(
        attention_mask.expand(shape).flatten(0, 1),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        alpha=query.shape[-1] ** -0.5 if scaling is None else scaling,
    )
    mixed = torch.bmm(scores.softmax(-1), value.flatten(0, 1))
    return mixed.view(*query.shape[:-1], -1).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, eager_mask)
