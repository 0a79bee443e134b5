# mypy: ignore-errors
"""What is saved is what other libraries load: PEFT's adapters, transformers' folders, our own value head."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.models import Policy, load_adapter, load_policy, save_adapter, save_merged
from ppo_tune.models.saving import ADAPTER_WEIGHTS, VALUE_HEAD
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import (
    FAMILIES,
    make_sequences,
    save_tiny_model,
    small_config,
    stir,
    stirred_policy,
    tiny_model,
    tiny_policy,
    tiny_tokenizer,
)

PEFT_WARNS = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"  # peft 0.21
)
_MOE = {**FAMILIES["llama"], "num_experts_per_tok": 2, "moe_intermediate_size": 8, "num_key_value_heads": 2}
_DEEPSEEK = {
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
}
_LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
_LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
           "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"]}  # fmt: skip
EXPERTS: dict[str, dict[str, Any]] = {
    "deepseek_v3": {**_MOE, **_DEEPSEEK, **_LATENT},
    "glm4_moe": {**_MOE, **_DEEPSEEK, "head_dim": 8},
    "qwen3_next": {**_MOE, **_LINEAR, "head_dim": 8, "num_experts": 4, "shared_expert_intermediate_size": 8},
    "qwen3_moe": {**_MOE, "head_dim": 8, "num_experts": 4, "mlp_only_layers": [0]},
    "mixtral": {**FAMILIES["llama"], "num_local_experts": 4},
}
"""Tiny mixtures of experts, most with linear layers beside the experts."""

GEMMA = {**FAMILIES["llama"], "head_dim": 8, "vocab_size": 16}
VISION = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "image_size": 4,
          "patch_size": 2}  # fmt: skip

PROMPT, RESPONSE = [2, 3, 4, 5, 6], [3, 1, 2, 9, 0]


def said(policy: Policy, place: int) -> Tensor:
    """Log-probabilities of the response under one place."""
    sequences = make_sequences([PROMPT], [RESPONSE])
    return policy.evaluate(sequences, temperature=1.0, places=[place]).logprobs.detach()[0, 0]


def said_by(model) -> Tensor:
    """Log-probabilities of the response under a model of another library."""
    with torch.no_grad():
        logits = model.eval()(torch.tensor([PROMPT + RESPONSE])).logits[0, len(PROMPT) - 1 : -1]
    return logits.float().log_softmax(-1)[range(len(RESPONSE)), RESPONSE]


@PEFT_WARNS
@pytest.mark.parametrize("kind", EXPERTS)
def test_peft_reads_dense_layers_and_shared_experts_beside_experts(kind, tmp_path):
    peft = pytest.importorskip("peft")
    policy = stirred_policy(kind, **EXPERTS[kind])

    save_adapter(policy, 0, tmp_path)
    model = peft.PeftModel.from_pretrained(tiny_model(kind, **EXPERTS[kind]), str(tmp_path))

    assert_close(said_by(model), said(policy, 0), atol=1e-5, rtol=0)
    assert (said_by(tiny_model(kind, **EXPERTS[kind])) - said(policy, 0)).abs().max() > 1e-2


def test_only_what_peft_would_take_for_experts_is_named_by_its_weight(tmp_path):
    save_adapter(stirred_policy("deepseek_v3", **EXPERTS["deepseek_v3"]), 0, tmp_path / "experts")
    save_adapter(stirred_policy("llama"), 0, tmp_path / "plain")

    experts, plain = (
        json.loads((tmp_path / name / "adapter_config.json").read_text(encoding="utf-8"))
        for name in ("experts", "plain")
    )
    assert experts["target_parameters"] == [
        f"model.layers.{layer}.{part}.{name}_proj.weight"
        for layer, part in ((0, "mlp"), (1, "mlp.shared_experts"))
        for name in ("down", "gate", "up")
    ]
    assert {name.split(".")[3] for name in experts["target_modules"]} == {"self_attn"}
    assert "target_parameters" not in plain
    assert len(plain["target_modules"]) == 14


@PEFT_WARNS
def test_peft_loads_the_adapter_of_one_place(family, tmp_path):
    peft = pytest.importorskip("peft")
    policy = stirred_policy(family, places=2)

    save_adapter(policy, 1, tmp_path / "adapter")
    model = peft.PeftModel.from_pretrained(tiny_model(family), str(tmp_path / "adapter"))

    assert_close(said_by(model), said(policy, 1), atol=1e-5, rtol=0)
    assert (said_by(model) - said(policy, 0)).abs().max() > 1e-3


def test_peft_reads_the_scale_of_the_adapter(tmp_path):
    policy = stirred_policy()

    save_adapter(policy, 0, tmp_path)

    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"]) == (4, 8.0)


@PEFT_WARNS
def test_peft_reads_rank_stabilized_adapters_with_their_own_scale(family, tmp_path):
    peft = pytest.importorskip("peft")
    policy = stirred_policy(family, places=2, adapter="rslora")

    save_adapter(policy, 1, tmp_path)
    model = peft.PeftModel.from_pretrained(tiny_model(family), str(tmp_path))

    assert_close(said_by(model), said(policy, 1), atol=1e-5, rtol=0)
    assert (said(policy, 1) - said(stirred_policy(family, places=2), 1)).abs().max() > 1e-3


@pytest.mark.parametrize("tied", [True, False], ids=["tied head", "own head"])
def test_a_merged_folder_is_an_ordinary_model(family, tied, tmp_path):
    policy = stirred_policy(family, places=2, tie_word_embeddings=tied)

    save_merged(policy, 1, tmp_path)
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)

    assert_close(said_by(model), said(policy, 1), atol=1e-5, rtol=0)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_a_merged_folder_has_its_tokenizer(tmp_path):
    save_merged(stirred_policy(), 0, tmp_path)

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)

    assert tokenizer("d e <eos>")["input_ids"] == tiny_tokenizer()("d e <eos>")["input_ids"] == [5, 6, 0]
    assert tokenizer.eos_token == "<eos>"


def test_merging_leaves_the_policy_as_it_was(tmp_path):
    policy = stirred_policy(places=2)
    before, reference = said(policy, 1), said_by(policy.model)

    save_merged(policy, 1, tmp_path)

    assert torch.equal(said(policy, 1), before)
    assert torch.equal(said_by(policy.model), reference)


def test_a_model_whose_weights_are_all_trained_is_saved_with_them(family, tmp_path):
    policy = stir(tiny_policy(family, lora_rank=None), scale=0.05)

    save_merged(policy, 0, tmp_path)

    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert_close(said_by(model), said(policy, 0), atol=1e-5, rtol=0)
    assert (said_by(model) - said_by(tiny_model(family))).abs().max() > 1e-3


def test_what_few_steps_teach_a_bfloat16_model_is_not_rounded_away(tmp_path, toy_task):
    save_tiny_model(tmp_path / "base", "llama")
    bfloat16 = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.bfloat16)
    bfloat16.save_pretrained(tmp_path / "base")
    policy = load_policy(
        ModelConfig(name=str(tmp_path / "base"), dtype="bfloat16"), device=torch.device("cpu")
    )
    config = small_config(learning_rate=PPOConfig().learning_rate)
    trainer = PPOTrainer(policy, toy_task, config)
    trainer.start(0, config, 1)
    for _ in range(3):
        trainer.step()

    save_merged(policy, 0, tmp_path / "merged")

    before, after = (
        {name: weight.double() for name, weight in load_file(path / "model.safetensors").items()}
        for path in (tmp_path / "base", tmp_path / "merged")
    )
    n_rounded = n_weights = 0
    for name in policy.adapters.layers:
        a, b = (policy.rows[f"{name}.{part}"][0].detach().double() for part in "AB")
        weight = before[f"{name}.weight"]
        assert_close(after[f"{name}.weight"], weight + (a @ b).T, atol=1e-7, rtol=1e-6)
        assert (after[f"{name}.weight"] != weight).double().mean() > 0.95
        n_rounded += int((after[f"{name}.weight"].bfloat16() == weight.bfloat16()).sum())
        n_weights += weight.numel()
    assert n_rounded > 0.3 * n_weights  # which is what bfloat16 would have lost


@pytest.mark.parametrize("settings", [{}, {"dtype": "auto"}], ids=["by default", "as the config says"])
def test_a_merged_folder_of_a_bfloat16_model_is_loaded_as_float32(settings, tmp_path):
    policy = stir(
        Policy(tiny_model().to(torch.bfloat16), tiny_tokenizer(), ModelConfig(lora_rank=4, lora_alpha=8.0))
    )

    save_merged(policy, 0, tmp_path)

    model = AutoModelForCausalLM.from_pretrained(tmp_path, **settings)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert_close(said_by(model), said(policy, 0), atol=0.1, rtol=0)


def test_every_part_of_a_merged_config_names_the_dtype_of_the_weights(tmp_path):
    config = AutoConfig.for_model(
        "gemma3", text_config=GEMMA, vision_config=VISION, mm_tokens_per_image=4, dtype=torch.bfloat16
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    policy = stir(Policy(model, tiny_tokenizer(), ModelConfig(lora_rank=2, lora_alpha=2.0)))

    save_merged(policy, 0, tmp_path)

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert "bfloat16" not in (tmp_path / "config.json").read_text(encoding="utf-8")
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize("save", [save_adapter, save_merged])
def test_the_value_head_of_the_place_lies_beside_the_model(save, tmp_path):
    policy = stirred_policy(places=2)

    save(policy, 1, tmp_path)

    head = load_file(tmp_path / VALUE_HEAD)
    assert torch.equal(head["weight"], policy.rows["value_head.weight"][1])
    assert torch.equal(head["bias"], policy.rows["value_head.bias"][1])


def test_an_adapter_comes_back_bit_for_bit_in_any_place(family, tmp_path):
    policy, other = stirred_policy(family, places=2), tiny_policy(family, places=3)
    before = other.rows.values.clone()

    save_adapter(policy, 1, tmp_path)
    load_adapter(other, 2, tmp_path)

    assert torch.equal(other.rows.values[2], policy.rows.values[1])
    assert torch.equal(other.rows.values[:2], before[:2])


def test_a_loaded_adapter_can_be_trained_further(tmp_path):
    policy, other = stirred_policy(), tiny_policy()
    save_adapter(policy, 0, tmp_path)

    load_adapter(other, 0, tmp_path)
    said_value = other.evaluate(make_sequences([PROMPT], [RESPONSE]), temperature=1.0, places=[0])
    said_value.logprobs.sum().backward()

    assert other.rows.grads[0].any()


def test_an_adapter_folder_holds_tensors_and_json_only(tmp_path):
    save_adapter(stirred_policy(), 0, tmp_path / "new" / "folder")

    names = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert names == {ADAPTER_WEIGHTS, VALUE_HEAD, "adapter_config.json"}
