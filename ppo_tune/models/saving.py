"""One trial's adapters in PEFT's own format, and merged into an ordinary model folder."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from ppo_tune.files import read_json, write_json
from ppo_tune.models.adapters import Adapters, LayerAdapters
from ppo_tune.models.policy import Policy

ADAPTER_WEIGHTS = "adapter_model.safetensors"
VALUE_HEAD = "value_head.safetensors"


def save_adapter(policy: Policy, place: int, folder: Path) -> None:
    """Write one trial's adapters as PEFT would, with the value head beside them.

    `peft.PeftModel.from_pretrained(base, folder)` reads the folder. Whether it does so as it is meant is found out by
    `read_back`, which loads the model a second time: after a training, and not after every trial of a search.
    """
    adapters = policy.adapters
    assert adapters is not None, "a policy without adapters is saved merged"
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"{adapters.peft_prefix}{name}": tensor.contiguous()
        for name, tensor in adapters.to_peft(place).items()
    }
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    save_file(_value_head(policy.rows.split(place)), folder / VALUE_HEAD)
    config = {
        **adapters.peft_config(place),
        **(_targets(policy.model, adapters, place) if isinstance(adapters, LayerAdapters) else {}),
        "task_type": policy.layout.task_type,
        "base_model_name_or_path": policy.model.name_or_path,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def load_adapter(policy: Policy, place: int, folder: Path) -> None:
    """Read what `save_adapter` wrote into one place of a policy of the same shape."""
    adapters = policy.adapters
    assert adapters is not None
    weights, head = load_file(folder / ADAPTER_WEIGHTS), load_file(folder / VALUE_HEAD)
    tensors = {f"value_head.{name}": tensor for name, tensor in head.items()}
    tensors |= adapters.from_peft({name.removeprefix(adapters.peft_prefix): w for name, w in weights.items()})
    policy.rows.fill(place, tensors)


def save_merged(policy: Policy, place: int, folder: Path) -> None:
    """Write one trial as an ordinary Hugging Face folder: model, tokenizer and the value head."""
    save_whole(policy.model, folder, policy.adapters, place)
    policy.tokenizer.save_pretrained(folder)
    save_file(_value_head(policy.rows.split(place)), folder / VALUE_HEAD)


@torch.no_grad()
def save_whole(model: PreTrainedModel, folder: Path, adapters: Adapters | None, place: int = 0) -> None:
    """Write a model with the adapters of a place merged into it.

    The weights are float32 whatever the model's dtype: what an adapter adds to a weight in few steps is less than the
    step between two bfloat16 numbers, and would be rounded away.
    """
    state = {name: _exact(tensor) for name, tensor in model.state_dict().items()}
    if adapters is not None:
        adapters.merge(state, place)
    model.save_pretrained(folder, state_dict=state)
    config = read_json(folder / "config.json")  # it names the dtype of the model in memory
    write_json(folder / "config.json", _with_dtype(config, "float32"))


def _exact(tensor: Tensor) -> Tensor:
    """A copy in main memory, float32 where it was shorter."""
    short = tensor.dtype in (torch.bfloat16, torch.float16)
    return tensor.detach().to("cpu", torch.float32 if short else tensor.dtype, copy=True)


def _with_dtype(config: Any, dtype: str) -> Any:
    """A config whose parts all name this dtype, by which a loader goes."""
    if not isinstance(config, dict):
        return config
    return {key: dtype if key == "dtype" else _with_dtype(value, dtype) for key, value in config.items()}


def _targets(model: PreTrainedModel, adapters: LayerAdapters, place: int) -> dict[str, Any]:
    """What PEFT's config says of the layers."""
    is_lora = adapters.peft_config(place)["peft_type"] == "LORA"
    by_weight = _taken_for_experts(model, adapters.layers) if is_lora else set()
    return {
        "fan_in_fan_out": not any(isinstance(layer, torch.nn.Linear) for layer in adapters.layers.values()),
        "target_modules": sorted(adapters.layers.keys() - by_weight),
        **({"target_parameters": sorted(f"{name}.weight" for name in by_weight)} if by_weight else {}),
    }


def _taken_for_experts(model: PreTrainedModel, layers: Iterable[str]) -> set[str]:
    """Layers that peft would take for experts, and leave out, if they were named as modules.

    transformers keeps the experts of a layer in one weight and collects them under their old names when it loads a
    model; peft takes every module that bears one of these names for an expert, in dense layers and shared experts
    too. Named by their weights they are read as they are.
    """
    changes = get_checkpoint_conversion_mapping(model.config.model_type) or ()
    patterns = [pattern for change in changes for pattern in change.source_patterns if "*" in pattern]
    names = {part for pattern in patterns for part in pattern.split(".")}
    return {layer for layer in layers if layer.rpartition(".")[2] in names}


def _value_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "value_head."
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
