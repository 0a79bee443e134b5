"""The headline says what the numbers say."""

from ppo_tune.reporting import verdict
from tests.reporting.conftest import HandMade


def test_results_stand_side_by_side(usual: HandMade) -> None:
    results = verdict.results_table(usual.record())

    assert results["what"].tolist() == ["untrained model", "default config (trial 0)", "winner (trial 1)"]
    assert results["score"].tolist() == [-0.5, 0.5, 1.0]
    assert results["gold"].tolist() == [0.3, 0.5, 0.8]
    assert results["kl"].tolist() == [0.0, 0.5, 2.5]


def test_the_headline_names_the_winner_and_its_gains(usual: HandMade) -> None:
    record = usual.record()

    words = " ".join(verdict.headline(record, verdict.results_table(record)))

    assert "Trial 1 scores 1.000 on the held-out prompts, at 2.5 of 3 nats of KL." in words
    assert "+0.500 over the default config and +1.500 over the untrained model" in words
    assert "Its gold score, which the search never saw, rose by 0.500 against the untrained model; " in words
    assert "that of the default config changed by +0.200." in words
    assert "one seed" in words


def test_the_headline_warns_of_a_falling_gold_score(hand_made: HandMade, usual: HandMade) -> None:
    usual.add("completed", [2.0] * 5, gold=[-1.0] * 5)
    record = usual.record()

    words = " ".join(verdict.headline(record, verdict.results_table(record)))

    assert "Careful: its gold score, which the search never saw, fell by 1.300" in words
    assert verdict.is_exploited(record, verdict.results_table(record))


def test_the_headline_says_when_the_default_wins(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.5] * 5, baseline=True)
    record = hand_made.record()

    words = " ".join(verdict.headline(record, verdict.results_table(record)))

    assert "It is the default config: the search found nothing better." in words
    assert "over the default" not in words


def test_the_headline_says_when_nothing_is_within_the_budget(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.5] * 5, kl=99.0)
    record = hand_made.record()

    (words,) = verdict.headline(record, verdict.results_table(record))

    assert words == "No trial has been completed within the KL budget of 3 nats yet."
