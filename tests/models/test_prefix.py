"""Prefixes: where they can be, how they start, and their folders, ours and PEFT's; `families` has the other laws."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.config.model import ModelConfig
from ppo_tune.errors import ModelError
from ppo_tune.files import read_json, write_json
from ppo_tune.models import Policy, load_policy, save_adapter
from ppo_tune.models.adapter_folders import find_adapter
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.loading import load_language_model
from ppo_tune.models.prefix import BLOCK, starts_beside
from ppo_tune.models.read_back import logprobs_of
from ppo_tune.models.saving import ADAPTER_WEIGHTS
from tests.conftest import (
    adapters_of,
    make_sequences,
    save_tiny_model,
    stir,
    stirred_policy,
    tiny_model,
    tiny_tokenizer,
)
from tests.models.log_probabilities import PEFT_WARNS

CPU = torch.device("cpu")


def said_of(policy: Policy, place: int = 0) -> Tensor:
    """Log-probabilities of two sequences by a policy, (1, 2, 3)."""
    with torch.no_grad():
        batch = make_sequences([[5, 6], [2, 3, 4]], [[7, 8, 9], [3, 1, 0]])
        return policy.evaluate(batch, temperature=1.0, places=[place]).logprobs


def adapted(name: Path, base: Path | None = None, **config: Any) -> Policy:
    adapter = find_adapter(str(name), None if base is None else str(base))
    assert adapter is not None
    return adapter.load_policy(ModelConfig(name=adapter.base, **config), CPU)


def save_prefix(folder: Path, family: str) -> None:
    base = save_tiny_model(folder / "base", family)
    config = ModelConfig(name=str(base), adapter="prefix", prefix_length=3)
    save_adapter(load_policy(config, device=CPU), 0, folder / "adapter")


def test_places_start_alike_and_again_as_they_started() -> None:
    policy = stirred_policy("llama", adapter="prefix", places=2)
    assert not torch.equal(policy.rows.values[0], policy.rows.values[1])

    policy.reset(0, torch.Generator())
    fresh = policy.rows.values[0].clone()
    policy.resize(3)

    assert all(torch.equal(policy.rows.values[place], fresh) for place in range(3))
    assert not any(policy.is_reference(place) for place in range(3))


@pytest.mark.parametrize(
    ("family", "room", "left"),
    [("gpt2", 24, 21), ("llama", 32, 29), ("mistral", 12, 9), ("bart", 23, 20)],
)
def test_what_a_prefix_takes_of_the_context_is_not_there_for_a_text(
    family: str, room: int, left: int
) -> None:
    sizes: dict[str, Any] = {
        "gpt2": {"n_positions": room}, "llama": {"max_position_embeddings": room},
        "mistral": {"max_position_embeddings": 32, "sliding_window": room},
        "bart": {"max_position_embeddings": room},
    }[family]  # fmt: skip
    model = tiny_model("llama" if family == "mistral" else family, **sizes)
    policy = Policy(model, tiny_tokenizer(), adapters_of("prefix", prefix_length=3))
    assert policy.layout.room_for_responses == left


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_prefix_of_ours_is_put_before_its_base_to_the_bit(family: str, dtype: str, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", family)
    settings = {"name": str(base), "dtype": dtype, "adapter": "prefix", "prefix_length": 3}
    policy = stir(load_policy(ModelConfig.model_validate(settings), device=CPU))
    save_adapter(policy, 0, tmp_path / "adapter")

    found = adapted(tmp_path / "adapter", dtype=dtype)

    assert torch.equal(said_of(found), said_of(policy))
    assert (found.adapters is not None, found.dtype) == (True, policy.dtype)
    assert not torch.allclose(said_of(found), said_of(load_policy(ModelConfig(name=str(base)), device=CPU)))


@PEFT_WARNS
@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
def test_a_prefix_of_peft_says_what_peft_says(family: str, projected: bool, tmp_path: Path) -> None:
    """Projected, its numbers come from a network, which PEFT does not save."""
    peft = pytest.importorskip("peft")
    base = save_tiny_model(tmp_path / "base", family)
    model: Any = load_language_model(str(base), torch.float32)
    kind = layout_of(model.config)
    config = peft.PrefixTuningConfig(
        task_type=kind.task_type, num_virtual_tokens=3, prefix_projection=projected, encoder_hidden_size=5
    )
    theirs = peft.get_peft_model(model, config).eval()
    theirs.save_pretrained(tmp_path / "adapter")

    found = adapted(tmp_path / "adapter")

    rows = [([5, 6], [7, 8, 9]), ([2, 3, 4], [3, 1, 0])]
    again = peft.PeftModel.from_pretrained(
        load_language_model(str(base), torch.float32), str(tmp_path / "adapter")
    )
    expected = torch.stack(logprobs_of(again.eval(), rows))
    assert_close(said_of(found)[0], expected, atol=1e-5, rtol=1e-5)
    plain = torch.stack(logprobs_of(load_language_model(str(base), torch.float32), rows))
    assert (expected - plain).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize(
    ("edit", "facts"),
    [
        (lambda tensor: tensor[:, :-8], {}),
        (lambda tensor: tensor[0], {}),
        (lambda tensor: tensor, {"num_layers": None}),
        (lambda tensor: tensor, {"token_dim": "16"}),
    ],
    ids=["narrower", "flat", "no-layers", "no-number"],
)
def test_a_prefix_of_another_shape_than_it_says_is_refused(
    family: str, edit: Callable[[Tensor], Tensor], facts: dict[str, Any], tmp_path: Path
) -> None:
    save_prefix(tmp_path, family)
    path = tmp_path / "adapter" / "adapter_config.json"
    write_json(path, {**read_json(path), **facts})
    save_file({BLOCK: edit(load_file(tmp_path / "adapter" / ADAPTER_WEIGHTS)[BLOCK]).contiguous()},
              tmp_path / "adapter" / ADAPTER_WEIGHTS)  # fmt: skip

    with pytest.raises(ModelError) as refused:
        find_adapter(str(tmp_path / "adapter"))

    assert str(refused.value) == (
        f"adapter '{tmp_path / 'adapter'}' holds no {BLOCK!r} alone of the shape that its adapter_config.json says; "
        "save it again by peft"
    )


@pytest.mark.parametrize(
    "changes", [{"n_layer": 3}, {"n_embd": 24}, {"n_layer": 4}, {"n_layer": 1, "n_embd": 32}]
)
def test_a_prefix_of_another_model_is_refused(changes: dict[str, int], tmp_path: Path) -> None:
    save_prefix(tmp_path, "gpt2")
    other = save_tiny_model(tmp_path / "other", "gpt2", **changes)

    with pytest.raises(ModelError) as refused:
        adapted(tmp_path / "adapter", other)

    assert str(refused.value) == (
        f"adapter '{tmp_path / 'adapter'}' does not fit its base, model folder '{other}', whose layers or keys are "
        "others; name the model that it was made of by `base`"
    )


@pytest.mark.parametrize("length", [32, 40])
def test_a_prefix_that_is_as_long_as_the_context_is_refused(length: int) -> None:
    model = tiny_model("llama", max_position_embeddings=32)

    with pytest.raises(ModelError) as refused:
        Policy(model, tiny_tokenizer(), adapters_of("prefix", prefix_length=length))

    name = "model '' (LlamaForCausalLM)"
    assert str(refused.value) == (
        f"model.prefix_length: must be less than the 32 tokens that {name} can read, but got {length}; "
        "lower it"
    )


def test_a_prefix_that_leaves_a_prompt_no_room_beside_a_response_is_told_as_such() -> None:
    model = tiny_model("llama", max_position_embeddings=32)
    layout = Policy(model, tiny_tokenizer(), adapters_of("prefix", prefix_length=20)).layout

    assert layout.room_for_prompts(11) == 1
    with pytest.raises(ModelError) as refused:
        layout.room_for_prompts(12)

    assert str(refused.value) == (
        "model.prefix_length: 20 tokens of a prefix and 12 max_new_tokens leave a prompt no room in the 32 tokens that "
        "model '' (LlamaForCausalLM) can read; lower either"
    )


def test_how_far_from_its_reference_a_prefix_starts_is_told_and_of_others_nothing() -> None:
    assert starts_beside("prefix", 4.23) == (
        "model.adapter: prefix: a trial starts 4.2 nats per response from the reference, before it has learned "
        "anything, and what is called untrained is where it starts; a shorter prefix_length starts nearer"
    )
    assert starts_beside("lora", 0.0) is None
