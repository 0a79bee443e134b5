"""A block of settings: frozen and strict, and it says what it names and in what it differs from another."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

Kind = Literal["file", "model", "judge", "function", "recipe"]
"""What a text of a block can name: a file; a folder or hub name of a language or reward model; a function in a file
of the user's; the recipe by which a task of ours builds its own models."""


@dataclass(frozen=True)
class Names:
    """What the texts of a field name; None where they are only text. Every text of a block is marked by one."""

    kind: Kind | None


Text = Annotated[str, Names(None)]
FileName = Annotated[str, Names("file")]
ModelName = Annotated[str, Names("model")]
JudgeName = Annotated[str, Names("judge")]
FunctionName = Annotated[str, Names("function"), Field(pattern=r".+\.py:[A-Za-z_]\w*$")]


@dataclass(frozen=True)
class Named:
    """Something outside the study file that a block names, at a place in the config such as task.reward.model."""

    place: str
    kind: Kind
    value: str

    @property
    def path(self) -> str:
        """The file or folder; a hub's name is taken for one too."""
        return self.value.rpartition(":")[0] if self.kind == "function" else self.value


FROM_LIST = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""Of a tuple: a list of a file as a frozen model holds it."""


class Block(BaseModel):
    """A frozen block of settings: unknown keys, NaN and numbers in quotes are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def names(self) -> list[Named]:
        """All files, models, functions and recipes that this block and those within it name."""
        found: list[Named] = []

        def note(named: Named) -> str:
            found.append(named)
            return named.value

        self.renamed(note)
        return found

    def renamed(self, rename: Callable[[Named], str], place: str = "") -> Self:
        """A copy in which everything named here or within has another name; `place` is the block's in the config."""
        changed = {}
        for key, field in type(self).model_fields.items():
            before = getattr(self, key)
            now = _renamed(before, _kind(field), f"{place}.{key}".lstrip("."), rename)
            if now != before:
                changed[key] = now
        return self.model_copy(update=changed)


def _renamed(value: Any, kind: Kind | None, place: str, rename: Callable[[Named], str]) -> Any:
    match value:
        case Block():
            return value.renamed(rename, place)
        case str() if kind is not None:
            return rename(Named(place, kind, value))
        case tuple():
            return tuple(_renamed(inner, kind, f"{place}.{i}", rename) for i, inner in enumerate(value))
        case Mapping():
            return {key: _renamed(inner, kind, f"{place}.{key}", rename) for key, inner in value.items()}
    return value


def _kind(field: FieldInfo) -> Kind | None:
    """What the texts of a field name, wherever in its type they stand; keys of a mapping name nothing."""
    parts = [field.annotation, *field.metadata]
    for part in parts:
        if isinstance(part, Names):
            return part.kind
        parts += get_args(part)[1:] if get_origin(part) is dict else get_args(part)
    return None


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], *, ignored: Collection[str] = ()
) -> list[str]:
    """What differs between two nested dicts, one line each: place, value before, value now.

    Places that are ignored may differ, with all that is within them.
    """
    old, new = flatten(before, now), flatten(now, before)
    return [
        f"  {place}: {_say(old, place)} before, {_say(new, place)} now"
        for place in sorted({*old, *new})
        if old.get(place, _ABSENT) != new.get(place, _ABSENT)
        and not any(f"{place}.".startswith(f"{free}.") for free in ignored)
    ]


_ABSENT = object()


def flatten(data: Any, other: Any, place: str = "") -> dict[str, Any]:
    """Nested dicts as one, with dotted keys; lists are leaves, and a dict beside something else in the other."""
    if not isinstance(data, Mapping) or not isinstance(other, Mapping):
        return {place: data}
    return {
        deeper: value
        for key, inner in data.items()
        for deeper, value in flatten(
            inner, other.get(key, inner), f"{place}.{key}" if place else str(key)
        ).items()
    }


def _say(data: Mapping[str, Any], place: str) -> str:
    return repr(data[place]) if place in data else "absent"
