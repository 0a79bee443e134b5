# mypy: ignore-errors
"""Linear layers: whichever library multiplies, they say what torch's own layers say."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close
from transformers.pytorch_utils import Conv1D

from ppo_tune.models.adapters import linear_layers
from ppo_tune.models.fast import linear
from ppo_tune.models.fast.linear import is_linear, layer_shape, multiply, product, quicken, weight_of
from tests.conftest import make_sequences, stirred_policy, tiny_model

onednn = pytest.mark.skipif(
    not linear.KNOWS_BETTER, reason="a processor without AVX-512: MKL does every product"
)
WIDE = (96, 160)  # in and out; 80 rows of them are more than SMALL


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product is one for oneDNN, however small."""
    monkeypatch.setattr(linear, "SMALL", 0)


def layers(bias: bool = True) -> list[nn.Module]:
    torch.manual_seed(0)
    n_in, n_out = WIDE
    return [nn.Linear(n_in, n_out, bias=bias), Conv1D(n_out, n_in)]


def count_onednn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one entry per product that oneDNN does."""
    calls, choose = [], linear._is_for_onednn

    def chosen(x, weight):
        answer = choose(x, weight)
        calls.extend([1] * answer)
        return answer

    monkeypatch.setattr(linear, "_is_for_onednn", chosen)
    return calls


@pytest.mark.parametrize("layer", layers(), ids=["Linear", "Conv1D"])
def test_a_layer_has_a_shape_and_a_weight_of_outputs_by_inputs(layer):
    assert layer_shape(layer) == WIDE
    x = torch.randn(3, WIDE[0])
    assert_close(functional.linear(x, weight_of(layer), layer.bias), layer(x))


@pytest.mark.parametrize("shape", [(1, 96), (80, 96), (4, 20, 96), (2, 3, 40, 96)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_a_product_is_the_plain_one_for_rows_of_any_shape(shape, with_bias):
    x, weight = torch.randn(shape), torch.randn(160, 96)
    bias = torch.randn(160) if with_bias else None

    said = product(x, weight, bias)

    assert said.shape == (*shape[:-1], 160)
    assert_close(said, functional.linear(x, weight, bias), atol=1e-4, rtol=1e-5)


@onednn
def test_only_large_float32_products_are_for_onednn(monkeypatch):
    calls = count_onednn(monkeypatch)
    weight = torch.randn(1024, 1024)

    product(torch.randn(1, 1023), weight[:, :1023])
    product(torch.randn(2, 1024).bfloat16(), weight.bfloat16())
    product(torch.randn(2, 1024).double(), weight.double())
    assert calls == []

    product(torch.randn(1, 1024), weight)
    assert calls == [1]


@pytest.mark.parametrize("which", [0, 1], ids=["Linear", "Conv1D"])
@pytest.mark.parametrize("shape", [(80, 96), (4, 20, 96)])
def test_a_quick_layer_has_the_gradients_of_the_plain_one(which, shape, monkeypatch):
    calls = count_onednn(monkeypatch)
    plain, quick = layers()[which], layers()[which]
    quicken(quick)
    ours, theirs = (torch.linspace(-1, 1, 80 * 96).view(shape).requires_grad_() for _ in range(2))

    for layer, x in ((quick, ours), (plain, theirs)):
        (layer(x).sin() * torch.arange(160)).sum().backward()

    assert_close(quick(ours), plain(theirs), atol=1e-4, rtol=1e-5)
    assert_close(ours.grad, theirs.grad, atol=1e-2, rtol=1e-4)
    assert_close(quick.weight.grad, plain.weight.grad, atol=1e-2, rtol=1e-4)
    assert_close(quick.bias.grad, plain.bias.grad, atol=1e-2, rtol=1e-4)
    assert bool(calls) == linear.KNOWS_BETTER


def test_gradients_that_nobody_wants_are_not_made(always):
    layer = layers()[0].requires_grad_(False)
    x = torch.randn(80, 96, requires_grad=True)

    multiply(layer, x).sum().backward()

    assert x.grad is not None
    assert layer.weight.grad is None and layer.bias.grad is None
    frozen = multiply(layer, x.detach())
    assert not frozen.requires_grad


@pytest.mark.parametrize("which", [0, 1], ids=["Linear", "Conv1D"])
def test_a_quick_layer_heeds_autocast(which):
    plain, quick = layers()[which], layers()[which]
    quicken(quick)
    x = torch.randn(80, 96)

    with torch.autocast("cpu", torch.bfloat16):
        said, expected = quick(x), plain(x)

    assert said.dtype == torch.bfloat16
    assert_close(said, expected)


def test_a_quickened_model_is_what_it_was_but_for_its_products(family, always):
    plain, quick = tiny_model(family).eval(), tiny_model(family).eval()
    quicken(quick)
    ids = torch.arange(2, 14).view(2, 6)

    assert_close(quick(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)
    assert quick.state_dict().keys() == plain.state_dict().keys()
    assert set(linear_layers(quick)) == set(linear_layers(plain))
    names = {name for name, module in plain.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    assert names == {name for name, module in quick.named_modules() if isinstance(module, nn.Linear | Conv1D)}


def test_a_copy_of_a_quickened_model_has_weights_of_its_own(always):
    model = tiny_model("gpt2").eval()
    quicken(model)
    ids = torch.arange(2, 8)[None]
    other = copy.deepcopy(model)
    before = other(ids).logits

    for weight in model.parameters():
        weight.data.zero_()

    assert torch.equal(other(ids).logits, before)
    assert not torch.equal(model(ids).logits, before)


class Doubled(nn.Linear):
    """A layer that does more than multiply."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_a_layer_with_a_forward_of_its_own_is_left_alone():
    layer = Doubled(3, 5)
    model = nn.Sequential(layer, nn.Linear(5, 2), nn.LayerNorm(2))

    quicken(model)

    assert [is_linear(module) for module in model] == [False, True, False]
    assert type(layer) is Doubled


class Spelled(nn.Linear):
    """The product in other words, as some families write it."""

    def forward(self, x):
        said = x @ self.weight.T
        return said if self.bias is None else said + self.bias


class Bounded(nn.Linear):
    """A product of numbers that are not too large."""

    def forward(self, x):
        return super().forward(x.clamp(-20, 20))


class Pair(nn.Linear):
    """The product with something beside it."""

    def forward(self, x):
        return super().forward(x), x


class Two(nn.Linear):
    """Wants two inputs."""

    def forward(self, x, y):
        return super().forward(x + y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_known_by_what_it_says_and_not_by_its_name(bias, dtype):
    model = nn.Sequential(Spelled(40, 5, bias=bias), Spelled(3, 70, bias=bias)).to(dtype)
    x = torch.randn(7, 40).to(dtype)
    expected = functional.linear(x, model[0].weight, model[0].bias)

    assert all(is_linear(layer) for layer in model)
    quicken(model)
    assert not any(type(layer) is Spelled for layer in model)
    assert_close(model[0](x), expected)


@pytest.mark.parametrize("kind", [Doubled, Bounded, Pair, Two])
def test_a_layer_that_says_something_else_is_none_of_ours(kind):
    assert not is_linear(kind(6, 5))


def test_a_layer_whose_weight_is_no_number_to_multiply_by_is_none_of_ours():
    layer = Spelled(6, 5)
    layer.weight = nn.Parameter(torch.zeros(5, 6, dtype=torch.int8), requires_grad=False)

    assert not is_linear(layer)


def test_asking_whether_a_layer_is_linear_draws_no_random_number():
    torch.manual_seed(3)
    expected = torch.rand(2)
    layer = Spelled(6, 5)
    torch.manual_seed(3)

    is_linear(layer)

    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_adapters_learn_alike_by_either_library(family, monkeypatch):
    gradients = []
    for small in (2**62, 0):
        monkeypatch.setattr(linear, "SMALL", small)
        policy = stirred_policy(family, places=2)
        batch = make_sequences([[5], [2, 3, 4, 5, 6], [7, 8, 9]], [[4, 0], [3, 1, 2, 9], [6, 6, 0]])
        seen = policy.evaluate(batch[[0, 0]], temperature=1.0, places=[0, 1])
        mask = batch[[0, 0]].response_mask
        loss = torch.where(mask, seen.logprobs.sin() + seen.values, 0.0).sum()
        gradients.append(torch.autograd.grad(loss, policy.trainable))

    assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-4)
