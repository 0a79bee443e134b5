"""DoRA: turned rows of many trials on one model. Each trial's are its own, and PEFT means the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.config.model import ModelConfig
from ppo_tune.models import Policy, load_adapter, save_adapter, save_merged
from ppo_tune.models.adapters import linear_layers
from ppo_tune.models.dora import Decomposed
from ppo_tune.models.fast.linear import weight_of
from ppo_tune.models.loading import load_language_model
from ppo_tune.models.lora import Bottleneck
from ppo_tune.seeding import generator
from tests.conftest import (
    make_sequences,
    prompts_for,
    stir,
    stirred_policy,
    tiny_model,
    tiny_policy,
    uniforms_for,
)
from tests.models.log_probabilities import BATCH, PEFT_WARNS, said, said_by

kinds = pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
"""Conv1D and Linear, with and without biases, decoders and encoder–decoders."""


def turned(policy: Policy) -> Decomposed:
    assert isinstance(policy.adapters, Decomposed)
    return policy.adapters


def gradients_of(policy: Policy, place: int) -> dict[str, Tensor]:
    """By PEFT's names."""
    kept = policy.rows.values.clone()
    with torch.no_grad():
        policy.rows.values.copy_(policy.rows.grads)
        found = turned(policy).to_peft(place)
        policy.rows.values.copy_(kept)
    return found


@kinds
def test_untrained_rows_are_exactly_the_references(family: str) -> None:
    policy = tiny_policy(family, adapter="dora", places=2)
    batch = make_sequences(*BATCH, places=2)

    with torch.no_grad():
        found = policy.evaluate(batch, temperature=1.0, places=[0, 1]).logprobs

    assert torch.equal(found, policy.reference(batch, temperature=1.0))
    assert policy.is_reference(0)
    name = next(iter(turned(policy).layers))
    with torch.no_grad():
        policy.rows[f"{name}.magnitude"][0, 0] += 1
    assert not policy.is_reference(0)
    stir(policy)
    policy.reset(0, generator("again"))
    assert policy.is_reference(0)
    assert not policy.is_reference(1)
    policy.resize(3)
    assert all(policy.is_reference(place) for place in range(3))


@kinds
def test_a_row_points_where_its_sum_does_and_is_as_long_as_its_magnitude(family: str) -> None:
    policy = stirred_policy(family, adapter="dora", places=2)
    changed = tiny_model(family).eval()
    with torch.no_grad():
        for name, layer in linear_layers(changed).items():
            a, b, m = (policy.rows[f"{name}.{part}"][1] for part in ("A", "B", "magnitude"))
            weight = weight_of(layer)
            whole = weight + 8 / 4 * (a @ b).T
            weight.copy_(m[:, None] * whole / whole.norm(dim=1, keepdim=True))

    assert_close(said(policy, [1])[0], said_by(changed), atol=1e-5, rtol=0)
    assert (said(policy, [1])[0] - said_by(tiny_model(family))).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize("places", [[2], [1, 2, 0]], ids=str)
def test_a_place_says_in_a_pack_what_it_says_alone_and_learns_for_itself(
    family: str, places: list[int]
) -> None:
    policy = stirred_policy(family, adapter="dora", places=3, adapters_vary=True)
    turned(policy).become(2, Bottleneck(4, 2.0))

    together = said(policy, places)
    together.sum().backward()
    gradients = policy.rows.grads.clone()

    assert not gradients[[place for place in range(3) if place not in places]].any()
    for i, place in enumerate(places):
        policy.rows.grads.zero_()
        alone = said(policy, [place])
        alone.sum().backward()
        assert_close(together[i], alone[0], atol=1e-6, rtol=0)
        assert_close(gradients[place], policy.rows.grads[place], atol=1e-4, rtol=1e-4)


@PEFT_WARNS
@kinds
def test_peft_reads_what_was_saved_and_learns_the_same_from_it(family: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    policy = stirred_policy(family, adapter="dora", places=2)

    save_adapter(policy, 1, tmp_path)
    model = peft.PeftModel.from_pretrained(tiny_model(family), str(tmp_path), is_trainable=True)
    found = said(policy, [0, 1])[1]
    found.sum().backward()

    assert_close(said_by(model), found, atol=1e-5, rtol=0)
    rows = [(torch.tensor([prompt]), torch.tensor([said])) for prompt, said in zip(*BATCH, strict=True)]
    _learn_by_peft(model.eval(), rows)
    theirs = {name.removeprefix("base_model.model."): w.grad for name, w in model.named_parameters()}
    for name, gradient in gradients_of(policy, 1).items():
        part = name.replace(".weight", ".default.weight")
        part = f"{name}.default.weight" if name.endswith("magnitude_vector") else part
        assert_close(theirs[part], gradient, atol=1e-4, rtol=1e-3)
        assert gradient.any()


def _learn_by_peft(model: Any, rows: list[tuple[Tensor, Tensor]]) -> None:
    """Differentiate the sum of all log-probabilities of what is said."""
    for prompt, response in rows:
        if model.config.is_encoder_decoder:
            start = torch.tensor([[model.config.decoder_start_token_id]])
            logits = model(input_ids=prompt, decoder_input_ids=torch.cat([start, response[:, :-1]], 1)).logits
        else:
            whole = torch.cat([prompt, response], 1)
            logits = model(input_ids=whole).logits[:, prompt.shape[1] - 1 : -1]
        picked = logits.log_softmax(-1).gather(-1, response[..., None])[..., 0]
        ends = (response == 0).long().cumsum(-1)  # what follows the first stop token is padding
        picked[(ends - (response == 0).long()) == 0].sum().backward()


@kinds
def test_it_comes_back_bit_for_bit_and_merged_it_says_the_same(family: str, tmp_path: Path) -> None:
    policy, other = (make(family, adapter="dora", places=2) for make in (stirred_policy, tiny_policy))

    save_adapter(policy, 1, tmp_path / "adapter")
    load_adapter(other, 0, tmp_path / "adapter")
    save_merged(policy, 1, tmp_path / "model")

    assert torch.equal(other.rows.values[0], policy.rows.values[1])
    merged = load_language_model(str(tmp_path / "model"))
    assert_close(said_by(merged), said(policy, [1])[0], atol=1e-5, rtol=0)


def test_a_row_of_zeros_says_its_bias_and_can_learn() -> None:
    model = tiny_model("gpt2")
    name, layer = next(iter(linear_layers(model).items()))
    with torch.no_grad():
        weight_of(layer)[3] = 0
    policy = Policy(model, tiny_policy().tokenizer, ModelConfig(adapter="dora", lora_rank=4))
    policy.reset(0, generator("fresh"))

    said(policy, [0]).sum().backward()

    assert policy.is_reference(0)
    assert policy.rows.grads.isfinite().all()
    assert policy.rows[f"{name}.B"].grad[0, :, 3].any()  # type: ignore[index]


def test_lengths_are_found_once_for_all_tokens_that_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = stirred_policy(adapter="dora")
    found: list[str] = []
    usual = Decomposed._lengths

    def note(self: Decomposed, name: str, layer: torch.nn.Module) -> Tensor:
        found.append(name)
        return usual(self, name, layer)

    monkeypatch.setattr(Decomposed, "_lengths", note)
    for _ in range(2):
        policy.generate(prompts_for([[2, 3], [4]]), uniforms_for(1, 2, 6), temperature=1.0, places=[0])
        stir(policy)

    assert sorted(found) == sorted([*turned(policy).layers] * 2)
