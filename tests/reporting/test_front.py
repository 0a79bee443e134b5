"""Score against KL."""

from ppo_tune.reporting import front, record
from tests.reporting.conftest import HandMade


def test_kl_counts_each_trial_once(usual: HandMade) -> None:
    words = front.front_reading(record.trials_table(usual.record()), 3.0)

    assert "2 of 7 trials went beyond 3 nats" in words
