"""Faster kernels: what they say is what the model's own would."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM

from ppo_tune.models.kernels import ATTENTION, TanhGELU, settle
from tests.conftest import FAMILIES, save_tiny_model, tiny_model

CPU = torch.device("cpu")
IDS = torch.arange(2, 14).view(2, 6)
PADDED = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gelu_and_its_slope_are_those_of_the_hyperbolic_tangent(dtype):
    ours = torch.linspace(-12, 12, 4001, dtype=dtype, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()

    said, expected = TanhGELU()(ours), nn.GELU("tanh")(theirs)
    weights = torch.linspace(-1, 1, 4001, dtype=dtype)
    (said * weights).sum().backward()
    (expected * weights).sum().backward()

    exact = 1e-12 if dtype == torch.float64 else 2e-6
    assert_close(said, expected, atol=exact, rtol=exact)
    assert_close(ours.grad, theirs.grad, atol=exact, rtol=exact)
    with torch.no_grad():
        assert torch.equal(TanhGELU()(ours), said)


def test_gelu_passes_the_numerical_check_of_its_gradient():
    x = torch.linspace(-4, 4, 50, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(TanhGELU(), x)


def test_gelu_lets_nan_through_and_bounds_the_rest():
    said = TanhGELU()(torch.tensor([torch.nan, 1e4, -1e4, 0.0]))

    assert said[0].isnan()
    assert said[1:].tolist() == [1e4, 0.0, 0.0]


def attention_of(model) -> str:
    return model.config._attn_implementation


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_a_bfloat16_model_attends_by_plain_products(dtype):
    model = settle(tiny_model("llama").to(dtype), CPU)

    assert attention_of(model) == (ATTENTION if dtype == torch.bfloat16 else "sdpa")


def test_every_family_attends_alike_with_padding_and_without(family):
    theirs = tiny_model(family).to(torch.bfloat16).eval()
    ours = settle(tiny_model(family).to(torch.bfloat16).eval(), CPU)

    for mask in (torch.ones_like(PADDED), PADDED):
        said, expected = (model(IDS, attention_mask=mask).logits for model in (ours, theirs))
        real = mask.bool()
        assert_close(said[real], expected[real], atol=0.1, rtol=0.05)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_gradients_through_plain_products_are_those_of_the_blocked_kernel(family):
    gradients = []
    for model in (tiny_model(family), settle(tiny_model(family), CPU)):
        model.eval()
        if gradients:
            model.set_attn_implementation(ATTENTION)  # in float32, to see more than bfloat16 shows
        logits = model(IDS, attention_mask=PADDED).logits
        logits[:, -3:].square().sum().backward()
        gradients.append([weight.grad for weight in model.parameters() if weight.grad is not None])

    assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-4)


def test_a_model_is_saved_without_the_name_of_our_attention(tmp_path):
    model = settle(AutoModelForCausalLM.from_pretrained(save_tiny_model(tmp_path), dtype=torch.bfloat16), CPU)
    model.save_pretrained(tmp_path / "again")

    assert ATTENTION not in (tmp_path / "again" / "config.json").read_text(encoding="utf-8")
    assert attention_of(AutoModelForCausalLM.from_pretrained(tmp_path / "again")) == "sdpa"
    assert AutoConfig.from_pretrained(tmp_path / "again").model_type in FAMILIES
