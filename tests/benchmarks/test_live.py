"""Live searches of two versions: what their configs count for, and how repetitions are compared."""

from typing import Any

import pytest

from benchmarks.live import score_of, tell

Runs = list[tuple[float, float]]


def row(world: int, seed: int, default: Runs, before: Runs, now: Runs) -> dict[str, Any]:
    """A repetition with a KL budget of 2."""
    cost = {"params": {}, "episodes": 100, "seconds": 9.0}
    arms = {"default": default, "before": before, "now": now}
    return {"world": world, "seed": seed, "kl_budget": 2.0} | {
        name: {**({} if name == "default" else cost), "runs": runs} for name, runs in arms.items()
    }


def test_a_config_is_worth_its_mean_score_and_one_beyond_the_budget_what_the_default_is() -> None:
    found = row(1, 0, [(0.1, 0.0), (0.3, 9.0)], [(0.5, 2.0), (0.7, 2.4)], [(0.9, 2.0), (0.9, 2.5)])

    assert score_of(found, "default") == pytest.approx(0.2)  # whatever its KL: others are compared with it
    assert score_of(found, "before") == pytest.approx(0.6)  # 2.2 nats are 1.1 budgets
    assert score_of(found, "now") == pytest.approx(0.2)


def test_a_gain_is_a_share_of_what_the_best_named_config_of_a_world_is_above_the_default() -> None:
    rows = [
        row(1, 0, [(0.0, 0.0)], [(0.4, 1.0)], [(0.8, 1.0)]),  # head-room of this world: 0.8
        row(1, 1, [(0.0, 0.0)], [(0.6, 1.0)], [(0.6, 1.0)]),
        row(2, 0, [(0.5, 0.0)], [(0.7, 1.0)], [(0.6, 1.0)]),  # of this one: 0.2
    ]

    told = tell(rows)

    assert told["worlds"][1]["gain"] == pytest.approx((0.4 / 0.8 + 0) / 2)
    assert told["worlds"][2]["gain"] == pytest.approx(-0.1 / 0.2)
    assert told["gain"] == pytest.approx((0.5 + 0 - 0.5) / 3)
    assert told["interval"][0] < told["gain"] < told["interval"][1]
    assert (told["now"]["truly_better"], told["now"]["beyond_budget"], told["now"]["episodes"]) == (1, 0, 100)


def test_the_default_itself_is_not_better_than_the_default() -> None:
    beyond = [(0.9, 5.0)]

    told = tell(
        [row(1, 0, [(0.2, 0.0)], [(0.2, 0.0)], beyond), row(1, 1, [(0.2, 0.0)], [(0.4, 0.0)], [(0.4, 0.0)])]
    )

    assert (told["before"]["truly_better"], told["now"]["truly_better"]) == (0.5, 0.5)
    assert (told["before"]["beyond_budget"], told["now"]["beyond_budget"]) == (0, 0.5)
