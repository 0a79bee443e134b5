# mypy: ignore-errors
"""The headline says what the numbers say, and no more."""

import re

import numpy as np
import pandas as pd
import pytest

from ppo_tune.reporting.chapters.results import confirmed, verdict
from ppo_tune.search.facts import Expectation, StudyFacts
from ppo_tune.search.winner import best_config
from tests.reporting.conftest import HandMade, confirm


@pytest.fixture
def searched(hand_made: HandMade) -> HandMade:
    """The default at 0.5, and five trials from 1.0 down to 0.8."""
    hand_made.add("completed", [0.1, 0.2, 0.3, 0.4, 0.5], baseline=True, kl=0.5)
    for i in range(5):
        values = {"learning_rate": 1e-3 * (i + 1), "batch_size": 16, "ppo_epochs": 3}
        hand_made.add("completed", [1.0 - 0.05 * i] * 5, params=values)
    return hand_made


def said(hand_made: HandMade) -> str:
    return " ".join(verdict.headline(hand_made.record()))


def test_results_stand_side_by_side(usual: HandMade) -> None:
    results = verdict.results_table(usual.record())

    assert results["what"].tolist() == [
        "untrained model",
        "default config (trial 0)",
        "best so far (trial 1)",
    ]
    assert results["score"].tolist() == [-0.5, 0.5, 1.0]
    assert results["gold"].tolist() == [0.3, 0.5, 0.8]
    assert results["kl"].tolist() == [0.0, 0.5, 2.5]


def test_a_winner_that_holds_is_named_with_its_gain_and_what_the_search_had_said(searched: HandMade) -> None:
    confirm(searched, {0: 0.4, 2: 0.9})

    words = said(searched)

    assert words.startswith("Trial 2 beats the default config by +0.")
    assert "on 5 fresh seeds and 64 unseen prompts." in words
    assert "at 1.50 of 3 nats of KL." in words
    assert "it had scored 0.950 and led the default by +0.45." in words
    assert re.search(
        r"Its gold score, which the search never saw, is \+0\.\d\d \(95 % interval .* against the untrained model and "
        r"[+-]0\.\d\d \(95 % interval .* against the default config\.",
        words,
    )
    assert "The runner-up is " in words
    assert not searched.record().verdict.is_warning


def test_a_gain_that_may_be_nothing_is_called_no_better_and_says_what_would_help(searched: HandMade) -> None:
    confirm(searched, {0: 0.50, 1: 0.53, 2: 0.52, 3: 0.5, 4: 0.5, 5: 0.5})

    words = said(searched)

    assert words.startswith("No better than the default config: the best of 5 confirmed, trial ")
    assert "The default config is what gets exported." in words
    assert "ppo-tune confirm hand --seeds" in words or "More seeds" in words
    assert searched.record().verdict.is_warning
    assert searched.record().default_won


def test_a_gain_that_may_be_nothing_but_that_the_search_expects_is_named_and_called_not_confirmed(
    searched: HandMade,
) -> None:
    expected = {number: Expectation(0.3, 0.1, 0.98) for number in range(1, 6)}
    StudyFacts(searched.study).ranking = expected
    confirm(searched, {0: 0.50, 1: 0.53, 2: 0.52, 3: 0.5, 4: 0.5, 5: 0.5})

    words, record = said(searched), searched.record()

    assert re.match(
        r"Not confirmed: trial \d gains \+0\.\d\d \(95 % interval -.*\) over the default config on 5 fresh seeds and "
        r"64 unseen prompts; all results together expect \+0\.30 \(sd 0\.10\) over the default config, within the KL "
        r"budget with probability 0\.98\. ",
        words,
    )
    assert "Fresh seeds alone cannot tell that gain from zero; it is what gets exported" in words
    assert "ppo-tune confirm hand --seeds" in words or "More seeds" in words
    assert not record.default_won and not record.verdict.confirmed
    assert record.winner is not None
    assert best_config(searched.study, searched.config).ppo.learning_rate == pytest.approx(
        record.winner.params["learning_rate"]
    )
    outcomes = confirmed.confirmation_table(record.confirmation).set_index("config")["outcome"]
    assert outcomes[f"trial {record.winner.number}"] == "best so far"


def test_few_trials_are_not_enough_evidence(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.5] * 5, baseline=True)
    hand_made.add("completed", [1.0] * 5)
    confirm(hand_made, {0: 0.5, 1: 0.5})

    assert "Not enough evidence: only 2 trials were completed; more trials (--n-trials)" in said(hand_made)


def test_a_winner_whose_gold_falls_is_called_an_exploit(searched: HandMade) -> None:
    confirm(searched, {0: 0.4, 2: 0.9}, golds={2: -0.3})

    words = said(searched)

    assert words.startswith("Caution: trial 2 scores higher than the default config (+0.")
    assert "but it exploits the reward: gold -0.50 against the default config (95 % interval -0." in words
    assert "lower on all 5 seeds" in words
    assert re.search(
        r"The gain is \+0\.\d\d \(95 % interval .*\) on 5 fresh seeds and 64 unseen prompts\.", words
    )
    assert searched.record().verdict.is_warning


def test_a_confirmation_under_way_decides_nothing(searched: HandMade) -> None:
    confirm(searched, {0: 0.4, 2: 0.9}, runs=4)

    words = said(searched)

    assert words.startswith("Not confirmed: trial 1 scored 1.000 in the search")
    assert "Its confirmation is not finished: 4 runs on fresh seeds are done." in words


def test_without_a_confirmation_the_headline_says_what_one_seed_is_worth(usual: HandMade) -> None:
    words = said(usual)

    assert words.startswith("Not confirmed: trial 1 scored 1.000 in the search, at 2.50 of 3 nats of KL.")
    assert (
        "What the search saw is +0.500 over the default config and +1.500 over the untrained model" in words
    )
    assert "`ppo-tune confirm hand` runs the best few and the default on fresh seeds." in words


def test_the_headline_warns_of_a_falling_gold_score_before_any_confirmation(usual: HandMade) -> None:
    usual.add("completed", [2.0] * 5, gold=[-1.0] * 5)

    assert said(usual).startswith(
        "Caution: not confirmed, trial 7 scored 2.000 in the search, at 1.00 of 3 nats of KL, but it looks like reward "
        "hacking: gold -1.50 against the default config (one seed)."
    )
    assert usual.record().verdict.is_warning


def test_the_headline_says_when_the_default_wins(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.5] * 5, baseline=True)

    words = said(hand_made)

    assert words.startswith("Not confirmed: trial 0, the default config, scored 0.500 in the search")
    assert "The search found nothing better." in words
    assert "over the default" not in words


def test_the_headline_says_when_nothing_is_within_the_budget(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.5] * 5, kl=99.0)

    assert said(hand_made) == "No trial has been completed within the KL budget of 3 nats yet."
    assert hand_made.record().verdict.is_warning


def test_the_table_of_the_confirmation_has_every_config_with_its_outcome(searched: HandMade) -> None:
    confirm(searched, {0: 0.4, 1: -0.5, 2: 0.9, 3: 0.7})
    confirmation = searched.record().confirmation
    assert confirmation is not None

    table = confirmed.confirmation_table(confirmation).set_index("config")

    assert table.index[0] == "trial 2"
    assert table.loc["trial 2", "outcome"] == "winner"
    assert table.loc["trial 1", "outcome"] == "dropped"
    assert table.loc["trial 1", "seeds"] == 2
    assert table.loc["default (trial 0)", "outcome"] == "default"
    assert np.isnan(table.loc["default (trial 0)", "gain"])
    assert table.loc["trial 2", "beats_default"] > 0.99
    assert table.loc["trial 2", "drop"] == pytest.approx(0.95 - table.loc["trial 2", "mean"])
    assert table.loc["trial 2", "iqm_low"] <= table.loc["trial 2", "iqm"] <= table.loc["trial 2", "iqm_high"]
    assert list(table.columns[-5:]) == [f"seed {i}" for i in range(1, 6)]
    assert table.loc["trial 1", "seed 2"] is not None
    assert pd.isna(table.loc["trial 1", "seed 3"])


def test_the_words_of_the_confirmation_count_its_runs(searched: HandMade) -> None:
    confirm(searched, {0: 0.4, 1: -0.5, 2: 0.9, 3: 0.7})
    confirmation = searched.record().confirmation
    assert confirmation is not None

    words = confirmed.confirmation_reading(confirmation)

    runs = sum(len(c.runs) for c in confirmation.candidates)
    assert "The best 5 of the search and the default config, trained again on up to 5 seeds" in words
    assert f"scored on 64 prompts that the search never saw: {runs} runs; " in words


def test_what_the_search_saw_of_a_config_is_the_mean_of_its_trials(hand_made: HandMade) -> None:
    """The default is a cell too: 0.2 and 0.4; the best 0.9 and 0.7 at 1 and 2 nats."""
    cells = [{"learning_rate": rate, "batch_size": 16, "ppo_epochs": 2} for rate in (1e-4, 1e-3)]
    hand_made.add("completed", [0.2] * 5, params=cells[0], baseline=True)
    for cell, score, kl in ((1, 0.9, 1.0), (0, 0.4, 1.0), (1, 0.7, 2.0)):
        hand_made.add("completed", [score] * 5, gold=[score] * 5, params=cells[cell], kl=kl)

    table = verdict.results_table(hand_made.record())

    assert table["what"].tolist() == ["default config (trials 0 and 2)", "best so far (trials 1 and 3)"]
    assert table["score"].tolist() == pytest.approx([0.3, 0.8])
    assert (table["kl"][1], table["gold"][1]) == pytest.approx((1.5, 0.8))
    assert "What the search saw is +0.500 over the default config." in said(hand_made)
