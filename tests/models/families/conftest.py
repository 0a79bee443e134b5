"""The folder of each row, saved once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models.families.tiny import Family


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder in which a family's tiny model lies; other settings of its config make another folder."""
    saved: dict[str, Path] = {}

    def find(row: Family, **changes: object) -> Path:
        key = f"{row.name} {changes}"
        if key not in saved:
            saved[key] = row.save(tmp_path_factory.mktemp("family"), **changes)
        return saved[key]

    return find
