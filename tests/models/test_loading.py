# mypy: ignore-errors
"""From a folder to a policy; whatever else the folder holds is refused by name, reason and way out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from ppo_tune.config.model import ModelConfig
from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.errors import ModelError
from ppo_tune.fitting.sft import fit_sft
from ppo_tune.models import load_policy, load_tokenizer, loading
from ppo_tune.models.causal import CausalLayout
from ppo_tune.models.encoder_decoder import EncoderDecoderLayout
from ppo_tune.models.loading import best_dtype, dtype_of_products, judge_skeleton
from ppo_tune.models.lora import Bottleneck
from ppo_tune.rewards.preference import PreferenceReward
from ppo_tune.trainer.evaluation import Evaluator
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import (
    FAMILIES,
    LIKES,
    WordReward,
    make_sequences,
    make_toy_task,
    save_tiny_model,
    small_config,
    tiny_model,
    tiny_tokenizer,
)

NO_LANGUAGE_MODEL = (
    "holds a {}, not a causal language model or encoder–decoder; name one whose config.json says"
)

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


def change_json(path: Path, change) -> None:
    """Rewrite a JSON file of a model folder."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    change(facts)
    path.write_text(json.dumps(facts), encoding="utf-8")


def test_a_folder_becomes_a_policy_that_starts_as_the_model(family, tmp_path):
    policy = load(save_tiny_model(tmp_path, family), lora_rank=4)
    logits = tiny_model(family).eval()(torch.tensor([[5, 6, 3, 0]])).logits[0, 1:-1]

    logprobs = policy.evaluate(make_sequences([[5, 6]], [[3, 0]]), temperature=1.0, places=[0]).logprobs

    torch.testing.assert_close(logprobs[0, 0], logits.log_softmax(-1)[[0, 1], [3, 0]], atol=1e-6, rtol=0)
    assert policy.tokenizer("d e")["input_ids"] == [5, 6]


def test_a_config_says_rank_scale_precision_and_the_caller_how_many_places(model_folder):
    config = ModelConfig(name=str(model_folder), lora_rank=3, lora_alpha=12.0, dtype="bfloat16")

    policy = load_policy(config, places=5, device=CPU)

    assert (policy.adapters.usual, policy.places) == (Bottleneck(rank=3, alpha=12.0), 5)
    assert policy.dtype == torch.bfloat16


def test_a_config_says_that_adapters_are_rank_stabilized(model_folder):
    policy = load(model_folder, lora_rank=4, lora_alpha=12.0, adapter="rslora")

    assert policy.adapters.usual.scale == 6.0  # 12 / √4


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


def test_an_encoder_decoder_is_one_whether_or_not_its_config_json_says_so(tmp_path):
    save_tiny_model(tmp_path, "t5")
    plain = load(tmp_path, lora_rank=4)
    change_json(tmp_path / "config.json", lambda config: config.pop("is_encoder_decoder"))

    again = load(tmp_path, lora_rank=4)

    assert isinstance(plain.layout, EncoderDecoderLayout)
    assert isinstance(again.layout, EncoderDecoderLayout)
    assert dtype_of_products(str(tmp_path), "auto", CPU, all_weights=False) == torch.float32


def test_an_encoder_decoder_whose_start_token_nobody_names_is_refused(tmp_path):
    T5ForConditionalGeneration(T5).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)

    with pytest.raises(ModelError, match=r"begins; put decoder_start_token_id into its config\.json"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "architecture", "match"),
    [
        ("whisper", "WhisperForConditionalGeneration", NO_LANGUAGE_MODEL),
        ("llava", "LlavaForConditionalGeneration", NO_LANGUAGE_MODEL),
        ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", NO_LANGUAGE_MODEL),
        ("clip", "CLIPModel", NO_LANGUAGE_MODEL),
        ("wav2vec2", "Wav2Vec2ForCTC", NO_LANGUAGE_MODEL),
        ("clip", None, NO_LANGUAGE_MODEL),
    ],
)
def test_what_is_no_language_model_hears_so_in_a_short_sentence(kind, architecture, match, tmp_path):
    AutoConfig.for_model(kind, architectures=architecture and [architecture]).save_pretrained(tmp_path)

    with pytest.raises(ModelError, match=match.format(architecture or "model of another kind")) as caught:
        load(tmp_path)

    assert len(str(caught.value)) < len(str(tmp_path)) + 200


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


def _config(**changes):
    return lambda folder: change_json(folder / "config.json", lambda config: config.update(changes))


def _write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def _instead_of_weights(name, content):
    def change(folder):
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(content)

    return change


def _cut(name, length):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


BROKEN = {
    "config.json is empty": _write("config.json", b""),
    "config.json is torn": _cut("config.json", 99),
    "config.json is a list": _write("config.json", b"[]"),
    "config.json says nothing": _write("config.json", b"{}"),
    "config.json is gone": lambda folder: (folder / "config.json").unlink(),
    "a number is a text": _config(vocab_size="16"),
    "a number is null": _config(n_layer=None),
    "a number is negative": _config(vocab_size=-1),
    "heads do not divide the width": _config(n_head=3),
    "no heads": _config(n_head=0),
    "no width": _config(n_embd=0),
    "a function that nobody knows": _config(activation_function="nonesuch"),
    "a dtype that nobody knows": _config(dtype="float99"),
    "a kind that nobody knows": _config(model_type="nonesuch"),
    "a kind that is a list": _config(model_type=["gpt2"]),
    "another kind": _config(model_type="opt"),
    "a class that is no class": _config(architectures=[{}]),
    "quantised": _config(quantization_config={"quant_method": "gptq", "bits": 4}),
    "tokenizer.json is torn": _cut("tokenizer.json", 300),
    "tokenizer.json is a list": _write("tokenizer.json", b"[]"),
    "tokenizer.json says nothing": _write("tokenizer.json", b"{}"),
    "tokenizer.json is gone": lambda folder: (folder / "tokenizer.json").unlink(),
    "tokenizer_config.json is a list": _write("tokenizer_config.json", b"[]"),
    "special_tokens_map.json is a list": _write("special_tokens_map.json", b"[]"),
    "generation_config.json is a list": _write("generation_config.json", b"[]"),
    "a stop token is a text": _write("generation_config.json", b'{"eos_token_id": ["</s>"]}'),
    "weights are empty": _write("model.safetensors", b""),
    "weights are torn in the header": _cut("model.safetensors", 100),
    "weights are torn": _cut("model.safetensors", 5000),
    "weights are a pointer": _write("model.safetensors", b"version https://git-lfs.github.com/spec/v1"),
    "weights are a pickle": _instead_of_weights("pytorch_model.bin", b"garbage"),
    "the index of weights says nothing": _instead_of_weights("model.safetensors.index.json", b"{}"),
    "an adapter beside the weights": _write("adapter_config.json", b"{}"),
}


@pytest.mark.filterwarnings("ignore")  # of transformers and torch, about what they read
@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_is_refused_in_one_sentence_that_names_it(change, model_folder):
    change(model_folder)

    with pytest.raises(ModelError) as caught:
        load(model_folder)

    message = str(caught.value)
    assert message.startswith(f"model folder '{model_folder}'")
    assert len(message.splitlines()) == 1
    assert not message.endswith(":")


def test_a_missing_package_is_a_reason_like_others(model_folder, monkeypatch):
    def fail(*_, **__):
        raise ImportError("reading this takes `nonesuch`")

    monkeypatch.setattr(CausalLayout.auto, "from_pretrained", fail)

    with pytest.raises(
        ModelError, match="cannot be loaded as a causal language model: reading this takes `none"
    ):
        load(model_folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_nobody_is_asked_whether_a_folders_own_code_may_run(file, model_folder, monkeypatch):
    def ask(_=""):
        raise AssertionError("somebody was asked at the keyboard")

    monkeypatch.setattr("builtins.input", ask)
    ran = model_folder.parent / "ran"
    code = f"open({str(ran)!r}, 'w').close()\nfrom transformers import GPT2Config as Own, GPT2LMHeadModel as OwnLM\n"
    (model_folder / "own.py").write_text(code, encoding="utf-8")
    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.OwnLM", "AutoTokenizer": ["own.Own", None]}
    kind = {"model_type": "own"} if file == "config.json" else {"tokenizer_class": "OwnTokenizer"}
    change_json(model_folder / file, lambda facts: facts.update({"auto_map": own, **kind}))

    with pytest.raises(
        ModelError, match=rf"brings code of its own \(auto_map in its {file}\), which is never run"
    ):
        load(model_folder)
    assert not ran.exists()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21
def test_a_judge_may_be_an_adapter_where_peft_reads_it(tmp_path):
    peft = pytest.importorskip("peft")
    tiny_tokenizer().save_pretrained(tmp_path / "judge")
    GPT2ForSequenceClassification(CLASSIFIER).save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["c_attn"], init_lora_weights=False,
                           fan_in_fan_out=True)  # fmt: skip
    theirs = peft.get_peft_model(base, lora).eval()
    theirs.save_pretrained(tmp_path / "judge")

    assert judge_skeleton(str(tmp_path / "judge")).config.num_labels == 1
    judge = PreferenceReward(PreferenceRewardConfig(name="preference", model=str(tmp_path / "judge")), CPU)

    text = torch.tensor([[5, 6, 3]])
    expected = theirs.base_model.model.score(theirs.base_model.model.transformer(text)[0][:, -1])
    assert judge(["d e"], [" b"], {}).tolist() == pytest.approx(expected[0].tolist(), abs=1e-5)


def test_a_judge_of_which_the_base_is_gone_or_not_named_is_refused_before_any_weight(tmp_path):
    pytest.importorskip("peft")
    file = tmp_path / "adapter_config.json"

    file.write_text('{"base_model_name_or_path": "/nowhere/base"}', encoding="utf-8")
    told = rf"^reward model '/nowhere/base': no such folder .*; it is the base of reward model '{tmp_path}'$"
    with pytest.raises(ModelError, match=told):
        judge_skeleton(str(tmp_path))
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(
        ModelError, match=r"holds an adapter that does not name the model it was made of; merge it"
    ):
        judge_skeleton(str(tmp_path))


def test_a_text_that_a_judge_cannot_read_is_refused(tmp_path):
    GPT2ForSequenceClassification(CLASSIFIER).save_pretrained(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<turn>"])
    tokenizer.save_pretrained(tmp_path)
    judge = PreferenceReward(PreferenceRewardConfig(name="preference", model=str(tmp_path)), CPU)

    with pytest.raises(
        ModelError,
        match=rf"reward model '{tmp_path}': a text holds '<turn>', which its tokenizer knows as number 16",
    ):
        judge(["a"], ["b <turn>"], {})


def test_a_base_of_sft_that_cannot_be_used_is_refused_before_its_tokenizer_is_read(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "base"}', encoding="utf-8")

    with pytest.raises(ModelError, match=r"holds an adapter of 'base' and no whole model; merge it first"):
        fit_sft([("a", "b"), ("c", "d")], tmp_path / "out", base=str(tmp_path))


@pytest.mark.parametrize("lora_rank", [4, None])
def test_a_prompt_that_the_model_cannot_read_is_refused_with_the_token_and_both_sizes(
    lora_rank, model_folder
):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<turn>", "<end>"])
    tokenizer.save_pretrained(model_folder)
    policy = load(model_folder, lora_rank=lora_rank)

    policy.check_readable(
        [[1, 15], [2]]
    )  # what is merely known, as an image's place in a text model, does no harm
    with pytest.raises(ModelError) as caught:
        policy.check_readable([[1], [16, 2]])

    assert str(caught.value) == (
        f"model '{model_folder}' (GPT2LMHeadModel): a text holds '<turn>', which its tokenizer knows as number 16, but "
        "its input embedding ends at 15; save the model after resize_token_embeddings(len(tokenizer)), or the "
        "tokenizer that it was trained with"
    )


@pytest.mark.parametrize("n_words", [0, 1])
def test_every_prompt_is_looked_at_before_anything_is_trained(n_words, model_folder):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<turn>"])
    tokenizer.save_pretrained(model_folder)
    policy, task = load(model_folder, lora_rank=4), make_toy_task(WordReward(LIKES))
    beyond = (replace(task.prompts["train"][0], text="a <turn>"),)

    for split, make in (
        ("train", lambda task: PPOTrainer(policy, task, small_config())),
        (
            "heldout",
            lambda task: Evaluator(policy, task, n_prompts=6, max_new_tokens=6, temperature=1.0, seed=0),
        ),
    ):
        changed = replace(task, prompts={**task.prompts, split: task.prompts[split] + beyond * n_words})
        if n_words:
            with pytest.raises(
                ModelError, match="a text holds '<turn>', which its tokenizer knows as number 16"
            ):
                make(changed)
        else:
            make(changed)


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
