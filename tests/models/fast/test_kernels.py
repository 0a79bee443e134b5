# mypy: ignore-errors
"""Faster kernels: what they say is what the model's own would."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM

from ppo_tune.models.fast.kernels import ATTENTION, LONGEST_FLOAT32, TanhGELU, additive_mask, attend, settle
from tests.conftest import ENCODER_DECODERS, FAMILIES, save_tiny_model, tiny_model

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
def test_a_model_attends_by_plain_products_on_a_cpu(dtype):
    model = settle(tiny_model("llama").to(dtype), CPU)

    assert attention_of(model) == ATTENTION


def test_a_model_that_was_loaded_with_another_attention_keeps_it():
    model = tiny_model("llama")
    model.set_attn_implementation("eager")

    assert attention_of(settle(model, CPU)) == "eager"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_family_attends_alike_with_padding_and_without(family, dtype):
    theirs = tiny_model(family).to(dtype).eval()
    ours = settle(tiny_model(family).to(dtype).eval(), CPU)
    bounds = {"atol": 0.1, "rtol": 0.05} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-4}

    for mask in (torch.ones_like(PADDED), PADDED):
        said, expected = (model(IDS, attention_mask=mask).logits for model in (ours, theirs))
        real = mask.bool()
        assert_close(said[real], expected[real], **bounds)
        assert said.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_both_ends_attend_alike_and_learn_alike_with_a_bias_of_positions_or_without(family, dtype):
    bounds = {"atol": 0.2, "rtol": 0.05} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-4}
    mask, said, gradients = PADDED.flip(-1), [], []
    for settled in (False, True):
        model = tiny_model(family).to(dtype).eval()
        if settled:
            settle(model, CPU)
            assert attention_of(model) == ATTENTION
        for name, weight in model.named_parameters():  # one that learns is left to transformers
            weight.requires_grad_("relative_attention_bias" not in name)
        said.append(model(input_ids=IDS, attention_mask=mask, decoder_input_ids=IDS).logits)
        said[-1].float().square().sum().backward()
        gradients.append([w.grad for w in model.parameters() if w.grad is not None])

    assert_close(said[1], said[0], **bounds)
    if dtype == torch.float32:
        assert_close(gradients[1], gradients[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("mask", [torch.ones_like(PADDED), PADDED], ids=["whole", "padded"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_gradients_through_plain_products_are_those_of_the_blocked_kernel(family, mask):
    gradients = []
    for settled in (False, True):
        model = tiny_model(family).eval()
        if settled:
            settle(model, CPU)
        logits = model(IDS, attention_mask=mask).logits
        logits[:, -3:].square().sum().backward()
        gradients.append([weight.grad for weight in model.parameters() if weight.grad is not None])

    assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-4)


class Layer(nn.Module):
    """What transformers' attention asks a layer."""

    num_key_value_groups = 2
    is_causal = True


def states(n_queries: int, n_keys: int, **kind) -> tuple[torch.Tensor, ...]:
    """Queries of four heads, keys and values of two."""
    torch.manual_seed(0)
    sizes = ((3, 4, n_queries, 8), (3, 2, n_keys, 8), (3, 2, n_keys, 8))
    return tuple(torch.randn(size, **kind) for size in sizes)


@pytest.mark.parametrize(("n_queries", "n_keys"), [(1, 1), (1, 7), (5, 5), (3, 9)])
def test_without_a_mask_a_query_sees_the_keys_up_to_itself(n_queries, n_keys):
    query, key, value = states(n_queries, n_keys, dtype=torch.float64, requires_grad=True)
    sees = torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries)
    expected = scaled_dot_product_attention(
        query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), attn_mask=sees
    ).transpose(1, 2)

    said, _ = attend(Layer(), query, key, value, None)

    assert_close(said, expected)
    probe = torch.randn_like(said)
    theirs, ours = (torch.autograd.grad((x * probe).sum(), (query, key, value)) for x in (expected, said))
    assert_close(ours, theirs)


@pytest.mark.parametrize("told", [{"is_causal": False}, {}], ids=["by keyword", "by the layer"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_a_mask_an_encoders_query_sees_every_key(dtype, told):
    query, key, value = states(5, 5, dtype=dtype)
    layer = Layer()
    layer.is_causal = bool(told)
    expected = scaled_dot_product_attention(
        query.double(), key.double().repeat_interleave(2, 1), value.double().repeat_interleave(2, 1)
    ).transpose(1, 2)

    with torch.no_grad():
        said, _ = attend(layer, query, key, value, None, **told)

    assert_close(said.double(), expected, atol=2e-2 if dtype == torch.bfloat16 else 1e-5, rtol=0)


def test_a_response_that_sees_nothing_is_finite_in_either_format():
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    mask = additive_mask(
        batch_size=1, q_length=3, kv_length=3, attention_mask=nothing, dtype=torch.float32, device="cpu"
    )

    assert mask.isfinite().all() and mask.bfloat16().isfinite().all()
    assert mask.softmax(-1).isfinite().all()


@pytest.mark.parametrize(("keys", "by_products"), [(LONGEST_FLOAT32, True), (LONGEST_FLOAT32 + 1, False)])
def test_long_texts_are_left_to_the_blocked_kernel(keys, by_products, monkeypatch):
    blocked = []
    monkeypatch.setattr(
        "ppo_tune.models.fast.kernels.sdpa_attention_forward",
        lambda *_, **__: blocked.append(1) or (None, None),
    )

    attend(Layer(), *states(keys, keys, requires_grad=True), None)

    assert not blocked if by_products else blocked


def test_a_model_is_saved_without_the_name_of_our_attention(tmp_path):
    model = settle(AutoModelForCausalLM.from_pretrained(save_tiny_model(tmp_path), dtype=torch.bfloat16), CPU)
    model.save_pretrained(tmp_path / "again")

    assert ATTENTION not in (tmp_path / "again" / "config.json").read_text(encoding="utf-8")
    assert attention_of(AutoModelForCausalLM.from_pretrained(tmp_path / "again")) == "sdpa"
    assert AutoConfig.from_pretrained(tmp_path / "again").model_type in FAMILIES
