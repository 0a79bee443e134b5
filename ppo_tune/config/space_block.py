"""The blocks `space` and `constraints` beside the others: what is searched may be, and is set nowhere else."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ppo_tune.calling import command
from ppo_tune.config.constraints import Constraint
from ppo_tune.config.messages import say, unknown
from ppo_tune.config.model import ADAPTER_FIELDS, RANKLESS, ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.ranges import Param
from ppo_tune.config.reader import Reader
from ppo_tune.config.searchable import NOT_SEARCHABLE, SEARCHABLE
from ppo_tune.config.searched import constraints_of, possible_values, with_conditions


def read_space(reader: Reader, ppo: PPOConfig, model: ModelConfig | None) -> dict[str, Param]:
    """The legal parameters of the space block; problems are noted."""
    data = reader.data.get("space")
    if not isinstance(data, dict) or not data:
        reader.add(
            ("space",),
            f"at least one hyperparameter must be searched; for a single config use {command('train')}",
        )
        return {}
    found = {}
    for name, value in data.items():
        block = "model" if name in ADAPTER_FIELDS else "ppo"
        fixed = reader.data.get(block, {})
        if name in NOT_SEARCHABLE:
            reader.add(("space", name), f"cannot be searched: it {NOT_SEARCHABLE[name]}")
        elif name not in SEARCHABLE:
            reader.add(("space", name), unknown(name, SEARCHABLE))
        elif isinstance(fixed, dict) and name in fixed:
            line = reader.document.line(("space", name))
            at = "" if line is None else f" (line {line})"
            reader.add((block, name), f"stands in {block} and in space{at}; keep one")
        if name in ADAPTER_FIELDS and model is not None and model.adapter in RANKLESS:
            rule = f"cannot be searched: adapter: {model.adapter} has neither rank nor alpha"
            reader.add(("space", name), f"{rule}; leave it out, or take adapter: lora")
            continue
        param = reader.validated(("space", name), Param, value)
        if param is not None and name in SEARCHABLE:
            _check_values(reader, name, param)
            found[name] = param
    if "lora_alpha" in found and "lora_rank" not in found and model is not None and model.lora_rank is None:
        reader.add(
            ("space", "lora_alpha"),
            "scales the adapters, and without any (model.lora_rank: null) it decides nothing; set a lora_rank, or "
            "leave it out",
        )
    unread = [name for name in (*PPOConfig.model_fields, *data) if name in data or not reader.is_right(name)]
    found, wrong = with_conditions(found, fixed_values(ppo, model), unread)
    reader.add_all(wrong)
    return found


def fixed_values(ppo: PPOConfig, model: ModelConfig | None) -> dict[str, Any]:
    """The values of all hyperparameters where they are not searched."""
    adapters = (model or ModelConfig()).model_dump(include=set(ADAPTER_FIELDS))
    return {**ppo.model_dump(), **adapters}


def read_constraints(
    reader: Reader, space: Mapping[str, Param], fixed: Mapping[str, Any]
) -> tuple[Constraint, ...]:
    """The legal constraints; problems are noted."""
    listed = reader.data.get("constraints")
    if listed is None:
        return ()
    searched = reader.data.get("space")
    found, wrong = constraints_of(listed, space, fixed, searched if isinstance(searched, dict) else ())
    reader.add_all(wrong)
    return found


def _check_values(reader: Reader, name: str, param: Param) -> None:
    """Every end and choice is legal for its field; the first that is not is told."""
    always = param.model_copy(update={"when": {}})
    block = ModelConfig if name in ADAPTER_FIELDS else PPOConfig
    for value in (*possible_values(always, None), *(() if param.default is None else (param.default,))):
        if name == "lora_rank" and value is None:
            reader.add(
                ("space", name),
                "null trains all weights, which shares no pack with adapters; make a study of its own of it",
            )
            return
        try:
            block.model_validate({name: value})
        except ValidationError as error:
            reader.add(("space", name), say(error.errors()[0], block, ("space", name)))
            return
