"""Responses side by side."""

from ppo_tune.reporting import texts
from tests.reporting.conftest import HandMade


def test_responses_stand_side_by_side_for_the_same_prompt(hand_made: HandMade) -> None:
    def sample(i: int, text: str) -> dict[str, object]:
        return {"prompt": f"p{i}", "response": text, "score": 1.0 * i, "gold": None}

    hand_made.add("completed", [0.1] * 5, baseline=True, samples=[sample(0, "d0"), sample(1, "d1")])
    hand_made.add("completed", [0.9] * 5, samples=[sample(0, "w0"), sample(1, "w1")])

    table = texts.samples_table(hand_made.record())

    assert table["prompt"].tolist() == ["p0", "p1"]
    assert table["default_response"].tolist() == ["d0", "d1"]
    assert table["winner_response"].tolist() == ["w0", "w1"]
    assert "base_response" not in table.columns
