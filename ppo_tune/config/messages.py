"""Pydantic's errors in our words: the place in the user's file, the rule, the value and the way out."""

import difflib
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

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


def mistakes(
    error: ValidationError, checked: Any, data: Any, place: Path_ = ()
) -> Iterator[tuple[Path_, str]]:
    """What an error about data says in our words, each with its place in the file; for the arguments see `say`."""
    for details in error.errors():
        inner = place_of(details, data)
        yield (*place, *inner), say(details, checked, place, inner)


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


def say(details: ErrorDetails, checked: Any, place: Path_, inner: Path_ = ()) -> str:
    """One of pydantic's errors in our words: the rule, the value, the way out.

    `checked` is the type that the data was to have, `place` where the data stands in the file, and `inner` where in
    that data the error is, left out for a single value.
    """
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    name = str((*place, *inner)[-1])
    if kind in SIGNS:
        sign, key = SIGNS[kind]
        return f"`{name} {sign} {context[key]:g}` must hold, but got {value!r}"
    if kind == "extra_forbidden":
        return unknown(name, _keys_at(checked, details["loc"][:-1]))
    if kind in ("literal_error", "union_tag_invalid"):
        listed = str(context.get("expected") or context["expected_tags"]).replace(" or ", ", ")
        choices = [choice.strip(" '") for choice in listed.split(",")]
        tag = str(context.get("discriminator")).strip("'")
        if isinstance(value, dict) and value.get(tag) is None:
            return f"a {tag} is missing; choose one of {', '.join(sorted(choices))}"
        return unknown(context.get("tag", value), choices)
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


def _keys_at(kind: Any, path: Path_) -> Iterable[str]:
    """The keys that may stand at a path with pydantic's union tags, in data of a type."""
    for part in path:
        kind = _within(kind, part)
    (model,) = _models(kind)
    return model.model_fields


def _within(kind: Any, part: int | str) -> Any:
    """The type one step further: the member of a union by its tag, a field's, or what a mapping or list holds."""
    models = _models(kind)
    if len(models) > 1:
        tagged = (m for m in models if any(part in get_args(f.annotation) for f in m.model_fields.values()))
        return next(tagged)
    if models:
        return models[0].model_fields[str(part)].annotation
    container = next(one for one in _alternatives(kind) if get_origin(one) in (dict, tuple))
    return get_args(container)[get_origin(container) is dict]


def _models(kind: Any) -> list[type[BaseModel]]:
    return [one for one in _alternatives(kind) if isinstance(one, type) and issubclass(one, BaseModel)]


def _alternatives(kind: Any) -> list[Any]:
    """The members of a union, or the type itself, without what they are annotated with."""
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [one for member in get_args(kind) for one in _alternatives(member)]
    return [kind]
