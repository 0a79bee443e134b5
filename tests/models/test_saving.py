"""What is saved is what other libraries load: PEFT's adapters, transformers' folders, our own value head."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from ppo_tune.models import Policy, load_adapter, save_adapter, save_merged
from ppo_tune.models.saving import ADAPTER_WEIGHTS, VALUE_HEAD
from tests.conftest import make_sequences, stir, stirred_policy, tiny_model, tiny_policy, tiny_tokenizer

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


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21
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


def test_a_merged_folder_keeps_the_dtype_of_the_model(tmp_path):
    policy = stir(Policy(tiny_model().to(torch.bfloat16), tiny_tokenizer(), lora_rank=4, lora_alpha=8.0))

    save_merged(policy, 0, tmp_path)

    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == torch.bfloat16
    assert_close(said_by(model), said(policy, 0), atol=0.1, rtol=0)


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
