"""Numbers of a study made by hand."""

import numpy as np
import pytest

from ppo_tune.reporting import tables
from tests.reporting.conftest import HandMade


def test_trials_have_their_roles_endings_last_scores_and_values(usual: HandMade) -> None:
    table = tables.trials_table(usual.record())

    assert table["number"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert table["role"].tolist() == ["default", "winner", "", "", "", "", ""]
    assert table["ending"].tolist() == [
        "completed",
        "completed",
        "completed",
        "pruned",
        "kl_limit",
        "diverged",
        "running",
    ]
    assert table["score"].tolist()[:5] == [0.5, 1.0, 1.6, 0.1, 1.0]
    assert np.isnan(table["score"][5])
    assert table["score"][6] == 0.3
    assert table["feasible"].tolist() == [True, True, False, True, False, True, True]
    assert table["learning_rate"].tolist()[:2] == [1e-4, 1e-3]
    assert table["reason"][3] == "why pruned"


def test_the_winner_is_the_best_within_the_budget(usual: HandMade) -> None:
    record = usual.record()

    assert record.winner is not None
    assert record.winner.number == 1  # trial 2 scored more, at 3.5 of 3 nats


def test_a_lost_trial_is_not_counted_beside_the_one_that_replaced_it(usual: HandMade) -> None:
    usual.add("lost", [0.2])

    table = tables.trials_table(usual.record())

    assert 7 not in table["number"].tolist()


def test_history_rises_only_with_feasible_trials(usual: HandMade) -> None:
    history = tables.history_table(tables.trials_table(usual.record()))

    assert history["number"].tolist() == [0, 1, 2]
    assert history["best_so_far"].tolist() == [0.5, 1.0, 1.0]


def test_curves_have_one_row_per_trial_and_milestone(usual: HandMade) -> None:
    curves = tables.curves_table(usual.record())

    assert len(curves) == 5 + 5 + 5 + 2 + 1 + 0 + 1
    assert curves[curves["number"] == 1]["score"].tolist() == [0.4, 0.6, 0.8, 0.9, 1.0]
    assert curves[curves["number"] == 1]["episodes"].tolist() == [128, 256, 384, 512, 640]


def test_endings_add_up(usual: HandMade) -> None:
    endings = tables.endings_table(tables.trials_table(usual.record())).set_index("ending")

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


def test_results_stand_side_by_side(usual: HandMade) -> None:
    results = tables.results_table(usual.record())

    assert results["what"].tolist() == ["untrained model", "default config (trial 0)", "winner (trial 1)"]
    assert results["score"].tolist() == [-0.5, 0.5, 1.0]
    assert results["gold"].tolist() == [0.3, 0.5, 0.8]
    assert results["kl"].tolist() == [0.0, 0.5, 2.5]


def test_config_shows_what_default_and_winner_really_used(usual: HandMade) -> None:
    config = tables.config_table(usual.record()).set_index("name")

    assert config.loc["learning_rate", "default"] == 1e-4
    assert config.loc["learning_rate", "winner"] == 1e-3
    assert config.loc["gamma", "searched"] is np.False_ or not config.loc["gamma", "searched"]
    assert config.loc["batch_size", "searched"]
    assert "β" in config.loc["kl_coef", "meaning"]


def test_responses_stand_side_by_side_for_the_same_prompt(hand_made: HandMade) -> None:
    def sample(i: int, text: str) -> dict[str, object]:
        return {"prompt": f"p{i}", "response": text, "score": 1.0 * i, "gold": None}

    hand_made.add("completed", [0.1] * 5, baseline=True, samples=[sample(0, "d0"), sample(1, "d1")])
    hand_made.add("completed", [0.9] * 5, samples=[sample(0, "w0"), sample(1, "w1")])

    table = tables.samples_table(hand_made.record())

    assert table["prompt"].tolist() == ["p0", "p1"]
    assert table["default_response"].tolist() == ["d0", "d1"]
    assert table["winner_response"].tolist() == ["w0", "w1"]
    assert "base_response" not in table.columns


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

    importance = tables.importance_table(hand_made.record())

    assert importance["name"][0] == "learning_rate"
    assert importance["clear"].tolist() == [True, False, False]
    assert importance["importance"].sum() == pytest.approx(1.0)


def test_importance_says_nothing_of_too_few_trials(hand_made: HandMade) -> None:
    planted(hand_made, 11, noise=False)

    assert tables.importance_table(hand_made.record()).empty


def test_importance_of_pure_noise_stays_below_what_chance_reaches(hand_made: HandMade) -> None:
    planted(hand_made, 40, noise=True)

    importance = tables.importance_table(hand_made.record())

    assert not importance["clear"].any()


def test_an_empty_study_has_empty_tables(hand_made: HandMade) -> None:
    record = hand_made.record()

    assert tables.trials_table(record).empty
    assert tables.curves_table(record).empty
    assert tables.samples_table(record).empty
    assert tables.results_table(record).empty
    assert tables.importance_table(record).empty
