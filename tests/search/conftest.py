"""Studies made by hand, as the report's tests have them, and a channel that keeps what a worker sends."""

import pytest

from tests.reporting.conftest import hand_made
from tests.search.recorder import Recorder

__all__ = ["hand_made"]


@pytest.fixture
def channel() -> Recorder:
    """What a worker sends."""
    return Recorder()
