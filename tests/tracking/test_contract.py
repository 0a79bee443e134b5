"""What every logger brings: a name in a config, a class in its own module, and a place in the one table."""

from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from ppo_tune.config.blocks import Loggers
from ppo_tune.errors import ConfigError
from ppo_tune.tracking import LOGGERS, Logger, Tracked, Tracking

NAMES = get_args(get_args(get_args(Loggers)[0])[0])


def test_a_config_can_name_just_the_loggers_that_there_are() -> None:
    assert set(NAMES) == set(LOGGERS)


@pytest.mark.parametrize("name", LOGGERS)
def test_each_is_the_logger_of_its_module(name: str) -> None:
    pytest.importorskip(name)

    made = getattr(import_module(f"ppo_tune.tracking.{name}"), LOGGERS[name])

    assert issubclass(made, Logger)


def test_an_unknown_logger_is_refused_with_the_choices(tmp_path: Path) -> None:
    tracked = Tracked("study", "0001", tmp_path, {})

    with pytest.raises(ConfigError, match=r"^log: unknown 'mlflow'; choose one of tensorboard, wandb$"):
        Tracking(("mlflow",), tracked, pytest.fail)  # type: ignore[arg-type]

    assert list(tmp_path.iterdir()) == []
