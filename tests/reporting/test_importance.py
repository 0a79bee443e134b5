"""Planted effects are found, and noise is not."""

import numpy as np
import pandas as pd
import pytest

from ppo_tune.reporting import importance
from tests.reporting.conftest import HandMade


def planted(hand_made: HandMade, n: int, *, noise: bool) -> None:
    """Trials whose score follows the learning rate alone, or nothing at all."""
    rng = np.random.default_rng(1)
    for _ in range(n):
        rate = float(10 ** rng.uniform(-4, -2))
        params = {
            "learning_rate": rate,
            "batch_size": int(rng.choice([8, 16, 32])),
            "ppo_epochs": int(rng.integers(1, 5)),
        }
        score = float(rng.normal()) if noise else np.log10(rate) + 0.05 * float(rng.normal())
        hand_made.add("pruned", [score, score], params=params)


def test_importance_finds_the_planted_parameter_among_pruned_trials(hand_made: HandMade) -> None:
    planted(hand_made, 40, noise=False)

    table = importance.importance_table(hand_made.record())

    assert table["name"][0] == "learning_rate"
    assert table["clear"].tolist() == [True, False, False]
    assert table["importance"].sum() == pytest.approx(1.0)


def test_importance_says_nothing_of_too_few_trials(hand_made: HandMade) -> None:
    planted(hand_made, 11, noise=False)

    assert importance.importance_table(hand_made.record()).empty


def test_importance_of_pure_noise_stays_below_what_chance_reaches(hand_made: HandMade) -> None:
    planted(hand_made, 40, noise=True)

    table = importance.importance_table(hand_made.record())

    assert not table["clear"].any()


def test_importance_names_only_what_is_clear() -> None:
    table = pd.DataFrame(
        {"name": ["a", "b"], "importance": [0.8, 0.2], "noise": [0.5, 0.5], "clear": [True, False]}
    )

    assert "a (0.80); the other 1 cannot be told from noise" in importance.importance_reading(table, 30)
    assert "No hyperparameter can be told from noise" in importance.importance_reading(
        table.assign(clear=False), 30
    )
    assert "Not enough evidence: 12 trials" in importance.importance_reading(table.head(0), 5)
