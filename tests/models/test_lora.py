# mypy: ignore-errors
"""Adapters of many trials on one model: each trial's are its own, and switched off they are not there."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers.pytorch_utils import Conv1D

from ppo_tune.errors import ModelError
from ppo_tune.models import save_merged
from ppo_tune.models.adapters import linear_layers, output_head
from ppo_tune.models.fast.linear import layer_shape
from ppo_tune.models.loading import load_language_model
from ppo_tune.models.lora import Bottleneck
from ppo_tune.seeding import generator
from tests.conftest import FAMILIES, make_sequences, stirred_policy, tiny_model, tiny_policy

BATCH = ([[5], [2, 3, 4, 5, 6], [7, 8, 9]], [[4, 0], [3, 1, 2, 9], [6, 6, 0]])
LAYERS = {
    "gpt2": ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
    "llama": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
              "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
}  # fmt: skip
PREFIX = {"gpt2": "transformer.h", "llama": "model.layers"}
KIND = {"gpt2": Conv1D, "llama": nn.Linear}
two_kinds = pytest.mark.parametrize("family", ["gpt2", "llama"])  # Conv1D and Linear


@two_kinds
def test_every_linear_layer_but_the_language_head_gets_an_adapter(family):
    expected = {f"{PREFIX[family]}.{block}.{layer}" for block in (0, 1) for layer in LAYERS[family]}

    layers = linear_layers(tiny_model(family))

    assert set(layers) == expected
    assert all(isinstance(layer, KIND[family]) for layer in layers.values())


def test_the_language_head_gets_no_adapter_even_when_it_is_not_tied():
    model = tiny_model("llama", tie_word_embeddings=False)

    assert all(layer is not output_head(model) for layer in linear_layers(model).values())


@two_kinds
def test_an_adapter_is_the_same_as_adding_its_product_to_the_weight(family):
    policy = stirred_policy(family, places=2)
    batch = make_sequences(*BATCH)
    merged = tiny_model(family).eval()
    for name, layer in linear_layers(merged).items():
        a, b = policy.rows[f"{name}.A"][1], policy.rows[f"{name}.B"][1]
        delta = 8.0 / 4 * (a @ b)  # alpha / rank
        layer.weight.data += delta.reshape(layer.weight.shape) if family == "gpt2" else delta.T
    ids = torch.tensor([[7, 8, 9, 6, 6, 0]])

    logprobs = policy.evaluate(batch, temperature=1.0, places=[1]).logprobs[0, 2, :3]

    expected = merged(ids).logits[0, 2:-1].log_softmax(-1)[[0, 1, 2], [6, 6, 0]]
    assert_close(logprobs, expected, atol=1e-5, rtol=0)


@two_kinds
def test_delta_is_the_scaled_product_of_the_two_matrices(family):
    policy = stirred_policy(family, places=2)
    name = f"{PREFIX[family]}.1.{LAYERS[family][-1]}"
    a, b = policy.rows[f"{name}.A"][1].detach(), policy.rows[f"{name}.B"][1].detach()

    delta = policy.adapters.delta(name, 1)

    assert_close(delta, 2.0 * torch.einsum("ir,ro->io", a, b))
    assert delta.shape == layer_shape(policy.adapters.layers[name])


@pytest.mark.parametrize(
    ("rank", "alpha", "plain", "stabilized"), [(4, 8.0, 2.0, 4.0), (64, 16.0, 0.25, 2.0)]
)
def test_a_branch_is_scaled_by_alpha_over_the_rank_or_over_its_root(rank, alpha, plain, stabilized):
    assert Bottleneck(rank, alpha).scale == plain
    assert Bottleneck(rank, alpha, stabilized=True).scale == stabilized


@two_kinds
def test_a_rank_stabilized_adapter_says_what_a_plain_one_of_alpha_times_the_root_of_the_rank_says(family):
    stabilized = stirred_policy(family, places=2, adapter="rslora")
    plain = stirred_policy(family, places=2, adapters_vary=True)
    for place in (0, 1):
        plain.adapters.become(place, Bottleneck(4, 16.0))
    batch = make_sequences(*BATCH, places=2)

    said, expected = (
        policy.evaluate(batch, temperature=1.0, places=[0, 1]) for policy in (stabilized, plain)
    )

    assert_close(said.logprobs, expected.logprobs, atol=1e-6, rtol=0)
    assert (said.logprobs - stirred_policy(family, places=2).evaluate(batch, temperature=1.0, places=[0, 1]).logprobs
            ).abs().max() > 1e-2  # fmt: skip


@two_kinds
@pytest.mark.parametrize("changed", [0, 1, 2])
def test_the_adapters_of_a_place_touch_that_place_only(family, changed):
    policy = stirred_policy(family, places=3)
    batch = make_sequences(*BATCH, places=3)
    others = [place for place in range(3) if place != changed]

    before = policy.evaluate(batch, temperature=1.0, places=[0, 1, 2])
    policy.rows.values[changed].add_(0.1)
    after = policy.evaluate(batch, temperature=1.0, places=[0, 1, 2])

    assert torch.equal(before.logprobs[others], after.logprobs[others])
    assert torch.equal(before.values[others], after.values[others])
    assert not torch.isclose(before.logprobs[changed], after.logprobs[changed]).any()
    assert not torch.isclose(before.values[changed], after.values[changed]).any()


@two_kinds
def test_the_loss_of_a_place_has_a_gradient_in_that_place_only(family):
    policy = stirred_policy(family, places=3)
    seen = policy.evaluate(make_sequences(*BATCH, places=3), temperature=1.0, places=[0, 1, 2])

    (seen.logprobs[1].sum() + seen.values[1].sum()).backward()

    assert policy.rows.grads[1].abs().gt(0).float().mean() > 0.99
    assert not policy.rows.grads[[0, 2]].any()


@pytest.mark.parametrize("places", [[2], [0, 2], [2, 0], [1, 2, 0], [2, 1, 0]], ids=str)
@two_kinds
def test_any_places_in_any_order_say_what_they_say_in_the_whole_pack(family, places):
    policy = stirred_policy(family, places=3)
    everyone = policy.evaluate(make_sequences(*BATCH, places=3), temperature=1.0, places=[0, 1, 2])

    some = policy.evaluate(make_sequences(*BATCH, places=len(places)), temperature=1.0, places=places)

    assert_close(some.logprobs, everyone.logprobs[places], atol=1e-6, rtol=0)
    assert_close(some.values, everyone.values[places], atol=1e-6, rtol=0)


@pytest.mark.parametrize("places", [[2], [2, 0]], ids=str)
def test_gradients_of_some_places_go_to_these_places(places):
    policy = stirred_policy(places=3)
    idle = [place for place in range(3) if place not in places]

    seen = policy.evaluate(make_sequences(*BATCH, places=len(places)), temperature=1.0, places=places)
    seen.logprobs.sum().backward()

    assert policy.rows.grads[places].any(-1).all()
    assert not policy.rows.grads[idle].any()


def test_after_its_work_an_adapter_is_switched_off():
    policy = stirred_policy()
    ids = torch.tensor([[2, 3, 4]])

    policy.evaluate(make_sequences(*BATCH), temperature=1.0, places=[0])

    assert torch.equal(policy.model(ids).logits, tiny_model().eval()(ids).logits)


def test_an_adapter_is_switched_off_even_when_its_work_fails():
    policy = stirred_policy()
    ids = torch.tensor([[2, 3, 4]])

    with pytest.raises(IndexError):
        policy.evaluate(make_sequences([[99]], [[2, 0]]), temperature=1.0, places=[0])

    assert torch.equal(policy.model(ids).logits, tiny_model().eval()(ids).logits)


def test_a_place_that_is_reset_is_the_reference_with_fresh_adapters_and_no_gradient():
    policy = stirred_policy(places=2)
    neighbour = policy.rows.values[1].clone()
    policy.rows.grads.fill_(1.0)

    policy.reset(0, generator("fresh"))

    name = "transformer.h.0.mlp.c_proj"  # reads 64 numbers
    bound = 1 / math.sqrt(64)
    assert policy.rows[f"{name}.A"][0].abs().max() <= bound
    assert policy.rows[f"{name}.A"][0].abs().max() > 0.9 * bound
    assert not policy.rows[f"{name}.B"][0].any()
    assert not policy.rows["value_head.weight"][0].any()
    assert not policy.rows.grads[0].any()
    assert torch.equal(policy.rows.values[1], neighbour)
    assert policy.rows.grads[1].eq(1.0).all()


def test_a_place_starts_from_its_own_random_numbers():
    policy = tiny_policy(places=3)

    for place, seed in enumerate((7, 8, 7)):
        policy.reset(place, generator(seed))

    assert torch.equal(policy.rows.values[0], policy.rows.values[2])
    assert not torch.equal(policy.rows.values[0], policy.rows.values[1])


def test_the_frozen_model_is_the_one_that_was_given():
    model = tiny_model()
    before = copy.deepcopy(model.state_dict())

    policy = stirred_policy()
    policy.evaluate(make_sequences(*BATCH), temperature=1.0, places=[0]).logprobs.sum().backward()

    assert all(torch.equal(policy.model.state_dict()[name], tensor) for name, tensor in before.items())
    assert not any(parameter.requires_grad for parameter in policy.model.parameters())


FALCON = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.2}
MIXTRAL = {**FAMILIES["llama"], "num_local_experts": 4}


def test_layers_of_a_class_of_their_own_are_adapted_and_merged(tmp_path):
    policy = stirred_policy("falcon", **FALCON)
    batch = make_sequences(*BATCH)
    save_merged(policy, 0, tmp_path)

    logprobs = policy.evaluate(batch, temperature=1.0, places=[0]).logprobs[0, 2, :3]

    assert {name.split(".h.")[1] for name in policy.adapters.layers} == {
        f"{block}.{layer}"
        for block in (0, 1)
        for layer in (
            "self_attention.query_key_value",
            "self_attention.dense",
            "mlp.dense_h_to_4h",
            "mlp.dense_4h_to_h",
        )
    }
    merged = load_language_model(str(tmp_path)).eval()
    expected = (
        merged(torch.tensor([[7, 8, 9, 6, 6, 0]])).logits[0, 2:-1].log_softmax(-1)[[0, 1, 2], [6, 6, 0]]
    )
    assert_close(logprobs, expected, atol=1e-5, rtol=0)
    assert (logprobs - policy.reference(batch, temperature=1.0)[0, 2, :3]).abs().max() > 1e-2


def test_the_share_of_the_weights_that_is_adapted():
    """Of each layer, attention has 2·16·16 + 2·16·8 weights, and 4 experts 3·16·24 each, beside router and norms."""
    attention, experts, router, norms = 2 * 16 * 16 + 2 * 16 * 8, 4 * 3 * 16 * 24, 4 * 16, 2 * 16
    expected = 2 * attention / (2 * (attention + experts + router + norms) + 16)

    policy = tiny_policy("mixtral", **MIXTRAL)

    assert policy.adapters.share == pytest.approx(expected)
    assert policy.remark == (
        "model.lora_rank: the adapters are on linear layers, which hold 14 % of this model's weights (embeddings and "
        "output layer aside); the others, as a mixture's experts, stay as they are; lora_rank: null trains all"
    )
    assert tiny_policy("mixtral", **MIXTRAL, lora_rank=None).remark is None


@two_kinds
def test_where_nearly_all_is_adapted_nothing_is_said(family):
    policy = tiny_policy(family)

    assert policy.adapters.share > 0.95
    assert policy.remark is None


def test_a_rank_beyond_every_layers_width_is_said():
    told = tiny_policy("gpt2", n_embd=16, lora_rank=17).remark

    assert told == (
        "model.lora_rank: 17 is beyond the rank that the weights of any linear layer of this model can have, 16: the "
        "rest takes memory and time for nothing; take 16 or less, 16 is usual"
    )
    assert tiny_policy("gpt2", n_embd=16, lora_rank=16).remark is None


def test_a_model_without_a_layer_to_adapt_is_refused(monkeypatch):
    monkeypatch.setattr("ppo_tune.models.adapters.is_linear", lambda _: False)

    with pytest.raises(ModelError, match=r"^model\.lora_rank: .* has none .*lora_rank: null$"):
        tiny_policy()


def test_a_model_without_an_output_layer_is_refused():
    model = tiny_model()
    model.get_output_embeddings = lambda: None

    with pytest.raises(ModelError, match="GPT2LMHeadModel has no linear layer that makes logits"):
        output_head(model)


def test_a_model_may_add_in_place_to_what_an_adapted_layer_says():
    policy = stirred_policy("llama", places=2)
    layer = policy.adapters.layers["model.layers.0.self_attn.q_proj"]
    x = torch.randn(2, 3, layer_shape(layer)[0], generator=generator("x"))

    with policy.adapters.at_work(2, None):
        plain = layer(x)
        added = layer(x)
        added += 1.0
    added.sum().backward()

    assert torch.equal(added, plain + 1.0)
    assert policy.rows["model.layers.0.self_attn.q_proj.B"].grad.any()
