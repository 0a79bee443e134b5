"""What a model says of itself in its JSON files, and whether there is one: before any weight is read.

Knows nothing of torch, and asks transformers only where a folder brings code of its own.
"""

import json
import os
from collections.abc import Container, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ppo_tune.data.hub import problem_of_hub_name
from ppo_tune.errors import ModelError
from ppo_tune.files import did_you_mean

CONFIG, ADAPTER, TOKENIZER = "config.json", "adapter_config.json", "tokenizer_config.json"

WHOLE_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""Patterns of the files that hold the weights of a whole model."""

LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "MTModel")
"""How the classes of models that can be trained end, as far as a name can tell."""

WAY_OUT = "name one whose config.json says ...ForCausalLM or ...LMHeadModel"

MERGE = "merge it first: load it by peft, then merge_and_unload() and save_pretrained() to a new folder"
"""What to do with an adapter where only a whole model will do."""

UNMERGED = (
    "PREFIX_TUNING", "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "CPT", "CARTRIDGE", "ADAPTION_PROMPT",
    "LILY", "POLY", "SHADOW", "XLORA",
)  # fmt: skip
"""Kinds of PEFT's adapters that no weights of a model stand for, by the name in their config."""

OPENING = ("decoder_start_token_id", "forced_bos_token_id")
"""How configs call the tokens that the decoder of an encoder–decoder is given before a response."""

Facts = dict[str, Any]


def can_be_merged(adapter: Mapping[str, Any]) -> bool:
    """Whether weights of a model can stand for what an adapter of this config learns."""
    return adapter.get("peft_type") not in UNMERGED


def merging(adapter: Mapping[str, Any], *, instead: str = "name a whole model") -> str:
    """What to do with an adapter of this config where only a whole model will do, or `instead` if it has no merging."""
    if can_be_merged(adapter):
        return MERGE
    return f"what {adapter['peft_type']} learns cannot be merged into a model's weights, so {instead}"


def called(name: str, *, judge: bool = False) -> str:
    """How messages call a model by its folder or hub name."""
    if judge:
        return f"reward model {name!r}"
    if Path(name).is_dir():
        return f"model folder {name!r}"
    return f"model {name!r} (no such folder, so taken as a hub name)"


def check_model(name: str, *, judge: bool = False) -> None:
    """All that can be known of a model without loading anything: what its folder says, or whether a hub has it.

    Raises:
        ModelError: If the folder cannot be used, or it is no folder and no model that could be fetched.
    """
    if Path(name).is_dir():
        check_folder(Path(name), called(name, judge=judge), judge=judge)
    else:
        check_hub(name, judge=judge)


def check_hub(name: str, *, judge: bool = False) -> None:
    """Whether a hub has a model that is no folder; it is asked once and briefly.

    Raises:
        ModelError: If it has not, or there is no hub.
    """
    what = "reward model" if judge else "model"
    if Path(name).is_symlink():
        raise ModelError(
            f"{what} {name!r}: a link to {os.readlink(name)!r}, which is not here; put the model's folder in its "
            "place, or name another"
        )
    problem = problem_of_hub_name(name, "model")
    if problem:
        near = did_you_mean(Path(name), Path.is_dir)
        raise ModelError(f"{what} {name!r}: no such folder (looked in {Path.cwd()}{near}), and {problem}")


def check_chat_template(name: str, *, asked_by: str) -> None:
    """A folder's tokenizer must have a chat template where a setting asks for it; a hub's is not asked here.

    Raises:
        ModelError: If it has none.
    """
    folder = Path(name)
    facts = read_facts(folder / TOKENIZER, called(name))
    files = (folder / "chat_template.jinja", folder / "additional_chat_templates")
    if facts is not None and not facts.get("chat_template") and not any(file.exists() for file in files):
        raise ModelError(missing_chat_template(name, asked_by=asked_by))


def missing_chat_template(name: str, *, asked_by: str) -> str:
    """The sentence for a tokenizer without a chat template."""
    if asked_by in ("sft", "reward"):  # of conversations, for which there is no other template
        way_out = (
            "name a base that has one (--base), such as ppo-tune sft makes of conversations without a base"
        )
    elif asked_by == "task.name":  # conversations that are not the user's
        way_out = "the prompts of this task are conversations, so name a chat model, or save one with it"
    else:
        way_out = "save one with it, or write the turns yourself in a `template`"
    return f"{asked_by}: the tokenizer of {name!r} has no chat template; {way_out}"


def check_folder(
    folder: Path, model: str, *, judge: bool = False, kinds: Container[str] | None = None
) -> None:
    """Refuse a folder that holds an adapter, quantised weights, code of its own or another kind of model.

    Args:
        folder: Where the model's JSON files lie.
        model: How messages call it.
        judge: Whether it is to judge texts; else it is to write them.
        kinds: The kinds of models that transformers knows; None where finding out would load torch.

    Raises:
        ModelError: With the reason and the way out.
    """
    config, adapter = read_facts(folder / CONFIG, model), read_facts(folder / ADAPTER, model)
    if adapter is not None:
        _check_adapter(folder, adapter, model, judge=judge)
    elif config is None:
        raise ModelError(
            f"{model} holds no {CONFIG}, so it is no model that transformers can load{_within(folder)}"
        )
    config = config or {}
    if judge and config.get("is_encoder_decoder"):
        raise ModelError(unread_judge(model))
    _check_weights(config, model)
    _check_code(config, read_facts(folder / TOKENIZER, model) or {}, model, kinds)
    _check_opening(config, model)
    if not judge:
        check_kind(config.get("architectures"), model)


def unread_judge(model: str) -> str:
    """The sentence for an encoder–decoder that is to judge texts."""
    return f"{model} is an encoder–decoder, which is not read as a judge yet; name an encoder or a decoder"


def _within(folder: Path) -> str:
    """Which folder within a folder holds a model, such as what a training leaves, as the end of a sentence."""
    found = [child.parent for name in (CONFIG, ADAPTER) for child in sorted(folder.glob(f"*/{name}"))]
    return f"; did you mean {str(found[0])!r}?" if found else ""


def check_kind(architectures: Any, model: str, *, known: bool = True) -> None:
    """Refuse what is no language model that can be trained.

    Args:
        architectures: Names of the classes that it was saved from, where its config says so.
        model: How messages call it.
        known: Whether transformers knows a language model of this kind.

    Raises:
        ModelError: If it is another kind of model.
    """
    classes = _names(architectures)
    kind = classes[0] if classes else "model of another kind"
    if not known or any(not name.endswith(LANGUAGE_MODELS) for name in classes):
        raise ModelError(
            f"{model} holds a {kind}, not a causal language model or encoder–decoder; {WAY_OUT}, or a T5 or BART"
        )


def _names(architectures: Any) -> list[str]:
    return [str(name) for name in architectures] if isinstance(architectures, list) else []


def read_facts(path: Path, model: str) -> Facts | None:
    """What a JSON file beside a model says, or None where there is none; messages call the model so."""
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{model}: its {path.name} cannot be read as JSON ({error})") from error
    if not isinstance(facts, dict):
        raise ModelError(f"{model}: its {path.name} must hold an object, but holds a {type(facts).__name__}")
    return facts


def base_of(folder: Path, model: str) -> str | None:
    """What an adapter's folder says that it was made of, a folder or a hub name; None for a whole model.

    Raises:
        ModelError: If it does not say that.
    """
    facts = read_facts(folder / ADAPTER, model)
    if facts is None:
        return None
    base = facts.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"{model} holds an adapter that does not name the model it was made of; {merging(facts)}"
        )
    return base


def _check_adapter(folder: Path, adapter: Facts, model: str, *, judge: bool) -> None:
    """Whether transformers reads an adapter depends on peft, and what was made of it is no whole model."""
    if any(any(folder.glob(pattern)) for pattern in WHOLE_WEIGHTS):
        raise ModelError(
            f"{model} holds a whole model and an adapter ({ADAPTER}), so what it says depends on who reads it; "
            f"{merging(adapter)}, or take the adapter out of the folder"
        )
    if not judge:
        base = adapter.get("base_model_name_or_path")
        raise ModelError(f"{model} holds an adapter of {base!r} and no whole model; {merging(adapter)}")
    if find_spec("peft") is None:
        way_out = f", or {MERGE}" if can_be_merged(adapter) else ""
        raise ModelError(
            f"{model} holds an adapter, which is read by peft, and peft is not installed; run: pip install "
            f"peft{way_out}"
        )


def _check_weights(config: Facts, model: str) -> None:
    tag = config.get("quantization_config")
    if tag is not None:
        method = tag.get("quant_method", "unknown") if isinstance(tag, dict) else tag
        raise ModelError(
            f"{model} holds quantised weights (quantization_config in its {CONFIG}, by {method}), which are neither "
            "trained nor merged; name the model that they were made from"
        )


def _check_opening(config: Facts, model: str) -> None:
    """Of the tokens that open a response transformers does not always ask whether they are numbers."""
    size = config.get("vocab_size")
    for name in OPENING:
        number = config.get(name)
        if number is not None and type(number) is not int:
            what = (
                f"the number of a token, 0 to {size - 1}"
                if isinstance(size, int)
                else "the number of a token"
            )
            raise ModelError(
                f"{model}: {name} in its {CONFIG} must be {what}, but is {number!r}; correct it there"
            )


def _check_code(config: Facts, tokenizer: Facts, model: str, kinds: Container[str] | None) -> None:
    """Code in a model's folder is never run; many folders bring some beside a class that transformers has."""
    if "auto_map" not in config and "auto_map" not in tokenizer:
        return
    import transformers  # only here, for it takes a second

    theirs = set(dir(transformers))
    classes = _names(config.get("architectures"))
    known = bool(classes) and theirs.issuperset(classes)
    known = known and (kinds is None or str(config.get("model_type")) in kinds)
    if "auto_map" in config and not known:
        raise _own_code(model, CONFIG)
    words = tokenizer.get("tokenizer_class")
    reads = known if words is None else str(words).removesuffix("Fast") in theirs
    if "auto_map" in tokenizer and not reads:
        raise _own_code(model, TOKENIZER)


def _own_code(model: str, file: str) -> ModelError:
    return ModelError(
        f"{model} brings code of its own (auto_map in its {file}), which is never run; name a model of a kind that "
        "transformers knows by itself"
    )
