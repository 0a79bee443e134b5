# mypy: ignore-errors
"""What was saved is loaded again and compared: whatever says something else is noticed, and only that."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ppo_tune.config.model import ModelConfig
from ppo_tune.errors import ModelError
from ppo_tune.models import Policy, load_policy, read_back, save_adapter, save_merged
from ppo_tune.models.read_back import Said, adapter_note, logprobs_of, model_note, say
from ppo_tune.models.text import pad_left
from tests.conftest import (
    FAMILIES,
    save_tiny_model,
    stir,
    stirred_policy,
    tiny_model,
    tiny_policy,
    uniforms_for,
)

PROMPTS = pad_left([[2, 3, 4, 5, 6], [7], [8, 9]])
FALCON_H1 = {
    **FAMILIES["llama"], "mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_n_groups": 1,
    "mamba_d_state": 4, "mamba_chunk_size": 8,
}  # fmt: skip


def hear(policy: Policy, place: int = 0) -> Said:
    return say(policy, place, PROMPTS, uniforms_for(1, 3, 6)[0])


def policy_of(folder: Path, family: str = "llama", *, dtype: str = "float32", **changes) -> Policy:
    """A trained policy whose base lies in a folder."""
    save_tiny_model(folder, family, **changes)
    return stir(
        load_policy(ModelConfig(name=str(folder), lora_rank=4, dtype=dtype), device=torch.device("cpu"))
    )


def change_weights(folder: Path, change) -> None:
    path = next(folder.glob("*model.safetensors"))
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def test_what_is_said_is_what_transformers_says_of_each_response_alone(family):
    policy = stirred_policy(family)
    policy.adapters.rows.values.zero_()  # an untrained policy is its model

    said = hear(policy)

    theirs = logprobs_of(tiny_model(family).eval(), said.rows)
    assert [prompt for prompt, _ in said.rows] == [[2, 3, 4, 5, 6], [7], [8, 9]]
    torch.testing.assert_close(torch.cat(theirs), torch.cat(said.logprobs), atol=1e-5, rtol=0)


def test_the_distance_is_the_mean_difference_of_log_probabilities():
    model = tiny_model().eval()
    rows = [([5, 6], [3, 0]), ([7], [4])]
    off = [each + shift for each, shift in zip(logprobs_of(model, rows), (0.3, -0.6), strict=True)]

    assert Said(rows, off, 0.1).distance(model) == pytest.approx((0.3 + 0.3 + 0.6) / 3, abs=1e-6)


@pytest.mark.parametrize("place", [0, 1])
def test_a_model_folder_that_says_the_same_passes(family, place, tmp_path):
    policy = stirred_policy(family, places=2)
    save_merged(policy, place, tmp_path)

    assert model_note(tmp_path, hear(policy, place)) is None
    with pytest.raises(ModelError):
        model_note(tmp_path, hear(policy, 1 - place))


def test_a_bfloat16_policy_is_compared_as_closely_as_its_rounding_allows(tmp_path):
    policy = policy_of(tmp_path / "base", dtype="bfloat16")
    save_merged(policy, 0, tmp_path / "model")

    said = hear(policy)

    assert said.tolerance == 0.1
    assert model_note(tmp_path / "model", said) is None


def _forget_a_layer(folder: Path) -> None:
    base = tiny_model("llama").state_dict()
    name = "model.layers.1.mlp.down_proj.weight"
    change_weights(folder, lambda weights: weights.update({name: base[name]}))


def _change_the_config(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "rms_norm_eps": 0.5}), encoding="utf-8")


def _lose_a_weight(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.pop("model.norm.weight"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_forget_a_layer, r"is not what was trained: its log-probabilities are off by \d\S+ nats per token, where at "
                          r"most 0\.001 is rounding; do not use it"),
        (_change_the_config, "is not what was trained"),
        (_lose_a_weight, r"cannot be loaded again: it lacks weights \(model\.norm\.weight"),
    ],
)  # fmt: skip
def test_a_model_folder_that_says_something_else_is_an_error_that_names_it(change, what, tmp_path):
    policy = stirred_policy("llama")
    save_merged(policy, 0, tmp_path)
    change(tmp_path)

    with pytest.raises(ModelError, match=rf"^model folder '{tmp_path}' was written, but .*{what}"):
        model_note(tmp_path, hear(policy))


def test_tokens_without_a_text_are_no_difference(tmp_path):
    """The policy never says them; a plain model would, but nobody asks it to."""
    policy = stir(tiny_policy("llama", vocab_size=40))
    save_merged(policy, 0, tmp_path)

    said = hear(policy)

    plain = logprobs_of(AutoModelForCausalLM.from_pretrained(tmp_path), said.rows)
    assert (torch.cat(plain) - torch.cat(said.logprobs)).mean() < -0.1
    assert model_note(tmp_path, said) is None


def test_an_adapter_that_peft_reads_rightly_is_kept(tmp_path):
    pytest.importorskip("peft")
    policy = policy_of(tmp_path / "base")
    save_adapter(policy, 0, tmp_path / "adapter")

    assert adapter_note(policy, tmp_path / "adapter", hear(policy)) is None
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


def test_an_adapter_that_peft_reads_wrongly_is_taken_away_with_the_reason(tmp_path):
    pytest.importorskip("peft")
    policy = policy_of(tmp_path / "base")
    save_adapter(policy, 0, tmp_path / "adapter")
    change_weights(tmp_path / "adapter", lambda weights: weights.pop(next(iter(weights))).zero_())

    note = adapter_note(policy, tmp_path / "adapter", hear(policy))

    assert note.startswith(
        "no adapter was kept, for peft reads something else in it (log-probabilities off by 0."
    )
    assert note.endswith("nats per token); the model folder holds all that was learned")
    assert not (tmp_path / "adapter").exists()


def test_an_adapter_that_peft_refuses_is_taken_away_with_its_reason(tmp_path):
    pytest.importorskip("peft")
    policy = policy_of(tmp_path / "base", "falcon_h1", **FALCON_H1)
    save_adapter(policy, 0, tmp_path / "adapter")

    note = adapter_note(policy, tmp_path / "adapter", hear(policy))

    assert note.startswith("no adapter was kept, for peft cannot read it (")
    assert "out_proj" in note
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("missing", ["peft", "base", "memory"])
def test_an_adapter_that_cannot_be_read_back_is_kept_and_said_to_be_unread(missing, tmp_path, monkeypatch):
    policy = policy_of(tmp_path / "base")
    save_adapter(policy, 0, tmp_path / "adapter")
    said = hear(policy)
    real = importlib.util.find_spec
    monkeypatch.setattr(read_back, "find_spec", lambda name: None if name == missing else real("json"))
    if missing == "base":
        (tmp_path / "base" / "config.json").unlink()
    monkeypatch.setattr(read_back, "_has_room", lambda _: missing != "memory")

    note = adapter_note(policy, tmp_path / "adapter", said)

    reasons = {
        "peft": "peft is not installed",
        "base": "its base cannot be loaded again (model folder",
        "memory": "there is no memory left for a second model",
    }
    assert note.startswith(f"{tmp_path / 'adapter'} was not read back, for {reasons[missing]}")
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


def test_a_model_that_does_not_fit_into_memory_is_said_to_be_unread(tmp_path, monkeypatch):
    policy = stirred_policy()
    save_merged(policy, 0, tmp_path)
    asked = []
    monkeypatch.setattr(read_back, "_has_room", asked.append)

    note = model_note(tmp_path, hear(policy))

    assert note == f"{tmp_path} was not read back, for there is no memory left for it"
    assert asked == [
        (tmp_path / "model.safetensors").stat().st_size + (tmp_path / "value_head.safetensors").stat().st_size
    ]
