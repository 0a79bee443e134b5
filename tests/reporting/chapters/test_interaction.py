"""Two hyperparameters together: means where trials are, and whether one's best value depends on the other."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ppo_tune.reporting.analysis.evidence import Sample, best_quarter
from ppo_tune.reporting.analysis.importance import importance_table
from ppo_tune.reporting.axes import Axis
from ppo_tune.reporting.chapters.importance import chapter as importance
from ppo_tune.reporting.chapters.importance import interaction
from tests.reporting.conftest import HandMade

RATE = FloatDistribution(1e-4, 1e-2, log=True)
UNIT = FloatDistribution(0.0, 1.0)
BATCH = CategoricalDistribution([8, None])
EPOCHS = IntDistribution(1, 4)


def sample_of(places: np.ndarray, target: np.ndarray, *ranges: BaseDistribution) -> Sample:
    axes = tuple(Axis(name, distribution) for name, distribution in zip("abc", ranges, strict=False))
    return Sample(axes, places, target, best_quarter)


def test_choices_have_the_plain_means_of_their_trials() -> None:
    """Nothing lies between two choices, so nothing is smoothed; the empty corner is left out."""
    places = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])

    table = interaction.interaction_table(
        sample_of(places, np.array([1.0, 2.0, 5.0, 7.0]), BATCH, BATCH), (0, 1)
    )

    assert table.to_dict("records") == [
        {"a": "8", "b": "8", "score": 1.5, "trials": 2.0},
        {"a": "None", "b": "8", "score": 5.0, "trials": 1.0},
        {"a": "None", "b": "None", "score": 7.0, "trials": 1.0},
    ]


def test_cells_without_a_trial_near_are_blank() -> None:
    places = np.tile([0.0, 0.0], (25, 1))

    table = interaction.interaction_table(sample_of(places, np.ones(25), RATE, UNIT), (0, 1))

    assert table["a"].max() < 1e-2
    assert table["b"].max() < 1
    assert (table["trials"] >= 1).all()


@given(seed=st.integers(0, 1000))
def test_means_stay_between_the_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sample = sample_of(rng.random((30, 2)), rng.normal(size=30), RATE, EPOCHS)

    scores = interaction.interaction_table(sample, (0, 1))["score"]

    assert scores.between(sample.target.min() - 1e-9, sample.target.max() + 1e-9).all()


def test_one_wild_score_does_not_rule_the_picture() -> None:
    places, target = np.random.default_rng(0).random((40, 2)), np.linspace(0, 1, 40)
    target[7] = -1e6

    assert interaction.interaction_table(sample_of(places, target, UNIT, UNIT), (0, 1))["score"].min() >= 0


def test_a_sum_needs_no_combination() -> None:
    """Two choices by two with scores 0, 1, 2 and 3: each by itself explains all."""
    places = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (6, 1)).astype(float)

    alone, added, chance = interaction.explained(
        sample_of(places, places @ np.array([2.0, 1.0]), BATCH, BATCH), (0, 1), 0
    )

    assert alone == pytest.approx(1.0)
    assert added == 0
    assert chance == 1


def test_what_only_the_combination_explains_is_found() -> None:
    """The score is 1 where both choices agree: each by itself explains nothing, together they explain all."""
    places = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (6, 1)).astype(float)
    target = (places[:, 0] == places[:, 1]).astype(float)

    alone, added, chance = interaction.explained(sample_of(places, target, BATCH, BATCH), (0, 1), 0)

    assert alone == pytest.approx(0.0, abs=1e-12)
    assert added == pytest.approx(1.0)
    assert chance == pytest.approx(1 / 1000)


def test_an_additive_score_of_two_numbers_shows_a_dependence_in_one_study_of_twenty() -> None:
    rng = np.random.default_rng(0)
    found = 0
    for seed in range(60):
        places = rng.random((40, 2))
        target = places.sum(axis=1) + 0.3 * rng.normal(size=40)
        found += (
            interaction.explained(sample_of(places, target, UNIT, UNIT), (0, 1), seed)[2] < interaction.LEVEL
        )

    assert found <= 6  # of 60; more than 6 have a chance of 3 % if 1 in 20 does


def test_equal_scores_depend_on_nothing() -> None:
    sample = sample_of(np.random.default_rng(0).random((25, 2)), np.ones(25), UNIT, UNIT)

    assert interaction.explained(sample, (0, 1), 0) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("chance", "words"),
    [
        (0.01, "Which kl_coef is best depends on learning_rate: choose them together. Each by itself, they explain 61 "
               "% of the variance of the score over 31 trials, those beyond the KL budget being the worst, and their "
               "combination 9 % more; shuffling does as much in 1 % of cases."),
        (0.4, "No sign that the best kl_coef depends on learning_rate; a weak dependence would not show."),
    ],
)  # fmt: skip
def test_words_claim_a_dependence_only_beyond_chance(chance: float, words: str) -> None:
    said = interaction.interaction_reading(("learning_rate", "kl_coef"), 31, 0.612, 0.094, chance)

    assert said.startswith(words)


@pytest.mark.parametrize(
    ("ranges", "kind"),
    [
        pytest.param((RATE, UNIT), "contour", id="two-numbers"),
        pytest.param((RATE, BATCH), "heatmap", id="a-choice"),
        pytest.param((EPOCHS, UNIT), "contour", id="whole-numbers"),
    ],
)
def test_lines_are_drawn_between_numbers_only(
    ranges: tuple[BaseDistribution, BaseDistribution], kind: str
) -> None:
    rng = np.random.default_rng(0)
    places = np.round(rng.random((700, 2)) * 3) / 3 if ranges[0] is EPOCHS else rng.random((700, 2))
    places[:, 1] = places[:, 1] > 0.5 if ranges[1] is BATCH else places[:, 1]
    sample = sample_of(places, rng.random(700), *ranges)
    points = pd.DataFrame({"number": range(700), "role": ["winner", *[""] * 699]})

    figure = interaction.interaction_figure(sample, (0, 1), points)

    assert figure.data[0].type == kind
    assert [(trace.name, len(trace.x)) for trace in figure.data[1:]] == [
        ("trials", 233),
        ("winner", 1),
        ("default", 0),
    ]


def test_the_two_that_matter_most_are_shown_where_something_is_clear(hand_made: HandMade) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        rate = float(10 ** rng.uniform(-4, -2))
        params = {
            "learning_rate": rate,
            "batch_size": int(rng.choice([8, 16, 32])),
            "ppo_epochs": int(rng.integers(1, 5)),
        }
        hand_made.add("pruned", [0.0, np.log10(rate)], params=params)
    record = hand_made.record()

    section = importance.chapter(record).sections[-1]

    assert section.anchor == "interaction"
    assert section.title.startswith("learning_rate and ")
    assert importance_table(record)["name"][1] in section.title
    assert section.reading.startswith("No sign that the best ")
    assert section.figure is None and section.table is None


def test_a_figure_is_shown_only_where_a_dependence_is_found() -> None:
    places = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (6, 1)).astype(float)
    sample = sample_of(places, (places[:, 0] == places[:, 1]).astype(float), BATCH, BATCH)
    points = pd.DataFrame({"number": range(24), "role": [""] * 24})

    section = interaction.sections(sample, ("a", "b"), points, 0)[0]

    assert section.reading.endswith("blank where there are none.")
    assert section.figure is not None and section.table is not None
    assert np.array(section.figure.data[0].z).tolist() == [[1, 0], [0, 1]]


def test_few_trials_show_nothing_of_two_at_once() -> None:
    sample = sample_of(np.random.default_rng(0).random((19, 2)), np.arange(19.0), UNIT, UNIT)

    assert interaction.sections(sample, ("a", "b"), pd.DataFrame(), 0) == []
