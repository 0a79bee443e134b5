"""Study and training files of a few blocks, and the messages with which they are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.study_file import load_study
from ppo_tune.config.training_file import load_training
from ppo_tune.errors import ConfigError

GAMMA = "gamma: {type: float, low: 0.9, high: 1.0}"
RATE = "learning_rate: {type: float, low: 1e-5, high: 1e-2, log: true}"
DATASET = "name: dataset, path: a.csv"
GRID = "{gamma: {type: float, low: 0.9, high: 1.0, points: 101}, ppo_epochs: {type: int, low: 1, high: 100}}"


def blocks(**contents: str) -> str:
    """A study file with a task on line 1, a space on line 2, and other blocks from line 3 on."""
    contents = {"task": "{name: support}", "space": f"{{{GAMMA}}}", **contents}
    return "".join(f"{name}: {content}\n" for name, content in contents.items())


def training(**contents: str) -> str:
    """A training file with a task on line 1 and other blocks from line 2 on."""
    contents = {"task": "{name: support}", **contents}
    return "".join(f"{name}: {content}\n" for name, content in contents.items())


def load(text: str, **options: Any) -> StudyConfig:
    """The study of a file of this text."""
    Path("a.yaml").write_text(text, encoding="utf-8")
    return load_study("a.yaml", **options)


def train(text: str, **options: Any) -> TrainConfig:
    """The training of a file of this text."""
    Path("a.yaml").write_text(text, encoding="utf-8")
    return load_training("a.yaml", **options)


def mistakes(text: str, read: Callable[..., Any] = load, **options: Any) -> list[str]:
    """The lines of the message with which a file is refused."""
    with pytest.raises(ConfigError) as caught:
        read(text, **options)
    return str(caught.value).splitlines()
