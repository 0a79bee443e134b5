"""A user's own Python function, by `path/to/file.py:function`."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ppo_tune.errors import ConfigError, Problem


def load_function(name: str, where: str = "reward.function") -> Callable[..., Any]:
    """Import `path/to/file.py:function`.

    Args:
        name: The file and its function.
        where: The place in the config that names it, for messages.

    Raises:
        ConfigError: If there is no such file or function, or the file raises when imported.
    """
    path, _, attribute = name.rpartition(":")
    if not Path(path).is_file():
        raise ConfigError([Problem(where, f"no such file {path!r} (looked in {Path.cwd()})")])
    spec = importlib.util.spec_from_file_location(f"ppo_tune_user_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses and pickle look for a class's module there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        what = f"{path} cannot be imported: {type(error).__name__}: {error}"
        raise ConfigError([Problem(where, what)]) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ConfigError([Problem(where, f"{path} has no function {attribute!r}")])
    return function  # type: ignore[no-any-return]
