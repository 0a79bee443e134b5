"""From a folder or hub name to a tokenizer and a policy; refuses what is no language model that can be trained."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from ppo_tune.config.model import ModelConfig
from ppo_tune.data.hub import HubName, pretrained
from ppo_tune.data.model_folders import (
    ADAPTER,
    CONFIG,
    TOKENIZER,
    WAY_OUT,
    base_of,
    called,
    check_folder,
    check_kind,
    check_model,
)
from ppo_tune.errors import ModelError
from ppo_tune.models.fast.kernels import settle
from ppo_tune.models.kinds import layout_of
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
    adapters_vary: bool = False,
) -> Policy:
    """Load a language model and make a policy of it.

    Args:
        config: Which model, and how much of it is trained.
        default_name: The folder to use when the config names none: the task's own model.
        places: How many trials it is to hold.
        device: Where to put it; None takes the first GPU, or the CPU.
        adapters_vary: Whether trials may have a smaller rank than the config's, and another alpha.

    Returns:
        The policy; every place starts as the reference.

    Raises:
        ModelError: If the model cannot be loaded, is no language model, or lacks weights.
    """
    name = config.name or default_name
    assert name is not None, "the study file demands a model name where the task brings none"
    device = device or best_device()
    all_weights = config.lora_rank is None
    dtype = dtype_of_products(name, config.dtype, device, all_weights=all_weights)
    tokenizer = load_tokenizer(name)
    model = settle(load_language_model(name, torch.float32 if all_weights else dtype), device)
    return Policy(model, tokenizer, config, places=places, adapters_vary=adapters_vary, dtype=dtype)


def dtype_of_products(name: str, wanted: str, device: torch.device, *, all_weights: bool) -> torch.dtype:
    """The format in which a model's products are had: the wanted one, or for `auto` the best by its width.

    Raises:
        ModelError: If it is no language model.
    """
    width = getattr(load_config(name).get_text_config(decoder=True), "hidden_size", 0)
    return DTYPES.get(wanted) or best_dtype(width, device, all_weights=all_weights)


def best_dtype(width: int, device: torch.device, *, all_weights: bool) -> torch.dtype:
    """bfloat16 where the processor multiplies it faster and the model is wide enough to gain, else float32.

    Below `MIN_WIDTH` products are not what takes the time. Where all weights are trained they stay float32, and casting
    them costs a CPU what it gains.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        fast = not all_weights and any(able.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if fast and width >= MIN_WIDTH else torch.float32


def is_stored_whole(name: str) -> bool:
    """Whether a model's weights are stored in float32, by its config; one that does not say so is of old, and they are.

    Raises:
        ModelError: If it is no language model.
    """
    return load_config(name).dtype in (None, torch.float32)


def check_files(name: str, *, judge: bool = False) -> None:
    """Refuse a model, a language model or a judge of texts, by its JSON files alone: before its tokenizer or a weight.

    Raises:
        ModelError: If it holds an adapter, quantised weights, code of its own or another kind of model.
    """
    folder = json_folder(name)
    if folder is not None:
        check_folder(folder, called(name, judge=judge), judge=judge, kinds=CONFIG_MAPPING)


def json_folder(name: str) -> Path | None:
    """Where the JSON files of a model lie on this disk; None if there are none or the hub cannot be asked."""
    return Path(name) if Path(name).is_dir() else _from_hub(name)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder or hub name.

    A missing pad token is no obstacle: padding is masked, whatever its id.

    Raises:
        ModelError: If there is none.
    """
    with _refused(f"{called(name)} has no usable tokenizer"):
        repo, where = pretrained(name)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            repo, **where, trust_remote_code=False
        )
        if len(tokenizer) <= len(tokenizer.all_special_ids):  # made of nothing but the kind of model
            raise ValueError("it has no vocabulary; save the tokenizer beside the model")
    return tokenizer


def load_language_model(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load a language model of any kind that can be trained, with all of its weights.

    Raises:
        ModelError: If the name holds something else, or part of the weights is missing.
    """
    layout = layout_of(skeleton(name).config)  # what is wrong with it is told before a weight is read
    return load_whole(layout.auto, name, f"{called(name)} cannot be loaded as {layout.kind}", dtype=dtype)


def _check_stop_ids(model: PreTrainedModel, name: str) -> None:
    named = getattr(model.generation_config, "eos_token_id", None)
    if not all(isinstance(number, int | None) for number in (named if isinstance(named, list) else [named])):
        raise ModelError(
            f"{called(name)}: eos_token_id in its generation_config.json must be the number of a token or a list of "
            f"such numbers, but is {named!r}"
        )


def load_whole(auto: Any, name: str, refusal: str, **settings: Any) -> PreTrainedModel:
    """Load a model by a class of transformers; that would make up the weights that it does not find.

    Raises:
        ModelError: If the model cannot be loaded, or a weight is missing or of another size; begins with `refusal`.
    """
    check_files(name, judge=auto is AutoModelForSequenceClassification)
    with _refused(refusal):
        model: PreTrainedModel
        repo, where = pretrained(name)
        model, info = auto.from_pretrained(
            repo,
            **where,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            **settings,
        )
        if missing := sorted(info["missing_keys"]):
            raise ValueError(
                f"it lacks weights ({', '.join(missing[:3])}, ...), for it was saved from another kind of "
                f"model; save it with {auto.__name__}.save_pretrained"
            )
        if misfits := sorted(key for key, *_ in info["mismatched_keys"]):
            raise ValueError(f"weights are not of the size in config.json ({', '.join(misfits[:3])}, ...)")
    return model


def skeleton(name: str) -> PreTrainedModel:
    """A language model by its config alone: its modules and sizes without any weight, on torch's meta device.

    Raises:
        ModelError: If the name holds something else, or its files name tokens that it does not have.
    """
    config = load_config(name)
    layout = layout_of(config)
    refusal = f"{called(name)} cannot be loaded as {layout.kind}"
    with _refused(refusal), torch.device("meta"):
        model: PreTrainedModel = layout.auto.from_config(config)
    with _refused(refusal), suppress(OSError):  # not every folder has one
        repo, where = pretrained(name)
        model.generation_config = GenerationConfig.from_pretrained(repo, **where, trust_remote_code=False)
    _check_stop_ids(model, name)
    layout.check(model)
    return model


def judge_skeleton(name: str) -> PreTrainedModel:
    """The same of a judge of texts, a sequence classifier; where its files are here, names and sizes of weights too.

    Raises:
        ModelError: If the name holds something else, or a weight is missing or of another size.
    """
    check_files(name, judge=True)
    refusal = f"{called(name, judge=True)} cannot be loaded"
    base = _base_of_judge(name)
    if base is None and Path(name).is_dir():  # of the files only the beginning is read, without any weight
        return load_whole(AutoModelForSequenceClassification, name, refusal, device_map="meta")
    with _refused(refusal), torch.device("meta"):
        repo, where = pretrained(base or name)
        config = AutoConfig.from_pretrained(repo, **where, trust_remote_code=False)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    return model


def _base_of_judge(name: str) -> str | None:
    """What a judge that is an adapter was made of, a folder or hub name that is there; None for a whole model.

    Raises:
        ModelError: If it does not say so, or there is no such model.
    """
    folder = json_folder(name)
    base = None if folder is None else base_of(folder, called(name, judge=True))
    if base is not None:
        try:
            check_model(base, judge=True)
        except ModelError as error:
            raise ModelError(f"{error}; it is the base of {called(name, judge=True)}") from error
    return base


@cache
def _from_hub(name: str) -> Path | None:
    """Where the JSON files of a hub's model lie on this disk; None if there are none or the hub cannot be asked."""
    found = []
    repo, revision = HubName.of(name)
    for file in (CONFIG, ADAPTER, TOKENIZER):
        with suppress(OSError, ValueError):  # loading will say what is the matter
            found.append(cached_file(repo, file, revision=revision))
    return next((Path(path).parent for path in found if path is not None), None)


def load_config(name: str) -> PretrainedConfig:
    """The config of a language model; whatever is none is refused before its tokenizer or a weight is read."""
    check_files(name)
    with _refused(f"{called(name)} cannot be loaded as a language model"):
        repo, where = pretrained(name)
        config: PretrainedConfig = AutoConfig.from_pretrained(repo, **where, trust_remote_code=False)
    check_kind(config.architectures, called(name), known=type(config) in layout_of(config).known)
    return config


def require_decoder(name: str) -> None:
    """Refuse an encoder–decoder where only decoder-only models are read.

    Raises:
        ModelError: If it is one, or no language model.
    """
    config = load_config(name)
    if config.is_encoder_decoder:
        raise ModelError(
            f"{called(name)} holds an encoder–decoder ({type(config).__name__.removesuffix('Config')}), and only "
            f"decoder-only models become reward models; {WAY_OUT}"
        )


@contextmanager
def _refused(refusal: str) -> Iterator[None]:
    """What transformers says of a folder that it cannot read becomes the end of our error.

    Within it nothing but transformers is at work, and a broken file or a missing package may raise anything there.
    """
    try:
        yield
    except Exception as error:
        raise ModelError(f"{refusal}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What an error says first, up to the end of a sentence that goes on in the next line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines or isinstance(error, KeyError):  # whose text is the key alone
        return f"{type(error).__name__} {''.join(lines)}".strip()
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
