"""A folder to work in, a way to search from objects there, and a module with a reward."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ppo_tune
from ppo_tune.events import Event
from tests.tuning.objects import REWARD, SETTINGS


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def events() -> list[Event]:
    """What the searches of a test told."""
    return []


@pytest.fixture
def tune(small_world: Path, events: list[Event]) -> Callable[..., "ppo_tune.Study"]:
    """Searches from objects over the small world."""

    def run(**changes: Any) -> "ppo_tune.Study":
        given = {"model": str(small_world / "model"), "watch": events.append, **SETTINGS, **changes}
        return ppo_tune.tune(**given)

    return run


@pytest.fixture
def my_rewards(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of the user's, in the folder where they work."""
    (here / "my_rewards.py").write_text(REWARD, encoding="utf-8")
    monkeypatch.syspath_prepend(here)
    importlib.invalidate_caches()
    yield importlib.import_module("my_rewards")
    sys.modules.pop("my_rewards")
