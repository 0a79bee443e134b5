"""From a folder or hub name to a tokenizer and a policy; refuses what is not a causal language model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ppo_tune.config import ModelConfig
from ppo_tune.errors import ModelError
from ppo_tune.models.kernels import settle
from ppo_tune.models.policy import Policy

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MIN_WIDTH = 256
"""Width from which bfloat16 pays, measured on CPUs with AVX512-BF16; see benchmarks/README.md."""


def best_device() -> torch.device:
    """The first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_policy(
    config: ModelConfig,
    *,
    default_name: str | None = None,
    places: int = 1,
    device: torch.device | None = None,
) -> Policy:
    """Load a language model and make a policy of it.

    Args:
        config: Which model, and how much of it is trained.
        default_name: The folder to use when the config names none: the task's own model.
        places: How many trials it is to hold.
        device: Where to put it; None takes the first GPU, or the CPU.

    Returns:
        The policy; every place starts as the reference.

    Raises:
        ModelError: If the model cannot be loaded, is not a causal language model, or lacks weights.
    """
    name = config.name or default_name
    assert name is not None, "the study file demands a model name where the task brings none"
    tokenizer = load_tokenizer(name)
    device = device or best_device()
    all_weights = config.lora_rank is None
    dtype = DTYPES.get(config.dtype) or best_dtype(_width(name), device, all_weights=all_weights)
    model = settle(load_causal_lm(name, torch.float32 if all_weights else dtype), device)
    return Policy(
        model, tokenizer, places=places, lora_rank=config.lora_rank, lora_alpha=config.lora_alpha, dtype=dtype
    )  # fmt: skip


def best_dtype(width: int, device: torch.device, *, all_weights: bool) -> torch.dtype:
    """bfloat16 where the processor multiplies it faster and the model is wide enough to gain, else float32.

    Args:
        width: Of the model's layers; below `MIN_WIDTH` products are not what takes the time.
        device: Where the model will work.
        all_weights: Whether they are trained and stay float32: casting them costs a CPU what it gains.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        fast = not all_weights and any(able.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if fast and width >= MIN_WIDTH else torch.float32


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder or hub name.

    A missing pad token is no obstacle: padding is masked, whatever its id.

    Raises:
        ModelError: If there is none.
    """
    with _refused(f"{_kind_of_place(name)} has no usable tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
        if len(tokenizer) <= len(tokenizer.all_special_ids):  # made of nothing but the kind of model
            raise ValueError("it has no vocabulary; save the tokenizer beside the model")
    return tokenizer


def load_causal_lm(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load a causal language model with all of its weights.

    Raises:
        ModelError: If the name holds something else, or part of the weights is missing.
    """
    refusal = f"{_kind_of_place(name)} cannot be loaded as a causal language model"
    with _refused(refusal):
        architectures = AutoConfig.from_pretrained(name).architectures
    _check_architectures(name, architectures)
    return load_whole(AutoModelForCausalLM, name, refusal, dtype=dtype)


def load_whole(auto: Any, name: str, refusal: str, **settings: Any) -> PreTrainedModel:
    """Load a model with all of its weights; transformers would make up those that it does not find.

    Args:
        auto: The class of transformers that loads this kind of model.
        name: A folder or hub name.
        refusal: How the error begins.
        settings: What `from_pretrained` is told besides.

    Raises:
        ModelError: If the model cannot be loaded, or a weight is missing or of another size.
    """
    with _refused(refusal):
        model: PreTrainedModel
        model, info = auto.from_pretrained(
            name, output_loading_info=True, ignore_mismatched_sizes=True, **settings
        )
        if missing := sorted(info["missing_keys"]):
            raise ValueError(
                f"it lacks weights ({', '.join(missing[:3])}, ...), for it was saved from another kind of "
                f"model; save it with {auto.__name__}.save_pretrained"
            )
        if misfits := sorted(key for key, *_ in info["mismatched_keys"]):
            raise ValueError(f"weights are not of the size in config.json ({', '.join(misfits[:3])}, ...)")
    return model


def _width(name: str) -> int:
    with _refused(f"{_kind_of_place(name)} cannot be loaded as a causal language model"):
        width: int = AutoConfig.from_pretrained(name).get_text_config(decoder=True).hidden_size
    return width


@contextmanager
def _refused(refusal: str) -> Iterator[None]:
    """What transformers says of a folder that it cannot read becomes the end of our error."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{refusal}: {_first_line(error)}") from error


def _check_architectures(name: str, architectures: list[str] | None) -> None:
    for architecture in architectures or ():
        if not architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
            raise ModelError(
                f"{_kind_of_place(name)} holds a {architecture}, not a causal language model; name one "
                "whose config.json says ...ForCausalLM or ...LMHeadModel"
            )


def _kind_of_place(name: str) -> str:
    if Path(name).is_dir():
        return f"model folder {name!r}"
    return f"model {name!r} (no such folder, so taken as a hub name)"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
