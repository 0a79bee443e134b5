"""A folder for files of a test."""

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in an empty folder, so that messages name short paths."""
    monkeypatch.chdir(tmp_path)
