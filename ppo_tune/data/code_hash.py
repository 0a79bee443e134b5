"""What an object of Python does, as a hash: its code and the plain values that it uses.

Lines, comments and names of files are no part of it. Functions and classes of the object's own module are looked into;
those of others count by their names, and so does whatever is no plain value: a model, a file, a connection.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

PLAIN = (bool, int, float, complex, str, bytes, type(None))

_first: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""What each object hashed to when it was first seen: one that counts its calls stays what it is."""


def code_hash(value: Any) -> str:
    """SHA-256 of what an object does, as it was when it was first seen."""
    try:
        known = _first.get(value)
    except TypeError:  # it cannot be a key
        return _hash(value)
    if known is None:
        known = _first[value] = _hash(value)
    return known


def _hash(value: Any) -> str:
    whole = hashlib.sha256()
    for part in _Walk(value).parts(value):
        whole.update(f"{part}\0".encode())
    return whole.hexdigest()


class _Walk:
    """One walk through an object and what it uses; nothing is looked into twice."""

    def __init__(self, root: Any) -> None:
        while isinstance(root, functools.partial | MethodType):
            root = root.func if isinstance(root, functools.partial) else root.__func__
        self.root = root
        self.home = root.__module__ if isinstance(root, FunctionType | type) else type(root).__module__
        self.seen: dict[int, Any] = {}

    def parts(self, value: Any) -> Iterator[str]:
        """What tells a value from others, piece by piece."""
        if isinstance(value, PLAIN):
            yield f"{type(value).__name__} {value!r}"
        elif id(value) in self.seen:
            yield "seen"
        else:
            self.seen[id(value)] = value
            yield from self._parts(value)

    def _parts(self, value: Any) -> Iterator[str]:
        match value:
            case list() | tuple() | Mapping():
                yield f"{type(value).__name__} of {len(value)}"
                for inner in value.items() if isinstance(value, Mapping) else value:
                    yield from self.parts(inner)
            case set() | frozenset():
                yield f"set of {sorted(map(repr, value))}"
            case MethodType() | functools.partial() | staticmethod() | classmethod() | property():
                yield from self.parts(_wrapped(value))
            case CodeType():
                yield from self._code(value)
            case FunctionType() if self._is_own(value):
                yield from self._function(value)
            case type() if self._is_own(value):
                yield value.__qualname__
                yield from self.parts(
                    {name: one for name, one in vars(value).items() if _is_written(name, one)}
                )
            case _:
                yield from self._object(value)

    def _object(self, value: Any) -> Iterator[str]:
        """An object by its name, else by that of its class; one of the root's module by what it holds too."""
        kind = type(value)
        yield _name(value) or _name(kind)
        if value is self.root or self._is_own(kind):
            yield from self.parts(kind)
            yield from self.parts(dict(getattr(value, "__dict__", {})))

    def _is_own(self, value: FunctionType | type) -> bool:
        return value.__module__ == self.home

    def _function(self, function: FunctionType) -> Iterator[str]:
        yield from self.parts(function.__code__)
        yield from self.parts((function.__defaults__, function.__kwdefaults__))
        yield from self.parts([cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)])
        used = {
            name: function.__globals__[name]
            for name in sorted(_names(function.__code__))
            if name in function.__globals__
        }
        yield from self.parts(used)

    def _code(self, code: CodeType) -> Iterator[str]:
        yield code.co_code.hex()
        yield f"{code.co_names} {code.co_varnames} {code.co_freevars}"
        for constant in code.co_consts:
            yield from self.parts(constant)


def _names(code: CodeType) -> set[str]:
    """The names that code may take from its module, those of functions within it included."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _wrapped(value: Any) -> Any:
    """What a method, a partial function or a member of a class is made of."""
    match value:
        case MethodType():
            return (value.__func__, value.__self__)
        case functools.partial():
            return (value.func, value.args, value.keywords)
        case property():
            return (value.fget, value.fset)
    return (value.__func__,)


def _name(value: Any) -> str:
    """The name of a module, function or class; empty for other objects."""
    if isinstance(value, ModuleType):
        return value.__name__
    name = getattr(value, "__qualname__", "")
    return f"{getattr(value, '__module__', '')}.{name}" if name else ""


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 raises
    except ValueError:
        return False
    return True


def _is_written(name: str, value: Any) -> bool:
    """Whether a member of a class is one that its author wrote."""
    written = (FunctionType, staticmethod, classmethod, property, *PLAIN, list, tuple, dict, set)
    return isinstance(value, written) and name not in {
        "__module__", "__qualname__", "__firstlineno__", "__doc__", "__abstractmethods__", "__static_attributes__",
    }  # fmt: skip
