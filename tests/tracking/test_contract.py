"""What every logger brings: a name in a config, its package beside it, and a class in its own module."""

import ast
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from ppo_tune.config.methods import PACKAGES, Loggers
from ppo_tune.errors import ConfigError
from ppo_tune.tracking import LOGGERS, Logger, Tracked, Tracking, base

NAMES = get_args(get_args(get_args(Loggers)[0])[0])


def test_a_config_can_name_just_the_loggers_that_there_are() -> None:
    assert set(NAMES) == set(LOGGERS) == set(PACKAGES)


@pytest.mark.parametrize("name", LOGGERS)
def test_each_is_the_logger_of_its_module(name: str) -> None:
    pytest.importorskip(PACKAGES[name] or "ppo_tune")

    made = getattr(import_module(f"ppo_tune.tracking.{name}"), LOGGERS[name])

    assert issubclass(made, Logger)


@pytest.mark.parametrize("name", LOGGERS)
def test_each_imports_the_package_that_its_config_checks_and_no_other(name: str) -> None:
    tree = ast.parse(Path(base.__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    whole = [part.name for node in ast.walk(tree) if isinstance(node, ast.Import) for part in node.names]
    parts = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]

    roots = {module.partition(".")[0] for module in (*whole, *parts)}

    assert roots - sys.stdlib_module_names - {"ppo_tune"} == {PACKAGES[name]} - {None}


def test_an_unknown_logger_is_refused_with_the_choices(tmp_path: Path) -> None:
    tracked = Tracked("study", "0001", tmp_path, {})

    with pytest.raises(ConfigError, match=r"^log: unknown 'mlflow'; choose one of tensorboard, wandb$"):
        Tracking(("mlflow",), tracked, pytest.fail)  # type: ignore[arg-type]

    assert list(tmp_path.iterdir()) == []
