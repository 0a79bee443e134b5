"""A user's own Python function, by `path/to/file.py:function`.

One that lives in a Python session alone has such a name too, by which this process finds the object itself.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from ppo_tune.data.user_modules import ImportRefusedError, UserModule, import_file
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.files import did_you_mean


@dataclass(frozen=True, eq=False)
class Held:
    """An object of this session that no other process can have; known for as long as somebody keeps this.

    Attributes:
        value: A function, or an object that scores.
        label: What it is called.
        reason: Why no other process can have it, as words that follow the label.
    """

    value: Any
    label: str
    reason: str


_held: WeakValueDictionary[tuple[Path, str], Held] = WeakValueDictionary()
"""By the file that stands for them and the name in it."""


def hold(name: str, held: Held) -> Held:
    """Have `path/to/file.py:function` mean an object of this session, whatever the file says to other processes.

    Returns:
        What is to be kept: what is held already where it is the same object.
    """
    known = held_by(name)
    if known is not None and known.value is held.value:
        return known
    _held[_key(name)] = held
    return held


def held_by(name: str) -> Held | None:
    """The object of this session that a name means; None if it means what stands in its file."""
    return _held.get(_key(name))


def _key(name: str) -> tuple[Path, str]:
    path, _, attribute = name.rpartition(":")
    return Path(path).resolve(), attribute


def load_function(name: str, where: str = "reward.function") -> Callable[..., Any]:
    """Import `path/to/file.py:function`; modules beside the file can be imported by it, now and when it is called.

    What this session holds under the name is not imported.

    Args:
        name: The file and its function.
        where: The place in the config that names it, for messages.

    Raises:
        ConfigError: If there is no such file or function, or the file cannot be imported.
    """
    if (held := held_by(name)) is not None:
        return held.value  # type: ignore[no-any-return]
    imported, (path, _, attribute) = _import(name, where), name.rpartition(":")
    function = getattr(imported.module, attribute, None)
    if not callable(function):
        raise ConfigError([Problem(where, f"{path} has no function {attribute!r}")])

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with imported.world.active():
            result = function(*args, **kwargs)
            return list(result) if isinstance(result, Iterator) else result  # a generator's code runs here

    return call


def helper_files(name: str, where: str = "reward.function") -> Mapping[str, Path]:
    """The user's own modules that the file of `path/to/file.py:function` imports, by names for people.

    Neither the standard library nor installed packages are among them; an object of this session has none.

    Raises:
        ConfigError: As `load_function` does.
    """
    if held_by(name) is not None:
        return {}
    path = Path(name.rpartition(":")[0])
    helpers = _import(name, where).helpers
    folder = path.parent.resolve()
    return {
        (path.parent / shown).as_posix() if file.is_relative_to(folder) else shown: file
        for shown, file in helpers.items()
    }


def _import(name: str, where: str) -> UserModule:
    path = name.rpartition(":")[0]
    if not Path(path).is_file():
        near = did_you_mean(Path(path), Path.is_file)
        raise ConfigError([Problem(where, f"no such file {path!r} (looked in {Path.cwd()}){near}")])
    try:
        return import_file(Path(path))
    except ImportRefusedError as error:
        raise ConfigError([Problem(where, f"{path} {error}")]) from error.__cause__
