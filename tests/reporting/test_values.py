"""Score against the searched values."""

from ppo_tune.reporting import values
from tests.reporting.conftest import HandMade


def test_a_winner_at_the_edge_of_a_range_is_named_unless_the_end_is_natural(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0] * 5, params={"learning_rate": 1e-2, "batch_size": 32, "ppo_epochs": 1})

    assert values.at_edge(hand_made.record()) == ["learning_rate"]
    assert "learning_rate stands at the edge of its range" in values.slices_reading(["learning_rate"])
