"""A folder for files of a test."""

from pathlib import Path

import pytest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that messages name short paths."""
    monkeypatch.chdir(tmp_path)
