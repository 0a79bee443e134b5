"""Pydantic's errors in our words: the place in the user's file, the rule, the value and the way out."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from ppo_tune.config.blocks import (
    Block,
    DatasetTaskConfig,
    LengthRule,
    ModelConfig,
    PPOConfig,
    PreferenceRewardConfig,
    PythonRewardConfig,
    ReferenceRewardConfig,
    RuleRewardConfig,
    SearchConfig,
    SupportTaskConfig,
)
from ppo_tune.config.space import CategoricalParam, FloatParam, IntParam
from ppo_tune.config.strict_yaml import Path_


def place_of(details: ErrorDetails, data: Any) -> Path_:
    """Where an error about `data` stands in it: pydantic's path without its union tags."""
    path: list[int | str] = []
    for part in details["loc"]:
        if (isinstance(data, dict) and part in data) or isinstance(part, int):
            path.append(part)
            data = data[part]
    if details["type"] == "missing":
        path.append(details["loc"][-1])
    return tuple(path)


_NAMES_OF_TYPES = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "text",
    "dict": "a mapping",
    "model": "a mapping",
    "model_attributes": "a mapping",
    "tuple": "a list",
    "list": "a list",
}
SIGNS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}


_SENTENCES = {
    "missing": "is missing",
    "union_tag_not_found": "{discriminator} must be given",
    "finite_number": "must be finite, but got {value!r}",
    "too_short": "must hold at least {min_length}, but got {value!r}",
    "value_error": "{error}",
    "int_from_float": "must be a whole number, but got {value!r}",
    "string_pattern_mismatch": "must look like path/to/file.py:function, but got {value!r}",
}


def say(details: ErrorDetails, place: Path_, inner: Path_ = ()) -> str:
    """One of pydantic's errors in our words: the rule, the value, the way out.

    Args:
        details: The error.
        place: Where the data that was checked stands in the file.
        inner: Where in that data the error is; left out for a single value.
    """
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    name = str((*place, *inner)[-1])
    if kind in SIGNS:
        sign, key = SIGNS[kind]
        return f"`{name} {sign} {context[key]}` must hold, but got {value!r}"
    if kind == "extra_forbidden":
        return unknown(name, _fields_at((*place, *details["loc"][:-1])))
    if kind in ("literal_error", "union_tag_invalid"):
        choices = str(context.get("expected") or context["expected_tags"]).replace(" or ", ", ")
        return unknown(context.get("tag", value), [choice.strip(" '") for choice in choices.split(",")])
    if kind in _SENTENCES:
        return _SENTENCES[kind].format(value=value, **context)
    expected = _NAMES_OF_TYPES.get(kind.removesuffix("_type"))
    if expected:
        quoted = "; write it without quotes" if isinstance(value, str) and expected.endswith("number") else ""
        return f"must be {expected}, but got {value!r}{quoted}"
    return f"{details['msg']}, but got {value!r}"


def unknown(name: Any, choices: Iterable[str], *, kind: str = "") -> str:
    """The message for a name that is not one of `choices`, with a did-you-mean."""
    choices = list(choices)
    close = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else f"; choose one of {', '.join(sorted(choices))}"
    return f"unknown {kind + ' ' if kind else ''}{name!r}{hint}"


_BLOCKS: dict[int | str, type[BaseModel]] = {
    "task": Block,
    "model": ModelConfig,
    "ppo": PPOConfig,
    "search": SearchConfig,
    "length": LengthRule,
    "float": FloatParam,
    "int": IntParam,
    "categorical": CategoricalParam,
    "support": SupportTaskConfig,
    "dataset": DatasetTaskConfig,
    "rule": RuleRewardConfig,
    "preference": PreferenceRewardConfig,
    "python": PythonRewardConfig,
    "reference": ReferenceRewardConfig,
}
"""The model behind each key or union tag that an error's path can go through."""


def _fields_at(place: Path_) -> Iterable[str]:
    """The keys that may stand at `place`, a path with pydantic's union tags."""
    around = [_BLOCKS[part] for part in place if part in _BLOCKS]
    return around[-1].model_fields
