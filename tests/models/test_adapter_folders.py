"""An adapter's folder, ours or PEFT's, is the merged model; what does not fit its base is refused unloaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from ppo_tune.config.model import ModelConfig
from ppo_tune.data.model_folders import UNMERGED
from ppo_tune.errors import ModelError
from ppo_tune.models import Policy, adapter_folders, load_policy, save_adapter, save_merged
from ppo_tune.models.adapter_folders import find_adapter
from ppo_tune.models.saving import ADAPTER_WEIGHTS
from tests.conftest import save_tiny_model, stir, tiny_tokenizer

CPU = torch.device("cpu")
PEFT_WARNS = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"  # peft 0.21
)
KEY = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"


def logits(model: Any) -> Tensor:
    said: Tensor = model(torch.tensor([[2, 3, 4, 5, 6]])).logits.detach()
    return said


def adapted(name: Path | str, base: str | None = None, **config: Any) -> Policy:
    adapter = find_adapter(str(name), base)
    assert adapter is not None
    return adapter.load_policy(ModelConfig(name=adapter.base, **config), CPU)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A folder with `base`, and `adapter` and `model` of a policy that learned something."""
    base = save_tiny_model(tmp_path / "base")
    policy = stir(
        load_policy(ModelConfig(name=str(base), lora_rank=3, lora_alpha=5.0, dtype="float32"), device=CPU)
    )
    save_adapter(policy, 0, tmp_path / "adapter")
    save_merged(policy, 0, tmp_path / "model")
    return tmp_path


def change(folder: Path, **facts: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **facts}), encoding="utf-8")


def change_weights(folder: Path, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    tensors = edit(load_file(folder / ADAPTER_WEIGHTS))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / ADAPTER_WEIGHTS)


def refusal(name: Path | str, base: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        find_adapter(str(name), base)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *((family, kind) for family in ("gpt2", "llama", "gpt_neox", "opt") for kind in ("lora", "rslora")),
        *((family, kind) for family in ("gpt2", "llama") for kind in ("dora", "adalora", "ia3")),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_of_ours_is_the_model_that_was_merged_to_the_bit(
    family: str, dtype: str, kind: str, tmp_path: Path
) -> None:
    base = save_tiny_model(tmp_path / "base", family)
    shape = {} if kind == "ia3" else {"lora_rank": 3, "lora_alpha": 5.0}
    config = ModelConfig.model_validate({"name": str(base), "dtype": dtype, "adapter": kind, **shape})
    policy = stir(load_policy(config, device=CPU))
    save_adapter(policy, 0, tmp_path / "adapter")
    save_merged(policy, 0, tmp_path / "model")

    merged = load_policy(ModelConfig(name=str(tmp_path / "model"), lora_rank=3, dtype="float32"), device=CPU)
    found = adapted(tmp_path / "adapter", lora_rank=3, dtype=dtype)

    states = merged.model.state_dict(), found.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert found.dtype == torch.float32
    assert torch.equal(logits(merged.model), logits(found.model))


@PEFT_WARNS
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"use_rslora": True}, id="rank-stabilized"),
        pytest.param({"alpha_pattern": {"h.0.attn.c_attn": 3}, "rank_pattern": {"c_fc": 5}}, id="patterns"),
        pytest.param({"layers_to_transform": [1]}, id="one-layer"),
        pytest.param({"init_lora_weights": "gaussian"}, id="gaussian"),
        pytest.param({"use_dora": True}, id="dora"),
    ],
)
def test_an_adapter_of_peft_says_what_peft_says_merged(options: dict[str, Any], tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = save_tiny_model(tmp_path / "base")
    lora = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=2,
        lora_alpha=7,
        target_modules=["c_attn", "c_fc"],
        fan_in_fan_out=True,
        **options,
    )
    theirs = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).eval()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    theirs.save_pretrained(tmp_path / "adapter")

    found = adapted(tmp_path / "adapter")

    assert_close(logits(found.model), logits(theirs.merge_and_unload()), atol=1e-5, rtol=1e-5)
    assert not torch.equal(logits(found.model), logits(AutoModelForCausalLM.from_pretrained(base)))


@PEFT_WARNS
@pytest.mark.parametrize("kind", ["ia3", "adalora"])
def test_an_adapter_of_another_kind_of_peft_says_what_peft_says_merged(kind: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = save_tiny_model(tmp_path / "base")
    usual = {"task_type": "CAUSAL_LM", "target_modules": ["c_attn", "mlp.c_proj"], "fan_in_fan_out": True}
    config = (
        peft.IA3Config(**usual, feedforward_modules=["mlp.c_proj"])
        if kind == "ia3"
        else peft.AdaLoraConfig(**usual, total_step=2, init_r=3, target_r=2, lora_alpha=30)
    )
    theirs = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "ia3" in name or "lora_" in name:
                weight.normal_(mean=1.0, std=0.2)
    theirs.save_pretrained(tmp_path / "adapter")

    found = adapted(tmp_path / "adapter")

    assert_close(logits(found.model), logits(theirs.merge_and_unload()), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(
        logits(found.model), logits(AutoModelForCausalLM.from_pretrained(base)), atol=0.1
    )


def test_its_base_is_another_where_it_is_given(ours: Path) -> None:
    (ours / "base").rename(ours / "elsewhere")

    message = refusal(ours / "adapter")

    assert message.startswith(f"model '{ours / 'base'}': no such folder (looked in ")
    assert message.endswith(f"; it is the base of adapter '{ours / 'adapter'}': name where it lies by `base`")
    found = adapted(ours / "adapter", str(ours / "elsewhere"), lora_rank=3)
    merged = AutoModelForCausalLM.from_pretrained(ours / "model")
    assert_close(logits(found.model), logits(merged), atol=1e-5, rtol=1e-5)


def test_its_own_tokenizer_is_used_where_it_has_one(ours: Path) -> None:
    without = find_adapter(str(ours / "adapter"))
    tiny_tokenizer().save_pretrained(ours / "adapter")
    own = find_adapter(str(ours / "adapter"))

    assert without is not None and without.tokenizer == str(ours / "base")
    assert own is not None and own.tokenizer == str(ours / "adapter")


def test_a_whole_model_is_none_and_has_no_base(ours: Path) -> None:
    assert find_adapter(str(ours / "model")) is None
    assert refusal(ours / "model", "base") == (
        f"model folder '{ours / 'model'}' is a whole model, so it has no base 'base'; leave base out"
    )


def test_what_is_nowhere_is_told_before_a_hub_is_asked_for_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(adapter_folders, "json_folder", None)

    assert refusal("no/where") == (
        f"model 'no/where': no such folder (looked in {tmp_path}), and not in the hub's cache, which is all that "
        "HF_HUB_OFFLINE allows"
    )


def test_a_folder_with_both_is_left_to_whoever_loads_it(ours: Path) -> None:
    (ours / "adapter" / "model.safetensors").write_bytes((ours / "model" / "model.safetensors").read_bytes())

    assert find_adapter(str(ours / "adapter")) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"n_embd": 32},
            "whose 'transformer.h.0.attn.c_attn' has an input of 32 numbers, where the adapter has 16",
        ),
        ({"n_layer": 1}, "which has no linear layer 'transformer.h.1.attn.c_attn' that can have one"),
        (
            {"n_inner": 20},
            "whose 'transformer.h.0.mlp.c_fc' has an output of 20 numbers, where the adapter has 64",
        ),
    ],
)
def test_a_wrong_base_is_refused_before_any_weight_is_read(
    changes: dict[str, Any], why: str, ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = save_tiny_model(ours / "wrong", **changes)
    monkeypatch.setattr(adapter_folders, "load_language_model", None)
    monkeypatch.setattr(adapter_folders, "load_file", None)

    assert refusal(ours / "adapter", str(wrong)) == (
        f"adapter '{ours / 'adapter'}' does not fit its base, model folder '{wrong}', {why}; name the model that it "
        "was made of by `base`"
    )


def test_a_base_that_is_no_language_model_is_told_with_whose_base_it_is(ours: Path) -> None:
    message = refusal(ours / "adapter", str(ours / "adapter"))

    assert "holds an adapter of" in message
    assert message.endswith(f"it is the base of adapter '{ours / 'adapter'}': name where it lies by `base`")


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"peft_type": "VERA"}, "a VERA adapter"),
        ({"layer_replication": [[0, 2]], "use_qalora": True}, "a LoRA with use_qalora, layer_replication"),
        ({"init_lora_weights": "pissa_niter_4"}, "a LoRA with init_lora_weights: pissa_niter_4"),
    ],
)
def test_what_is_none_of_those_that_can_be_merged_is_refused(
    facts: dict[str, Any], what: str, ours: Path
) -> None:
    change(ours / "adapter", **facts)

    assert refusal(ours / "adapter") == (
        f"adapter '{ours / 'adapter'}' is {what}, and only plain LoRA, DoRA, AdaLoRA, IA³ and prefixes are read; merge "
        "it first: load it by peft, then merge_and_unload() and save_pretrained() to a new folder"
    )


def test_what_cannot_be_merged_is_not_to_be_merged(ours: Path) -> None:
    change(ours / "adapter", peft_type="PROMPT_TUNING")

    assert refusal(ours / "adapter") == (
        f"adapter '{ours / 'adapter'}' is a PROMPT_TUNING adapter, and only plain LoRA, DoRA, AdaLoRA, IA³ and "
        "prefixes are read; what PROMPT_TUNING learns cannot be merged into a model's weights, so give an adapter of a "
        "kind that is read, or a whole model"
    )


def test_every_kind_without_merging_in_peft_is_known() -> None:
    tuners = pytest.importorskip("peft.mapping").PEFT_TYPE_TO_TUNER_MAPPING

    assert {kind.value for kind, tuner in tuners.items() if not hasattr(tuner, "merge_and_unload")} <= {
        *UNMERGED
    }
    assert {*UNMERGED} <= {kind.value for kind in tuners}


def test_an_adapter_that_names_no_base_is_told(ours: Path) -> None:
    change(ours / "adapter", base_model_name_or_path=None)

    assert refusal(ours / "adapter") == (
        f"adapter '{ours / 'adapter'}' does not name the model that it was made of; name it by `base`"
    )


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        pytest.param(
            lambda found: {**found, "base_model.model.lm_head.weight": torch.ones(16, 16)},
            "holds 'base_model.model.lm_head.weight', which is no LoRA of a linear layer; merge it first: ",
            id="a-whole-layer",
        ),
        pytest.param(
            lambda found: {name: tensor for name, tensor in found.items() if name != KEY},
            f"holds {KEY.replace('_A', '_B')!r} and no other half that fits it; save it again by peft",
            id="half",
        ),
        pytest.param(
            lambda found: {**found, KEY: found[KEY][:2]},
            f"holds {KEY!r} and no other half that fits it; save it again by peft",
            id="other-ranks",
        ),
    ],
)
def test_weights_that_are_no_whole_lora_are_refused(
    edit: Callable[[dict[str, Tensor]], dict[str, Tensor]], told: str, ours: Path
) -> None:
    change_weights(ours / "adapter", edit)

    assert refusal(ours / "adapter").startswith(f"adapter '{ours / 'adapter'}' {told}")


def test_weights_that_are_missing_or_torn_are_told(ours: Path) -> None:
    path = ours / "adapter" / ADAPTER_WEIGHTS
    path.write_bytes(path.read_bytes()[:50])
    torn = refusal(ours / "adapter")
    path.unlink()

    assert torn.startswith(f"adapter '{ours / 'adapter'}': its adapter_model.safetensors cannot be read: ")
    assert refusal(ours / "adapter") == (
        f"adapter '{ours / 'adapter'}' holds no adapter_model.safetensors, and weights in another format are not read; "
        "save it again by peft"
    )
