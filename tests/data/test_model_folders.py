# mypy: ignore-errors
"""A model folder is refused by its JSON files alone: in one sentence, without torch, before a weight is read."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.data.model_folders import called, check_folder, check_model
from ppo_tune.data.user_files import check_user_files
from ppo_tune.errors import ModelError
from tests.hub import Hub, serving

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
LORA = {"peft_type": "LORA", "base_model_name_or_path": "models/base"}
OWN = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
OWN_WORDS = {"AutoTokenizer": ["own.OwnTokenizer", None]}


@pytest.fixture(autouse=True)
def without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused must not depend on an optional package; the tests that want it take this back."""
    monkeypatch.setitem(sys.modules, "peft", None)


def write(folder: Path, *, weights: bool = True, **files: Any) -> Path:
    """A folder of JSON files, named without their ending."""
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps(data), encoding="utf-8")
    if weights:
        (folder / "model.safetensors").write_bytes(b"never read")
    return folder


def refusal(folder: Path, *, judge: bool = False) -> str:
    with pytest.raises(ModelError) as caught:
        check_folder(folder, called(str(folder), judge=judge), judge=judge)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_an_ordinary_folder_passes(tmp_path):
    check_folder(write(tmp_path, config=LLAMA, tokenizer_config={}), "it")


@pytest.mark.parametrize("judge", [False, True])
@pytest.mark.parametrize("peft", [False, True])
def test_a_whole_model_with_an_adapter_is_to_be_merged_first(judge, peft, tmp_path, monkeypatch):
    if peft:
        monkeypatch.delitem(sys.modules, "peft")
    message = refusal(write(tmp_path, config=LLAMA, adapter_config=LORA), judge=judge)

    assert "holds a whole model and an adapter (adapter_config.json)" in message
    assert "merge it first: load it by peft, then merge_and_unload() and save_pretrained()" in message


@pytest.mark.parametrize("peft", [False, True])
@pytest.mark.parametrize("files", [{}, {"config": LLAMA}], ids=["alone", "with the config of its base"])
def test_an_adapter_alone_is_no_policy(files, peft, tmp_path, monkeypatch):
    if peft:
        monkeypatch.delitem(sys.modules, "peft")
    message = refusal(write(tmp_path, weights=False, adapter_config=LORA, **files))

    assert "holds an adapter of 'models/base' and no whole model; merge it first" in message


def test_an_adapter_of_prefixes_is_not_to_be_merged(tmp_path):
    prefixes = {**LORA, "peft_type": "PREFIX_TUNING"}

    message = refusal(write(tmp_path, weights=False, adapter_config=prefixes))
    judge = refusal(tmp_path, judge=True)

    assert message == (
        f"model folder '{tmp_path}' holds an adapter of 'models/base' and no whole model; what PREFIX_TUNING learns "
        "cannot be merged into a model's weights, so name a whole model"
    )
    assert judge.endswith("read by peft, and peft is not installed; run: pip install peft")


def test_an_adapter_alone_is_a_judge_where_peft_is_there(tmp_path, monkeypatch):
    folder = write(tmp_path, weights=False, adapter_config=LORA)

    message = refusal(folder, judge=True)
    monkeypatch.delitem(sys.modules, "peft")
    monkeypatch.setattr("ppo_tune.data.model_folders.find_spec", lambda name: name)
    check_folder(folder, "it", judge=True)

    assert message.startswith(f"reward model '{tmp_path}' holds an adapter")
    assert "peft is not installed; run: pip install peft, or merge it first" in message


@pytest.mark.parametrize("name", ["decoder_start_token_id", "forced_bos_token_id"])
@pytest.mark.parametrize("number", ["x", "3", 1.5, True, [3]])
def test_a_token_that_opens_a_response_and_is_no_number_is_refused(name, number, tmp_path):
    t5 = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], name: number}

    known = refusal(write(tmp_path, config={**t5, "vocab_size": 16}))
    unknown = refusal(write(tmp_path, config=t5))

    assert known == (
        f"model folder '{tmp_path}': {name} in its config.json must be the number of a token, 0 to 15, but is "
        f"{number!r}; correct it there"
    )
    assert unknown == known.replace(", 0 to 15", "")


@pytest.mark.parametrize("judge", [False, True])
@pytest.mark.parametrize(
    ("tag", "method"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({}, "unknown"),
        ("int4", "int4"),
    ],
)
def test_quantised_weights_are_refused_by_their_name(tag, method, judge, tmp_path):
    message = refusal(write(tmp_path, config={**LLAMA, "quantization_config": tag}), judge=judge)

    assert f"holds quantised weights (quantization_config in its config.json, by {method})" in message
    assert "name the model that they were made from" in message


@pytest.mark.parametrize("judge", [False, True])
@pytest.mark.parametrize(
    ("files", "where"),
    [
        pytest.param({"config": {"model_type": "own", "auto_map": OWN}}, "config", id="a kind of its own"),
        pytest.param(
            {"config": {**LLAMA, "architectures": ["OwnForCausalLM"], "auto_map": OWN}},
            "config",
            id="a class of its own",
        ),
        pytest.param({"config": {"model_type": ["own"], "auto_map": OWN}}, "config", id="a kind that is no name"),
        pytest.param(
            {"config": {**LLAMA, "architectures": [{}], "auto_map": OWN}}, "config", id="a class that is no name"
        ),
        pytest.param(
            {"config": LLAMA, "tokenizer_config": {"tokenizer_class": "OwnTokenizer", "auto_map": OWN_WORDS}},
            "tokenizer_config",
            id="a tokenizer of its own",
        ),
    ],
)  # fmt: skip
def test_code_of_its_own_is_never_run(files, where, judge, tmp_path):
    message = refusal(write(tmp_path, **files), judge=judge)

    assert f"brings code of its own (auto_map in its {where}.json), which is never run" in message
    assert "name a model of a kind that transformers knows by itself" in message


@pytest.mark.parametrize("words", [None, "LlamaTokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast"])
def test_code_beside_a_class_that_transformers_has_is_left_alone(words, tmp_path):
    tokenizer = {"auto_map": OWN_WORDS} | ({"tokenizer_class": words} if words else {})

    check_folder(write(tmp_path, config={**LLAMA, "auto_map": OWN}, tokenizer_config=tokenizer), "it")


@pytest.mark.parametrize("kind", ["T5ForConditionalGeneration", "MarianMTModel"])
def test_an_encoder_decoder_is_a_model_and_no_judge(kind, tmp_path):
    config = {"model_type": "t5", "architectures": [kind], "is_encoder_decoder": True}

    check_folder(write(tmp_path, config=config), "it")
    assert refusal(tmp_path, judge=True) == (
        f"reward model '{tmp_path}' is an encoder–decoder, which is not read as a judge yet; name an encoder or a "
        "decoder"
    )


def test_another_kind_of_model_is_a_judge_perhaps_but_no_policy(tmp_path):
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}

    assert "holds a BertForSequenceClassification, not a causal" in refusal(write(tmp_path, config=config))
    check_folder(tmp_path, "it", judge=True)


@pytest.mark.parametrize("file", ["config", "tokenizer_config", "adapter_config"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[]", "must hold an object, but holds a list"),
        (b"null", "must hold an object, but holds a NoneType"),
    ],
)
def test_a_file_that_is_no_json_object_is_named(file, content, what, tmp_path):
    write(tmp_path, config=LLAMA)
    (tmp_path / f"{file}.json").write_bytes(content)

    assert f": its {file}.json {what}" in refusal(tmp_path)


def test_an_empty_folder_holds_no_config(tmp_path):
    assert refusal(tmp_path).endswith("holds no config.json, so it is no model that transformers can load")


@pytest.mark.parametrize(("within", "named"), [(["model", "adapter"], "model"), (["adapter"], "adapter")])
def test_what_a_training_left_is_named_where_its_folder_is_given(within, named, tmp_path):
    for name in within:
        write(tmp_path / name, **{"config" if name == "model" else "adapter_config": LLAMA})

    assert refusal(tmp_path).endswith(
        f"holds no config.json, so it is no model that transformers can load; did you mean '{tmp_path / named}'?"
    )


@pytest.mark.parametrize("block", ["model", "reward", "gold"])
def test_a_study_is_refused_before_any_model_is_loaded(block, make_study, tmp_path):
    folder = write(tmp_path / "folder", config={**LLAMA, "quantization_config": {"quant_method": "awq"}})
    judge = {block: {"name": "preference", "model": str(folder)}}
    study = make_study(**({"model": {"name": str(folder)}} if block == "model" else {"task": judge}))

    with pytest.raises(ModelError, match=f"'{folder}' holds quantised weights"):
        check_user_files(study)


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine that may be asked, and has one model."""
    with serving(Hub({("models", "have/it"): {"main": {"config.json": b"{}"}, "v1": {}}})) as found:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield found


def refusal_of(name, **settings) -> str:
    with pytest.raises(ModelError) as refused:
        check_model(name, **settings)
    return str(refused.value)


@pytest.mark.usefixtures("hub")
def test_a_model_that_a_hub_has_is_one():
    check_model("have/it")


@pytest.mark.usefixtures("hub")
def test_a_model_that_neither_this_machine_nor_a_hub_has_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert refusal_of("have/not", judge=True) == (
        f"reward model 'have/not': no such folder (looked in {tmp_path}), and no such model on the hub, or a private "
        "one that HF_TOKEN does not open"
    )


def test_a_hub_that_cannot_be_reached_is_named(hub, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)

    assert f"and not in the hub's cache, and {address} cannot be asked: " in refusal_of("have/it")


def test_a_model_that_was_fetched_before_needs_no_hub(tmp_path, monkeypatch):
    fetched = tmp_path / "models--somebody--something"
    (fetched / "refs").mkdir(parents=True)
    (fetched / "refs" / "main").write_text("0" * 40)
    (fetched / "snapshots" / ("0" * 40)).mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    check_model("somebody/something")
    assert "not in the hub's cache" in refusal_of("somebody/something@v1")


@pytest.mark.usefixtures("hub")
def test_a_revision_that_a_hub_has_not_is_named():
    check_model("have/it@v1")
    assert refusal_of("have/it@v2").endswith(", and no branch, tag or commit 'v2' of that model on the hub")


def test_without_a_hub_only_what_was_fetched_is_there():
    assert refusal_of("somebody/something").endswith(
        ", and not in the hub's cache, which is all that HF_HUB_OFFLINE allows"
    )


@pytest.mark.parametrize("name", ["models/restarants", "./models/restarants"])
def test_a_misspelt_folder_is_told_with_the_one_beside_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models", "restaurants").mkdir(parents=True)

    assert f"no such folder (looked in {tmp_path}; did you mean 'models/restaurants'?), and " in refusal_of(
        name
    )


def test_a_link_that_leads_nowhere_is_no_hub_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model").symlink_to("../base")

    assert refusal_of("./model") == (
        "model './model': a link to '../base', which is not here; put the model's folder in its place, or name another"
    )


@pytest.mark.parametrize("name", ["/nowhere/at/all", "a b", "../x"])
def test_what_can_be_no_name_on_a_hub_is_not_asked_for(name):
    assert refusal_of(name).endswith(", and no name that a model on the hub could have")


def test_a_folder_is_refused_without_torch(tmp_path):
    write(tmp_path, config={"model_type": "own", "auto_map": OWN})
    code = (
        "import sys; from ppo_tune.data.model_folders import check_model\n"
        f"try: check_model({str(tmp_path)!r})\n"
        "except ValueError as error: print(type(error).__name__, 'torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["ModelError", "False"]
