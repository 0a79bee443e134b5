"""Endings and what they cost."""

import pytest

from ppo_tune.reporting import health, record
from tests.reporting.conftest import HandMade


def test_endings_add_up(usual: HandMade) -> None:
    endings = health.endings_table(record.trials_table(usual.record())).set_index("ending")

    assert endings["trials"].to_dict() == {
        "completed": 3,
        "pruned": 1,
        "diverged": 1,
        "kl_limit": 1,
        "running": 1,
    }
    assert endings.loc["completed", "episodes"] == 3 * 640
    assert endings.loc["completed", "tokens"] == 15_000
    assert endings.loc["completed", "seconds"] == 14.0
    assert endings["share"].sum() == pytest.approx(1.0)


def test_endings_are_summed(usual: HandMade) -> None:
    words = health.endings_reading(health.endings_table(record.trials_table(usual.record())))

    assert (
        words == "7 trials used 2,432 episodes, 18,000 response tokens and 16 worker seconds; 1 were pruned."
    )
