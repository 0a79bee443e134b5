"""An adapter in a folder of PEFT's format, ours or another's: checked against its base and merged into it.

Both are known by their JSON files and the shapes of their weights before any weight is read. A prefix cannot be merged,
and is put before what its base writes. What is no prefix and no LoRA, DoRA, AdaLoRA or IA³ of linear layers is refused:
peft alone knows what it means.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils.hub import cached_file

from ppo_tune.calling import argument
from ppo_tune.config.model import ModelConfig
from ppo_tune.data.hub import pretrained
from ppo_tune.data.model_folders import (
    ADAPTER,
    MERGE,
    TOKENIZER,
    WHOLE_WEIGHTS,
    called,
    check_hub,
    check_model,
    merging,
    read_facts,
)
from ppo_tune.errors import ModelError
from ppo_tune.models.adapters import ADAPTER_PREFIX
from ppo_tune.models.dora import MAGNITUDE, give_lengths
from ppo_tune.models.fast.kernels import settle
from ppo_tune.models.fast.linear import layer_shape, weight_of
from ppo_tune.models.ia3 import rescale
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.loading import (
    dtype_of_products,
    first_line,
    json_folder,
    load_config,
    load_language_model,
    load_tokenizer,
)
from ppo_tune.models.policy import Policy
from ppo_tune.models.prefix import BLOCK as PREFIX
from ppo_tune.models.prefix import Prefix
from ppo_tune.models.saving import ADAPTER_WEIGHTS, VALUE_HEAD

OTHER_KINDS = (
    "use_qalora", "use_bdlora", "alora_invocation_tokens", "layer_replication", "arrow_config",
    "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip
"""Options of PEFT's LoRA that make it another function than x·(W + s·AB), by the name in its config; DoRA aside."""

LORA, ADALORA, VECTOR = ("lora_A.weight", "lora_B.weight"), ("lora_A", "lora_B", "lora_E"), "ia3_l"
"""PEFT's names for what a layer has of an adapter: matrices of LoRA, those of AdaLoRA with factors, and IA³'s."""

KEEPS_BASE = (True, False, None, "gaussian", "orthogonal", "eva")
"""Initializations that leave the base's weights as they are."""


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter that fits its base.

    Attributes:
        name: Its folder or hub name.
        base: That of the model it was made of.
        tokenizer: That of the tokenizer it was made with: its own, or the base's.
        weights: The file of its weights.
        scales: What each adapted layer's product of both matrices is multiplied by, by the layer's name; 1 of factors.
        prefix: Tokens of a prefix, and numbers of a token's key; None of adapters of layers.
    """

    name: str
    base: str
    tokenizer: str
    weights: Path
    scales: Mapping[str, float]
    prefix: tuple[int, int] | None = None

    def load_policy(self, config: ModelConfig, device: torch.device) -> Policy:
        """The base with the adapter merged into it, as the model folder of a training holds it, or behind the prefix.

        Args:
            config: Its dtype is that in which the base was read, and is rounded to; what is merged is float32.
            device: Where to put it.

        Raises:
            ModelError: If the base cannot be loaded, or a prefix does not fit it.
        """
        if self.prefix is not None:
            return self._behind_prefix(config, device, *self.prefix)
        all_weights = config.lora_rank is None
        dtype = dtype_of_products(self.base, config.dtype, device, all_weights=all_weights)
        model = load_language_model(self.base, torch.float32 if all_weights else dtype).float()
        self._merge_into(model)
        tokenizer, settled = load_tokenizer(self.tokenizer), settle(model, device)
        return Policy(settled, tokenizer, config)

    @torch.no_grad()
    def _behind_prefix(self, config: ModelConfig, device: torch.device, length: int, width: int) -> Policy:
        """The base behind the prefix, as it was trained."""
        dtype = dtype_of_products(self.base, config.dtype, device, all_weights=False)
        model = settle(load_language_model(self.base, dtype), device)
        shape = ModelConfig(adapter="prefix", prefix_length=length)
        policy = Policy(model, load_tokenizer(self.tokenizer), shape)
        assert isinstance(policy.adapters, Prefix)
        try:
            numbers = policy.adapters.from_peft(load_file(self.weights))
        except ValueError:
            numbers = {}
        if policy.adapters.width != width or not numbers:
            raise _misfit(f"adapter {self.name!r}", self.base, "whose layers or keys are others")
        for name, tensor in numbers.items():
            policy.rows[name][0].copy_(tensor)
        return policy

    @torch.no_grad()
    def _merge_into(self, model: PreTrainedModel) -> None:
        tensors = load_file(self.weights)
        for layer, scale in self.scales.items():
            module: Any = model.get_submodule(layer)
            weight, factors = weight_of(module), tensors.get(_key(layer, VECTOR))
            if factors is not None:
                rescale(weight, module.bias, factors.float())
                continue
            # As (in, R) and (R, out), for so a training multiplies them, and to the same bits.
            factors = tensors.get(_key(layer, ADALORA[2]))
            a, b = (
                tensors[_key(layer, part)].float().T.contiguous()
                for part in (LORA if factors is None else ADALORA[:2])
            )
            b = b if factors is None else factors.float() * b
            weight += (scale * (a @ b)).T
            lengths = tensors.get(_key(layer, MAGNITUDE))
            if lengths is not None:
                give_lengths(weight, lengths.float())


def find_adapter(name: str, base: str | None = None) -> AdapterFolder | None:
    """The adapter that a folder or hub name holds, with its base; None for a whole model.

    Args:
        name: A folder or hub name.
        base: That of the base; None for the one that the adapter names.

    Raises:
        ModelError: If there is nothing of that name, a base is given for a whole model, or an adapter is none that can
            be merged here, its base is missing, or it does not fit its base.
    """
    if not Path(name).is_dir():
        check_hub(name)
    folder = json_folder(name)
    facts = None if folder is None else read_facts(folder / ADAPTER, called(name))
    if folder is None or facts is None:
        if folder is not None and base is not None:
            raise ModelError(f"{called(name)} is a whole model, so it has no base {base!r}; leave base out")
        return None
    if any(any(folder.glob(pattern)) for pattern in WHOLE_WEIGHTS):
        return None  # both a model and an adapter, which is refused when it is loaded
    adapter = f"adapter {name!r}"
    _check_kind(facts, adapter)
    base = base or facts.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"{adapter} does not name the model that it was made of; name it by {argument('base')}"
        )
    try:
        check_model(base)
    except ModelError as error:
        raise ModelError(
            f"{error}; it is the base of {adapter}: name where it lies by {argument('base')}"
        ) from error
    shapes, weights = _shapes(name, adapter)
    if facts["peft_type"] == "PREFIX_TUNING":
        prefix = _prefix(shapes, facts, adapter)
        return AdapterFolder(name, base, _tokenizer_of(name, base, folder), weights, {}, prefix)
    _check_shapes(shapes, base, adapter, _parts(facts), every_block=_is_of_every_block(facts, folder))
    ranks = {
        _split(key)[0]: shape[0]
        for key, shape in sorted(shapes.items())
        if _split(key)[1] in (LORA[0], ADALORA[0], VECTOR)
    }
    scales = {layer: _scale(facts, layer, rank) for layer, rank in ranks.items()}
    return AdapterFolder(name, base, _tokenizer_of(name, base, folder), weights, scales)


def _tokenizer_of(name: str, base: str, folder: Path) -> str:
    return name if (folder / TOKENIZER).is_file() else base


def _prefix(shapes: Mapping[str, list[int]], facts: Mapping[str, Any], adapter: str) -> tuple[int, int]:
    """How many tokens a prefix is for, by its one tensor, (n, 2 · layers · heads · D), and heads · D."""
    parts = [facts.get(name) for name in ("num_layers", "token_dim")]
    layers, width = (part if isinstance(part, int) else 0 for part in parts)
    shape = shapes.get(PREFIX, [])
    if shapes.keys() != {PREFIX} or len(shape) != 2 or shape[1] != 2 * layers * width:
        raise ModelError(
            f"{adapter} holds no {PREFIX!r} alone of the shape that its adapter_config.json says; save it again by peft"
        )
    return shape[0], width


def _key(layer: str, part: str) -> str:
    return f"{ADAPTER_PREFIX}{layer}.{part}"


def _split(key: str) -> tuple[str, str]:
    """The layer that a tensor is of, and which part of its adapter it is; both empty where it is no adapter's."""
    match = re.fullmatch(rf"{re.escape(ADAPTER_PREFIX)}(.+)\.({'|'.join(map(re.escape, WIDE))})", key)
    return ("", "") if match is None else (match[1], match[2])


def _check_kind(facts: Mapping[str, Any], adapter: str) -> None:
    kind = facts.get("peft_type")
    others = [option for option in OTHER_KINDS if facts.get(option)]
    start = facts.get("init_lora_weights")
    if start not in KEEPS_BASE:
        others.append(f"init_lora_weights: {start}")
    if kind in ("ADALORA", "IA3", "PREFIX_TUNING"):
        return
    if kind != "LORA" or others:
        what = f"a {kind} adapter" if kind != "LORA" else f"a LoRA with {', '.join(others)}"
        way_out = merging(facts, instead="give an adapter of a kind that is read, or a whole model")
        raise ModelError(
            f"{adapter} is {what}, and only plain LoRA, DoRA, AdaLoRA, IA³ and prefixes are read; {way_out}"
        )


def _parts(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What a layer has of an adapter with this config."""
    if facts["peft_type"] != "LORA":
        return (VECTOR,) if facts["peft_type"] == "IA3" else ADALORA
    return (*LORA, MAGNITUDE) if facts.get("use_dora") else LORA


def _shapes(name: str, adapter: str) -> tuple[dict[str, list[int]], Path]:
    """The shapes of an adapter's tensors, and the file they are in."""
    try:
        repo, where = pretrained(name)
        found = cached_file(repo, ADAPTER_WEIGHTS, **where)
        assert found is not None, "a file that is not there is an error"
        with safe_open(found, framework="pt") as file:
            return {key: file.get_slice(key).get_shape() for key in file.keys()}, Path(found)  # noqa: SIM118
    except OSError:
        raise ModelError(
            f"{adapter} holds no {ADAPTER_WEIGHTS}, and weights in another format are not read; save it again by peft"
        ) from None
    except SafetensorError as error:
        raise ModelError(f"{adapter}: its {ADAPTER_WEIGHTS} cannot be read: {first_line(error)}") from error


def _is_of_every_block(facts: Mapping[str, Any], folder: Path) -> bool:
    """Whether an adapter is of all blocks of its base: ours, and one whose layers are named without numbers."""
    if facts.get("layers_to_transform") is not None or facts.get("exclude_modules"):
        return False
    targets = facts.get("target_modules")
    numberless = isinstance(targets, list) and not any(re.search(r"\d", str(target)) for target in targets)
    return numberless or (folder / VALUE_HEAD).is_file()


def _check_shapes(
    shapes: Mapping[str, list[int]], base: str, adapter: str, parts: tuple[str, ...], *, every_block: bool
) -> None:
    """Every tensor must be part of an adapter of a linear layer that the base has; of every block's, if it is so.

    Raises:
        ModelError: If one is not.
    """
    layers = _linear_layers(base)
    for key, shape in shapes.items():
        layer, part = _split(key)
        if part not in parts or len(shape) != WIDE[part] or (part == VECTOR and 1 not in shape):
            kind = "IA³" if VECTOR in parts else "LoRA"
            raise ModelError(f"{adapter} holds {key!r}, which is no {kind} of a linear layer; {MERGE}")
        if layer not in layers:
            raise _misfit(adapter, base, f"which has no linear layer {layer!r} that can have one")
        every = {name: shapes[_key(layer, name)] for name in parts if _key(layer, name) in shapes}
        ranks = {each[RANKED[name]] for name, each in every.items() if name in RANKED}
        if len(every) < len(parts) or (part in RANKED and len(ranks) > 1):
            raise ModelError(f"{adapter} holds {key!r} and no other half that fits it; save it again by peft")
        reads = part in (LORA[0], ADALORA[0]) or (part == VECTOR and shape[0] == 1)
        if part != ADALORA[2] and shape[reads] != layers[layer][not reads]:
            width = f"an {'input' if reads else 'output'} of {layers[layer][not reads]} numbers"
            raise _misfit(adapter, base, f"whose {layer!r} has {width}, where the adapter has {shape[reads]}")
    adapted = {_split(key)[0] for key in shapes}
    kinds = {_NUMBER.sub("*", layer) for layer in adapted}
    left_out = (layer for layer in layers if layer not in adapted and _NUMBER.sub("*", layer) in kinds)
    if every_block and (beyond := next(left_out, None)):
        raise _misfit(adapter, base, f"which has a layer {beyond!r}, where the adapter has none")


WIDE = {**dict.fromkeys((*LORA, *ADALORA, VECTOR), 2), MAGNITUDE: 1}
"""How many axes each part has."""

RANKED = {name: int(name.startswith("lora_B")) for name in (*LORA, *ADALORA)}
"""Which of them is as wide as the rank."""

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
"""The number of a block in the name of a layer."""


def _misfit(adapter: str, base: str, why: str) -> ModelError:
    way_out = f"name the model that it was made of by {argument('base')}"
    return ModelError(f"{adapter} does not fit its base, {called(base)}, {why}; {way_out}")


def _linear_layers(base: str) -> dict[str, tuple[int, int]]:
    """The widths of input and output of a model's linear layers, by its config; those that share a weight left out."""
    with torch.device("meta"):
        model = layout_of(config := load_config(base)).auto.from_config(config, trust_remote_code=False)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return {
        name: layer_shape(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and id(module.weight) not in embeddings
    }


def _scale(facts: Mapping[str, Any], layer: str, rank: int) -> float:
    """Alpha over the rank, over its root in rank-stabilized LoRA, over the initial one in AdaLoRA; 1 in IA³.

    PEFT's defaults stand where nothing is said.
    """
    if facts["peft_type"] == "IA3":
        return 1.0
    if facts["peft_type"] == "ADALORA":
        return float(facts.get("lora_alpha") or 8) / float(facts.get("init_r") or 12)
    patterns: Mapping[str, float] = facts.get("alpha_pattern") or {}
    own = (alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", layer))
    alpha = float(next(own, facts.get("lora_alpha") or 8))
    return alpha / math.sqrt(rank) if facts.get("use_rslora") else alpha / rank
