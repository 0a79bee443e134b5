"""One trial's adapters in PEFT's own format, and merged into an ordinary model folder."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ppo_tune.models.policy import Policy

ADAPTER_WEIGHTS = "adapter_model.safetensors"
VALUE_HEAD = "value_head.safetensors"
_PREFIX = "base_model.model."


def save_adapter(policy: Policy, place: int, folder: Path) -> None:
    """Write one trial's adapters as PEFT would, with the value head beside them.

    Args:
        policy: A policy with adapters.
        place: Which of its trials.
        folder: Made if need be; `peft.PeftModel.from_pretrained(base, folder)` reads it.
    """
    adapters = policy.adapters
    assert adapters is not None, "a policy without adapters is saved merged"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = policy.rows.split(place)
    weights = {}
    for name in adapters.layers:
        weights[f"{_PREFIX}{name}.lora_A.weight"] = tensors[f"{name}.A"].T.contiguous()
        weights[f"{_PREFIX}{name}.lora_B.weight"] = tensors[f"{name}.B"].T.contiguous()
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    save_file(_value_head(tensors), folder / VALUE_HEAD)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": policy.model.name_or_path,
        "r": adapters.rank,
        "lora_alpha": adapters.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": not any(isinstance(layer, torch.nn.Linear) for layer in adapters.layers.values()),
        "inference_mode": True,
        "target_modules": sorted(adapters.layers),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def load_adapter(policy: Policy, place: int, folder: Path) -> None:
    """Read what `save_adapter` wrote into one place of a policy of the same shape."""
    adapters = policy.adapters
    assert adapters is not None
    weights, head = load_file(folder / ADAPTER_WEIGHTS), load_file(folder / VALUE_HEAD)
    tensors = {f"value_head.{name}": tensor for name, tensor in head.items()}
    for name in adapters.layers:
        tensors[f"{name}.A"] = weights[f"{_PREFIX}{name}.lora_A.weight"].T
        tensors[f"{name}.B"] = weights[f"{_PREFIX}{name}.lora_B.weight"].T
    policy.rows.fill(place, tensors)


@torch.no_grad()
def save_merged(policy: Policy, place: int, folder: Path) -> None:
    """Write one trial as an ordinary Hugging Face folder: model, tokenizer and the value head.

    Args:
        policy: The policy.
        place: Which of its trials.
        folder: Made if need be; `AutoModelForCausalLM.from_pretrained(folder)` reads it.
    """
    state: dict[str, Tensor] = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    if policy.adapters is not None:
        for name, layer in policy.adapters.layers.items():
            delta = policy.adapters.delta(name, place)
            weight = state[f"{name}.weight"]
            transposed = isinstance(layer, torch.nn.Linear)
            state[f"{name}.weight"] = (weight.float() + (delta.T if transposed else delta)).to(weight.dtype)
    policy.model.save_pretrained(folder, state_dict=state)
    policy.tokenizer.save_pretrained(folder)
    save_file(_value_head(policy.rows.split(place)), folder / VALUE_HEAD)


def _value_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "value_head."
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
