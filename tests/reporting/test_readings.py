"""The words say what the numbers say."""

from ppo_tune.reporting import readings, tables
from ppo_tune.reporting.page import at_edge
from tests.reporting.conftest import HandMade


def test_the_headline_names_the_winner_and_its_gains(usual: HandMade) -> None:
    record = usual.record()

    words = " ".join(readings.headline(record, tables.results_table(record)))

    assert "Trial 1 scores 1.000 on the held-out prompts, at 2.5 of 3 nats of KL." in words
    assert "+0.500 over the default config and +1.500 over the untrained model" in words
    assert "Its gold score, which the search never saw, rose by 0.500 against the untrained model; " in words
    assert "that of the default config changed by +0.200." in words
    assert "one seed" in words


def test_the_headline_warns_of_a_falling_gold_score(hand_made: HandMade, usual: HandMade) -> None:
    usual.add("completed", [2.0] * 5, gold=[-1.0] * 5)
    record = usual.record()

    words = " ".join(readings.headline(record, tables.results_table(record)))

    assert "Careful: its gold score, which the search never saw, fell by 1.300" in words
    assert readings.is_exploited(record, tables.results_table(record))


def test_the_headline_says_when_the_default_wins(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.5] * 5, baseline=True)
    record = hand_made.record()

    words = " ".join(readings.headline(record, tables.results_table(record)))

    assert "It is the default config: the search found nothing better." in words
    assert "over the default" not in words


def test_the_headline_says_when_nothing_is_within_the_budget(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.5] * 5, kl=99.0)
    record = hand_made.record()

    (words,) = readings.headline(record, tables.results_table(record))

    assert words == "No trial has been completed within the KL budget of 3 nats yet."


def test_curves_count_what_was_cut_short(usual: HandMade) -> None:
    words = readings.curves(tables.curves_table(usual.record()))

    assert words.startswith("6 trials, 2 of them cut short (ending in a cross), 1 still running (dotted).")


def test_kl_counts_each_trial_once(usual: HandMade) -> None:
    words = readings.kl(tables.trials_table(usual.record()), 3.0)

    assert "2 of 7 trials went beyond 3 nats" in words


def test_endings_are_summed(usual: HandMade) -> None:
    words = readings.endings(tables.endings_table(tables.trials_table(usual.record())))

    assert (
        words == "7 trials used 2,432 episodes, 18,000 response tokens and 16 worker seconds; 1 were pruned."
    )


def test_a_winner_at_the_edge_of_a_range_is_named_unless_the_end_is_natural(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0] * 5, params={"learning_rate": 1e-2, "batch_size": 32, "ppo_epochs": 1})

    assert at_edge(hand_made.record()) == ["learning_rate"]
    assert "learning_rate stands at the edge of its range" in readings.slices(["learning_rate"])


def test_importance_names_only_what_is_clear() -> None:
    import pandas as pd

    table = pd.DataFrame(
        {"name": ["a", "b"], "importance": [0.8, 0.2], "noise": [0.5, 0.5], "clear": [True, False]}
    )

    assert "a (0.80); the other 1 cannot be told from noise" in readings.importance(table, 30)
    assert "No hyperparameter can be told from noise" in readings.importance(table.assign(clear=False), 30)
    assert "Not enough evidence: 12 trials" in readings.importance(table.head(0), 5)
