"""IA³: factors of many trials on one model. Each trial's are its own, ones change nothing, and PEFT means the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from ppo_tune.config.model import ModelConfig
from ppo_tune.models import Policy, load_adapter, save_adapter, save_merged
from ppo_tune.models.adapters import linear_layers
from ppo_tune.models.fast.linear import layer_shape
from ppo_tune.models.ia3 import Rescaling
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.loading import load_language_model
from ppo_tune.models.saving import ADAPTER_WEIGHTS
from ppo_tune.seeding import generator
from tests.conftest import make_sequences, stir, stirred_policy, tiny_model, tiny_policy
from tests.models.log_probabilities import BATCH, PEFT_WARNS, said, said_by

kinds = pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "t5", "bart"])
"""Conv1D and Linear, with and without biases, decoders and encoder–decoders."""


def vectors(policy: Policy) -> Rescaling:
    assert isinstance(policy.adapters, Rescaling)
    return policy.adapters


def test_inputs_are_scaled_where_a_layer_leads_back_to_the_models_width_and_outputs_elsewhere() -> None:
    """Llama's keys are narrower than the model, 8 of 16, and yet read what the model is wide."""
    adapters = vectors(tiny_policy("llama", adapter="ia3"))

    assert {name.rpartition(".")[2] for name in adapters.inward} == {"down_proj"}
    assert set(adapters.layers) == set(linear_layers(tiny_model("llama")))
    shapes = {name.removeprefix("model.layers.0."): shape for name, shape in adapters.shapes().items()}
    assert shapes["self_attn.k_proj.ia3"] == (8,)
    assert shapes["mlp.up_proj.ia3"] == shapes["mlp.down_proj.ia3"] == (24,)


@kinds
def test_a_policy_of_ones_is_exactly_the_reference(family: str) -> None:
    policy = tiny_policy(family, adapter="ia3", places=2)
    batch = make_sequences(*BATCH, places=2)

    with torch.no_grad():
        found = policy.evaluate(batch, temperature=1.0, places=[0, 1]).logprobs

    assert torch.equal(found, policy.reference(batch, temperature=1.0))
    assert policy.is_reference(0)
    stir(policy)
    assert not policy.is_reference(0)
    policy.reset(0, generator("again"))
    assert policy.is_reference(0)
    assert not policy.is_reference(1)


@kinds
def test_the_factors_are_the_same_as_scaled_rows_and_columns_of_the_weights(family: str) -> None:
    policy = stirred_policy(family, adapter="ia3", places=2)
    scaled = tiny_model(family).eval()
    for name, layer in linear_layers(scaled).items():
        factor = policy.rows[f"{name}.ia3"][1].detach()
        n_in, n_out = layer_shape(layer)
        weight: Any = layer.weight
        of_input = n_in > 16 and n_out == 16
        assert of_input == (name in vectors(policy).inward)
        as_out_in = weight.data if isinstance(layer, torch.nn.Linear) else weight.data.T
        as_out_in *= factor if of_input else factor[:, None]
        if layer.bias is not None and not of_input:
            layer.bias.data *= factor  # type: ignore[operator]

    assert_close(said(policy, [1])[0], said_by(scaled), atol=1e-5, rtol=0)
    assert (said(policy, [1])[0] - said_by(tiny_model(family))).abs().max() > 1e-2


@kinds
@pytest.mark.parametrize("places", [[2], [0, 2], [1, 2, 0]], ids=str)
def test_a_place_says_in_a_pack_what_it_says_alone_and_learns_for_itself(
    family: str, places: list[int]
) -> None:
    policy = stirred_policy(family, adapter="ia3", places=3)

    together = said(policy, places)
    together.sum().backward()
    gradients = policy.rows.grads.clone()

    idle = [place for place in range(3) if place not in places]
    assert not gradients[idle].any()
    for i, place in enumerate(places):
        policy.rows.grads.zero_()
        alone = said(policy, [place])
        alone.sum().backward()
        assert_close(together[i], alone[0], atol=1e-6, rtol=0)
        assert_close(gradients[place], policy.rows.grads[place], atol=1e-4, rtol=1e-4)
    read = [name for name in vectors(policy).shapes() if policy.rows[name].grad[places].any()]  # type: ignore[index]
    assert len(read) == len(vectors(policy).layers)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_gradient_of_a_factor_is_what_a_small_change_of_it_does(family: str) -> None:
    policy = stirred_policy(family, adapter="ia3")
    said(policy, [0]).sum().backward()
    gradients = policy.rows.grads[0].clone()
    way = torch.randn(gradients.shape, generator=generator("way"))

    with torch.no_grad():
        before = policy.rows.values[0].clone()
        ends = []
        for step in (1e-3, -1e-3):
            policy.rows.values[0] = before + step * way
            ends.append(said(policy, [0]).double().sum())

    assert float((ends[0] - ends[1]) / 2e-3) == pytest.approx(float(gradients @ way), rel=0.02)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_factor_between_two_numbers_of_bfloat16_is_itself(family: str) -> None:
    model: Any = tiny_model(family)
    policy = Policy(model.to(torch.bfloat16), tiny_policy(family).tokenizer, ModelConfig(adapter="ia3"))
    policy.reset(0, generator("fresh"))
    name = next(iter(vectors(policy).layers))
    layer, width = policy.adapters.layers[name], layer_shape(vectors(policy).layers[name])[0]  # type: ignore[union-attr]
    x = torch.randn(4096, 1, width, generator=generator("x")).to(torch.bfloat16)

    with torch.no_grad(), vectors(policy).at_work(1, None):
        before = layer(x).float()
        policy.rows[f"{name}.ia3"].fill_(1.013)  # bfloat16 has 1.0078 and 1.0156
        after = layer(x).float()

    assert float((after * before).sum() / before.square().sum()) == pytest.approx(1.013, abs=5e-4)


@kinds
def test_an_adapter_comes_back_bit_for_bit_in_any_place(family: str, tmp_path: Path) -> None:
    policy, other = (make(family, adapter="ia3", places=2) for make in (stirred_policy, tiny_policy))

    save_adapter(policy, 1, tmp_path)
    load_adapter(other, 0, tmp_path)

    assert torch.equal(other.rows.values[0], policy.rows.values[1])


@kinds
def test_a_merged_folder_says_what_the_place_says(family: str, tmp_path: Path) -> None:
    policy = stirred_policy(family, adapter="ia3", places=2)

    save_merged(policy, 1, tmp_path)

    assert_close(said_by(load_language_model(str(tmp_path))), said(policy, [1])[0], atol=1e-5, rtol=0)


@PEFT_WARNS
@kinds
def test_peft_reads_what_was_saved_as_it_was_meant(family: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    policy = stirred_policy(family, adapter="ia3", places=2)

    save_adapter(policy, 1, tmp_path)
    model = peft.PeftModel.from_pretrained(tiny_model(family), str(tmp_path))

    assert_close(said_by(model), said(policy, [1])[0], atol=1e-5, rtol=0)
    assert (said_by(tiny_model(family)) - said(policy, [1])[0]).abs().max() > 1e-2
    assert {key.rpartition(".")[2] for key in load_file(tmp_path / ADAPTER_WEIGHTS)} == {"ia3_l"}


def test_more_places_start_with_ones() -> None:
    policy = stirred_policy(adapter="ia3")

    policy.resize(3)

    assert all(policy.is_reference(place) for place in range(3))
    assert layout_of(policy.model.config).kind == "a causal language model"
