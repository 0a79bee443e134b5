"""From a folder to a policy; whatever else the folder holds is refused by name, reason and way out."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from ppo_tune.config import ModelConfig
from ppo_tune.errors import ModelError
from ppo_tune.models import load_policy, load_tokenizer, loading
from ppo_tune.models.loading import best_dtype
from tests.conftest import FAMILIES, make_sequences, save_tiny_model, tiny_model, tiny_tokenizer

CPU = torch.device("cpu")
BERT = BertConfig(
    vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
)
CLASSIFIER = GPT2Config(vocab_size=16, bos_token_id=0, eos_token_id=0, num_labels=1, **FAMILIES["gpt2"])
T5 = T5Config(vocab_size=16, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)


def load(name: Path | str, **settings):
    return load_policy(ModelConfig(name=str(name), **settings), device=CPU)


def change_weights(folder: Path, change) -> None:
    """Rewrite the weights of a model folder."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def test_a_folder_becomes_a_policy_that_starts_as_the_model(family, tmp_path):
    policy = load(save_tiny_model(tmp_path, family), lora_rank=4)
    logits = tiny_model(family).eval()(torch.tensor([[5, 6, 3, 0]])).logits[0, 1:-1]

    logprobs = policy.evaluate(make_sequences([[5, 6]], [[3, 0]]), temperature=1.0, places=[0]).logprobs

    torch.testing.assert_close(logprobs[0, 0], logits.log_softmax(-1)[[0, 1], [3, 0]], atol=1e-6, rtol=0)
    assert policy.tokenizer("d e")["input_ids"] == [5, 6]


def test_a_config_says_rank_scale_precision_and_the_caller_how_many_places(model_folder):
    config = ModelConfig(name=str(model_folder), lora_rank=3, lora_alpha=12.0, dtype="bfloat16")

    policy = load_policy(config, places=5, device=CPU)

    assert (policy.adapters.rank, policy.adapters.alpha, policy.places) == (3, 12.0, 5)
    assert policy.dtype == torch.bfloat16


def test_without_a_rank_all_weights_are_trained(model_folder):
    policy = load(model_folder, lora_rank=None)

    assert policy.adapters is None
    assert all(parameter.requires_grad for parameter in policy.model.parameters())


def test_the_named_model_goes_before_the_tasks_own(model_folder, tmp_path):
    other = save_tiny_model(tmp_path / "other", "llama")

    named = load_policy(ModelConfig(name=str(model_folder)), default_name=str(other), device=CPU)
    default = load_policy(ModelConfig(), default_name=str(other), device=CPU)

    assert (named.model.config.model_type, default.model.config.model_type) == ("gpt2", "llama")


def test_a_model_without_an_untied_head_file_still_loads_when_its_head_is_tied(tmp_path):
    folder = save_tiny_model(tmp_path, "gpt2", tie_word_embeddings=True)

    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert load(folder).places == 1


def test_a_missing_folder_is_named_and_taken_for_a_hub_name(tmp_path):
    with pytest.raises(ModelError, match=r"'.*/nowhere' \(no such folder, so taken as a hub name\)"):
        load(tmp_path / "nowhere")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ModelError, match=f"model folder '{tmp_path}'"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        pytest.param(BertForMaskedLM(BERT), "BertForMaskedLM", id="masked language model"),
        pytest.param(BertModel(BERT), "BertModel", id="encoder"),
        pytest.param(
            GPT2ForSequenceClassification(CLASSIFIER), "GPT2ForSequenceClassification", id="classifier"
        ),
    ],
)
def test_another_kind_of_model_is_refused_by_its_kind(model, kind, tmp_path):
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)

    with pytest.raises(ModelError) as caught:
        load(tmp_path)

    message = str(caught.value)
    assert f"model folder '{tmp_path}' holds a {kind}, not a causal language model" in message
    assert "name one whose config.json says ...ForCausalLM or ...LMHeadModel" in message


def test_an_encoder_decoder_is_refused(tmp_path):
    T5ForConditionalGeneration(T5).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)

    with pytest.raises(ModelError, match=f"'{tmp_path}' cannot be loaded as a causal language model"):
        load(tmp_path)


def test_a_folder_that_lacks_weights_is_refused_by_their_names(model_folder):
    change_weights(model_folder, lambda weights: weights.pop("transformer.h.1.attn.c_attn.weight"))

    with pytest.raises(ModelError, match=r"lacks weights \(transformer.h.1.attn.c_attn.weight, ...\)"):
        load(model_folder)


def test_a_folder_without_weights_is_refused(model_folder):
    (model_folder / "model.safetensors").unlink()

    with pytest.raises(ModelError, match=r"cannot be loaded .* no file named model.safetensors"):
        load(model_folder)


def test_torn_weights_are_refused(model_folder):
    path = model_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])

    with pytest.raises(ModelError, match=f"'{model_folder}' cannot be loaded as a causal language model"):
        load(model_folder)


def test_weights_of_another_size_are_refused(model_folder):
    change_weights(
        model_folder, lambda weights: weights.update({"transformer.wte.weight": torch.ones(8, 16)})
    )

    with pytest.raises(ModelError, match=f"'{model_folder}' cannot be loaded as a causal language model"):
        load(model_folder)


def test_an_unknown_architecture_is_refused(model_folder):
    (model_folder / "config.json").write_text('{"model_type": "nonesuch"}', encoding="utf-8")

    with pytest.raises(ModelError, match=f"model folder '{model_folder}' .*nonesuch"):
        load(model_folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_a_torn_json_file_is_refused(file, model_folder):
    (model_folder / file).write_text("{", encoding="utf-8")

    with pytest.raises(ModelError, match=f"model folder '{model_folder}' has no usable tokenizer"):
        load(model_folder)


def test_a_folder_without_a_tokenizer_is_refused(family, tmp_path):
    tiny_model(family).save_pretrained(tmp_path)

    with pytest.raises(ModelError, match=f"model folder '{tmp_path}' has no usable tokenizer"):
        load(tmp_path)


@pytest.mark.parametrize("pad_token", [None, "<eos>"])
def test_a_tokenizer_without_a_pad_token_of_its_own_is_no_obstacle(pad_token, tmp_path):
    tiny_tokenizer(pad_token=pad_token).save_pretrained(tmp_path)

    assert load_tokenizer(str(tmp_path)).pad_token == pad_token


def test_a_faster_activation_says_what_the_model_says(tmp_path):
    theirs = tiny_model("gpt2").eval()
    ids = torch.arange(12).view(3, 4)

    ours = load(save_tiny_model(tmp_path)).model

    kinds = [{type(module).__name__ for module in model.modules()} for model in (theirs, ours)]
    assert ["NewGELUActivation" in kind for kind in kinds] == [True, False]
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-5, rtol=1e-5)
    assert ours.config.activation_function == "gelu_new"  # which is what is saved with it


@pytest.mark.parametrize(
    ("width", "features", "all_weights", "expected"),
    [
        (256, {"avx512_bf16": True}, False, torch.bfloat16),
        (256, {"amx_bf16": True}, False, torch.bfloat16),
        (256, {"avx512_bf16": False, "avx2": True}, False, torch.float32),
        (255, {"avx512_bf16": True}, False, torch.float32),
        (768, {"avx512_bf16": True}, True, torch.float32),
    ],
)
def test_on_a_cpu_wide_frozen_models_are_bfloat16_where_that_is_multiplied_fast(
    width, features, all_weights, expected, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)

    assert best_dtype(width, CPU, all_weights=all_weights) == expected


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("all_weights", [True, False])
def test_on_a_gpu_the_gpu_decides(able, all_weights, monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: able or including_emulation
    )

    found = best_dtype(768, torch.device("cuda"), all_weights=all_weights)

    assert found == (torch.bfloat16 if able else torch.float32)
    assert best_dtype(64, torch.device("cuda"), all_weights=all_weights) == torch.float32


def test_the_precision_is_found_by_the_width_of_the_model(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(loading, "MIN_WIDTH", 16)

    assert load(save_tiny_model(tmp_path)).dtype == torch.bfloat16
    monkeypatch.setattr(loading, "MIN_WIDTH", 17)
    assert load(tmp_path).dtype == torch.float32
    assert load(tmp_path, dtype="bfloat16").dtype == torch.bfloat16


def test_weights_that_are_trained_stay_float32_and_only_products_are_short(model_folder):
    exact, short = (load(model_folder, lora_rank=None, dtype=dtype) for dtype in ("float32", "bfloat16"))
    sequences = make_sequences([[5, 6], [7]], [[3, 0], [4, 9, 0]])

    said = short.evaluate(sequences, temperature=1.0, places=[0])
    said.logprobs[sequences.response_mask].sum().backward()

    assert short.dtype == torch.bfloat16
    assert not short.is_exact
    assert {weight.dtype for weight in short.trainable} == {torch.float32}
    assert said.logprobs.dtype == torch.float32
    expected = exact.evaluate(sequences, temperature=1.0, places=[0]).logprobs
    assert not torch.equal(said.logprobs, expected)
    torch.testing.assert_close(said.logprobs, expected, atol=0.1, rtol=0)
    assert short.rows.grads.abs().sum() > 0
