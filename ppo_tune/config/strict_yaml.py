"""YAML without surprises: plain data, the line of every key, and every mistake at once.

A file may hold mappings, lists and scalars of YAML 1.2 (`1e-5` is a number). Duplicate keys, aliases and
tags are mistakes. Knows nothing of what the keys mean.
"""

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode

from ppo_tune.errors import ConfigError, Problem
from ppo_tune.files import did_you_mean

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
TAG_PREFIX = "tag:yaml.org,2002:"
NOT_TEXT = {f"{TAG_PREFIX}{kind}" for kind in ("int", "float", "bool", "null")}

Path_ = tuple[str | int, ...]


class Document:
    """What a text says.

    It is made of the parser's events rather than of ruamel's nodes, because only they still tell an alias from what it
    stands for and a tag that was written from one that was guessed.

    Attributes:
        data: Dicts, lists and scalars; None in place of a value that cannot be used.
        lines: Line, from 1, of every key and list item, by its path from the top.
        problems: Mistakes of form. Of a key that stands twice, the data holds the first value.
        unread: Places of the values that cannot be used.

    Raises:
        YAMLError: If it is not a single document of YAML 1.2.
    """

    def __init__(self, text: str) -> None:
        self._yaml = YAML(typ="safe", pure=True)
        self._events: Iterator[Any] = self._yaml.parse(text)
        self.lines: dict[Path_, int] = {}
        self.problems: list[Problem] = []
        self.unread: set[Path_] = set()
        self.data = self._document()

    def line(self, place: Path_) -> int | None:
        """The line of `place`, or of the closest thing around it."""
        for end in range(len(place), 0, -1):
            if place[:end] in self.lines:
                return self.lines[place[:end]]
        return None

    def _document(self) -> Any:
        next(self._events)  # the stream starts
        start = next(self._events)
        if isinstance(start, events.StreamEndEvent):
            return {}
        if start.version not in (None, (1, 2)):  # in YAML 1.1, `no` is false and `010` is 8
            what = "YAML 1.2 is required, but the file says %YAML " + ".".join(map(str, start.version))
            raise MarkedYAMLError(problem=what, problem_mark=start.start_mark)
        data = self._value(next(self._events), ())
        next(self._events)  # the document ends
        end = next(self._events)
        if not isinstance(end, events.StreamEndEvent):
            what = "expected a single document, but another one starts here"
            raise MarkedYAMLError(problem=what, problem_mark=end.start_mark)
        return data

    def _value(self, event: Any, place: Path_) -> Any:
        """The data that starts with `event`; None after noting why it cannot be used."""
        what = _misuse(event)
        if isinstance(event, events.CollectionStartEvent) and len(place) == MAX_DEPTH:
            what = f"`depth <= {MAX_DEPTH}` must hold"
        if what:
            self.unread.add(place)
            return self._refuse(event, place, what)
        if isinstance(event, events.MappingStartEvent):
            return self._mapping(place)
        if isinstance(event, events.SequenceStartEvent):
            return self._list(place)
        return self._scalar(event, place)

    def _mapping(self, place: Path_) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for event in self._parts():
            what, inner = _misuse(event), place
            if isinstance(event, events.CollectionStartEvent):
                what = "a key must be plain text, not a mapping or a list"
            elif not what:
                inner = (*place, event.value)
                first = self.lines.get(inner)
                what = f"this key stands here and on line {first}; keep one" if first else None
            if what:
                self._refuse(event, inner, what)
                self._skip(next(self._events))
                continue
            self.lines[inner] = _line(event)
            data[event.value] = self._value(next(self._events), inner)
        return data

    def _list(self, place: Path_) -> list[Any]:
        data = []
        for i, event in enumerate(self._parts()):
            self.lines[*place, i] = _line(event)
            data.append(self._value(event, (*place, i)))
        return data

    def _scalar(self, event: Any, place: Path_) -> Any:
        tag = self._yaml.resolver.resolve(ScalarNode, event.value, event.implicit)
        if str(tag) not in NOT_TEXT:  # text, or a date, which we take as text
            return event.value
        try:
            return self._yaml.constructor.construct_object(ScalarNode(tag, event.value))
        except (ValueError, IndexError):  # 5000 digits, which Python refuses, or `-_`, on which ruamel trips
            self.unread.add(place)
            return self._refuse(event, place, "looks like a number and is none; put quotes around text")

    def _parts(self) -> Iterator[Any]:
        """The first event of each part of the collection that has just started; the caller reads the rest."""
        return takewhile(lambda event: not isinstance(event, events.CollectionEndEvent), self._events)

    def _refuse(self, event: Any, place: Path_, what: str) -> None:
        self.problems.append(Problem(dotted(place), what, _line(event)))
        self._skip(event)

    def _skip(self, event: Any, depth: int = 0) -> None:
        if depth > MAX_DEPTH:  # give up: the parser's time grows with the square of the depth
            raise YAMLError("nested too deeply")
        if isinstance(event, events.CollectionStartEvent):
            for part in self._parts():
                self._skip(part, depth + 1)


def is_yaml(path: Path) -> bool:
    """Whether this is a file whose name says that it is YAML."""
    return path.suffix.lower() in (".yaml", ".yml") and path.is_file()


def read_yaml(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: If the file cannot be read at all: missing, too large, not UTF-8, or not YAML 1.2.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            what = f"`size <= {MAX_BYTES} bytes` must hold, but got {size}"
            raise ConfigError([Problem("", what)], str(path))
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = did_you_mean(path, is_yaml)
        raise ConfigError([Problem("", f"no such file (looked in {Path.cwd()}){near}")], str(path)) from None
    except UnicodeDecodeError as error:
        what = f"the file must be UTF-8, but byte {error.start} is not; save it as UTF-8"
        raise ConfigError([Problem("", what)], str(path)) from None
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}")], str(path)) from None
    try:
        return Document(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        what = f"not valid YAML: {error.problem or error.context}"
        raise ConfigError([Problem("", what, line)], str(path)) from None
    except (YAMLError, ValueError, OverflowError) as error:  # "\U00110000" is a bare ValueError
        raise ConfigError([Problem("", f"not valid YAML: {error}")], str(path)) from None


def _misuse(event: Any) -> str | None:
    """What is wrong with an event wherever it stands."""
    if isinstance(event, events.AliasEvent):
        return "aliases (*name) are not allowed; write the value out"
    if event.tag is not None:
        written = event.tag.replace(TAG_PREFIX, "!!")
        return f"tags are not allowed, but got {written}; write a plain value"
    return None


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def dotted(place: Path_) -> str:
    """A path as a person writes it: `space.learning_rate.low`."""
    return ".".join(map(str, place))
