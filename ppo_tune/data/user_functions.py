"""A user's own Python function, by `path/to/file.py:function`."""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ppo_tune.data.user_modules import ImportRefusedError, UserModule, import_file
from ppo_tune.errors import ConfigError, Problem


def load_function(name: str, where: str = "reward.function") -> Callable[..., Any]:
    """Import `path/to/file.py:function`; modules beside the file can be imported by it, now and when it is called.

    Args:
        name: The file and its function.
        where: The place in the config that names it, for messages.

    Raises:
        ConfigError: If there is no such file or function, or the file cannot be imported.
    """
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

    Neither the standard library nor installed packages are among them.

    Raises:
        ConfigError: As `load_function` does.
    """
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
        raise ConfigError([Problem(where, f"no such file {path!r} (looked in {Path.cwd()})")])
    try:
        return import_file(Path(path))
    except ImportRefusedError as error:
        raise ConfigError([Problem(where, f"{path} {error}")]) from error.__cause__
