"""Every block that a study or a training file can hold, found by its types, with an example of each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ppo_tune.config.block import Block, Kind, Names
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig


def blocks_in(kind: Any) -> list[type[Block]]:
    """The blocks that a type names itself: the members of a union, or what a list or mapping holds."""
    if isinstance(kind, type) and issubclass(kind, Block):
        return [kind]
    return [block for part in get_args(kind) for block in blocks_in(part)]


def all_blocks() -> list[type[Block]]:
    """Those of both kinds of file, each once."""
    found: list[type[Block]] = [StudyConfig, TrainConfig]
    for block in found:
        inner = [one for field in block.model_fields.values() for one in blocks_in(field.annotation)]
        found += [one for one in dict.fromkeys(inner) if one not in found]
    return found


def tag_of(block: type[Block]) -> dict[str, Any]:
    """What tells a member of a union from the others; nothing for a block that stands alone."""
    field = block.model_fields.get("name")
    return (
        {"name": get_args(field.annotation)[0]} if field and get_origin(field.annotation) is Literal else {}
    )


def within(
    root: type[Block], data: dict[str, Any] | None = None
) -> Iterator[tuple[dict[str, Any], type[Block]]]:
    """Each block at each place where a file can hold it: the file's data as far as it leads there, with its class."""
    yield {**tag_of(root), **(data or {})}, root
    for key, field in root.model_fields.items():
        for block in blocks_in(field.annotation):
            for inner, member in within(block):
                yield {**tag_of(root), key: held(field, inner)}, member


def held(field: FieldInfo, inner: Any) -> Any:
    """What a field holds, with one block in it."""
    origins = {get_origin(part) for part in (field.annotation, *get_args(field.annotation))}
    return {"one": inner} if dict in origins else [inner] if tuple in origins else inner


def member_of(field: FieldInfo, data: dict[str, Any]) -> type[Block]:
    """The block of a field that data is of, by its tag."""
    blocks = blocks_in(field.annotation)
    return next(block for block in blocks if len(blocks) == 1 or tag_of(block)["name"] == data["name"])


def kinds_of(field: FieldInfo) -> set[Kind]:
    """All that the texts of a field name."""
    parts = [field.annotation, *field.metadata]
    for part in parts:
        parts += get_args(part)
    return {part.kind for part in parts if isinstance(part, Names) and part.kind is not None}


class Examples:
    """Valid data for any block, with files to name; all that may name something does.

    Args:
        folder: For the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_files = 0

    def of(self, block: type[Block], **given: Any) -> dict[str, Any]:
        """The data of a block."""
        data = {**tag_of(block), **given}
        for key, field in block.model_fields.items():
            if key not in data and (
                field.is_required() or kinds_of(field) or get_origin(field.annotation) is dict
            ):
                data[key] = self._value(field)
        return data

    def along(self, root: type[Block], path: dict[str, Any]) -> dict[str, Any]:
        """The data of a block that holds others as a path of `within` says."""
        given = {}
        for key, inner in path.items():
            if isinstance(inner, dict | list):
                field, nested = root.model_fields[key], self._nested(inner)
                found = self.along(member_of(field, nested), nested)
                given[key] = held(field, found)
        return self.of(root, **given)

    @staticmethod
    def _nested(inner: dict[str, Any] | list[Any]) -> dict[str, Any]:
        """The block within what a field holds."""
        found = inner[0] if isinstance(inner, list) else inner.get("one", inner)
        assert isinstance(found, dict)
        return found

    def _value(self, field: FieldInfo) -> Any:
        kinds = kinds_of(field)
        if kinds:
            return self._made(*kinds)
        blocks = blocks_in(field.annotation)
        if blocks:
            return held(field, self.of(blocks[-1]))
        return (
            {"word": 1.0}
            if get_origin(field.annotation) is dict
            else 1
            if field.annotation is int
            else "text"
        )

    def _made(self, kind: Kind) -> str:
        """Something of a kind that nothing else is called."""
        self.n_files += 1
        name = f"{kind}{self.n_files}"
        if kind == "file":
            rows = (json.dumps({"prompt": f"prompt {i}"}) for i in range(200))
            (self.folder / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
            return f"{name}.jsonl"
        if kind == "function":
            (self.folder / f"{name}.py").write_text("def score(**_):\n    return []\n", encoding="utf-8")
            return f"{name}.py:score"
        assert kind in ("model", "judge")
        (self.folder / name).mkdir()
        facts = {"model_type": "llama", "architectures": [_ARCHITECTURES[kind]]}
        (self.folder / name / "config.json").write_text(json.dumps(facts), encoding="utf-8")
        return name


_ARCHITECTURES = {"model": "LlamaForCausalLM", "judge": "LlamaForSequenceClassification"}
