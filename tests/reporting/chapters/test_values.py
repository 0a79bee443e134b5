"""Score against the searched values, one by one and all together; and values at the edge of their range."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from ppo_tune.config.space import Space
from ppo_tune.reporting.analysis import edges
from ppo_tune.reporting.axes import axes_of
from ppo_tune.reporting.chapters import values
from ppo_tune.reporting.chapters.values import edges_reading
from ppo_tune.reporting.record import StudyRecord
from tests.reporting.conftest import HandMade


def params(rate: float = 1e-3, batch: int = 16, epochs: int = 2) -> dict[str, object]:
    return {"learning_rate": rate, "batch_size": batch, "ppo_epochs": epochs}


def many(hand_made: HandMade, n: int) -> StudyRecord:
    """A record of many trials without the seconds that asking for them takes: the first ones told, then copied."""
    hand_made.add("completed", [1.0] * 5, baseline=True)
    hand_made.add("completed", [2.0] * 5)
    hand_made.add("pruned", [0.0, 0.1])
    record = hand_made.record()
    rng = np.random.default_rng(0)
    table = pd.concat([record.table] + [record.table.iloc[[2]]] * (n - 3), ignore_index=True)
    table["number"], table["score"] = range(n), [1.0, 2.0, *rng.uniform(-1, 1, n - 2)]
    copy = dataclasses.replace(record)
    copy.__dict__["table"] = table
    return copy


def test_a_winner_at_the_edge_of_a_range_is_named_unless_the_end_is_natural(hand_made: HandMade) -> None:
    """No fewer than one epoch can be done."""
    hand_made.add("completed", [1.0] * 5, params=params(rate=1e-2, batch=32, epochs=1))

    table = edges.edges_table(hand_made.record())

    assert table.drop(columns="limit").to_dict("records") == [
        {"name": "learning_rate", "end": "upper", "winner": True, "near": 1, "best": 1}
    ]
    assert edges.at_edge(hand_made.record()) == ["learning_rate"]
    assert edges_reading(table, 5) == (
        "At the edge of its range: learning_rate (upper end, 0.01: the winner). Better values may lie outside; widen "
        "it and search again."
    )


def test_the_best_trials_at_an_edge_are_named_even_if_the_winner_is_not(hand_made: HandMade) -> None:
    """Three of the best five within a twentieth of the decades; evenly drawn ones do so in 1 study of 1000."""
    for score, rate in ((5.0, 1e-3), (4.0, 1.1e-4), (3.0, 1e-4), (2.0, 1.2e-4), (1.0, 3e-3), (0.0, 1e-4)):
        hand_made.add("completed", [score] * 5, params=params(rate=rate, epochs=4))

    table = edges.edges_table(hand_made.record())

    assert table[["name", "end", "winner", "near"]].to_dict("records") == [
        {"name": "learning_rate", "end": "lower", "winner": False, "near": 3},
        {"name": "ppo_epochs", "end": "upper", "winner": True, "near": 5},
    ]
    assert edges_reading(table, 5) == (
        "At the edge of their ranges: learning_rate (lower end, 0.0001: 3 of the best 5 trials) and ppo_epochs (upper "
        "end, 4: the winner and 5 of the best 5 trials). Better values may lie outside; widen them and search again."
    )


@pytest.mark.parametrize("ending", ["kl_limit", "pruned"])
def test_only_completed_trials_within_the_budget_are_the_best(hand_made: HandMade, ending: str) -> None:
    for _ in range(5):
        hand_made.add(ending, [9.0] * 4, kl=9.0, params=params(rate=1e-2))
        hand_made.add("completed", [9.0] * 5, kl=9.0, params=params(rate=1e-2))
        hand_made.add("completed", [1.0] * 5, params=params(rate=1e-3))

    assert edges.edges_table(hand_made.record()).empty


def test_nothing_at_an_edge_is_said(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0] * 5)

    assert edges_reading(edges.edges_table(hand_made.record()), 1) == (
        "Neither the winner nor the best trials stand at the edge of a range that could be wider."
    )


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("gamma", (0, 1)),
        ("clip_range", (0, float("inf"))),
        ("ppo_epochs", (1, float("inf"))),
        ("no_such_name", (float("-inf"), float("inf"))),
    ],
)
def test_legal_ends_are_the_trainers(name: str, ends: tuple[float, float]) -> None:
    assert edges.legal_ends(name) == ends


def test_every_trial_stands_in_every_slice(usual: HandMade) -> None:
    record = usual.record()

    figure = values.slices_figure(record.table, axes_of(record.config.space))

    for axis in ("x", "x2", "x3"):
        traces = [trace for trace in figure.data if trace.xaxis == axis]
        assert sum(len(trace.x) for trace in traces) == len(record.trials)
        assert [trace.name for trace in traces][-2:] == ["best so far", "default"]


def test_trials_without_a_score_or_far_below_all_stand_on_the_bottom_line(hand_made: HandMade) -> None:
    for score in (1.0, 1.1, 1.2, 1.3, 1.4):
        hand_made.add("completed", [score] * 5)
    hand_made.add("pruned", [-1000.0])
    hand_made.add("diverged", [])
    table = hand_made.record().table

    figure = values.slices_figure(table, axes_of(hand_made.config.space))

    heights = {trace.name: list(trace.y) for trace in figure.data[:5]}
    assert heights["pruned"] == heights["diverged"] == [pytest.approx(1.0 - 0.08 * 0.4)]
    assert "2 on the bottom line have no score, or one far below all others." in values.slices_reading(
        table, 7
    )
    assert [trace.text[0] for trace in figure.data[:5] if trace.name == "diverged"] == ["0.001<br>no score"]


def test_trials_far_above_all_stand_at_the_top(hand_made: HandMade) -> None:
    for score in (1.0, 1.1, 1.2, 1.3, 1.4):
        hand_made.add("completed", [score] * 5)
    hand_made.add("pruned", [1000.0])
    table = hand_made.record().table

    figure = values.slices_figure(table, axes_of(hand_made.config.space))

    heights = {trace.name: list(trace.y) for trace in figure.data[:5]}
    assert heights["pruned"] == [pytest.approx(1.4 + 0.08 * 0.4)]
    assert figure.layout.yaxis.range[1] > heights["pruned"][0]
    assert "1 at the top has one far above all others." in values.slices_reading(table, 6)


def test_many_trials_are_thinned_but_never_the_marked_and_the_best(hand_made: HandMade) -> None:
    table = many(hand_made, 1000).table

    shown = values.some(table, 400)

    assert len(shown) == len(shown["number"].unique()) == 400
    assert set(table[table["role"] != ""]["number"]) <= set(shown["number"])
    assert set(table.nlargest(30, "score")["number"]) <= set(shown["number"])
    assert values.slices_reading(shown, 1000).endswith("400 of 1000 trials are drawn.")


def test_the_figures_of_a_thousand_trials_are_small(hand_made: HandMade) -> None:
    record = many(hand_made, 1000)

    sections = values.chapter(record).sections

    sizes = [len(section.figure.to_json()) for section in sections if section.figure is not None]
    assert [size < 300_000 for size in sizes] == [True]
    assert all(len(section.figure.data) < 30 for section in sections if section.figure is not None)


def test_constant_and_missing_values_break_nothing(hand_made: HandMade) -> None:
    """One choice only, a number that was the same in all trials, and None as a value beside numbers."""
    space = {
        "batch_size": {"type": "categorical", "choices": [16]},
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "clip_range_value": {"type": "categorical", "choices": [None, 0.2]},
    }
    hand_made.config = hand_made.config.model_copy(update={"space": Space.model_validate(space)})
    for clip in (None, 0.2, 0.2):
        hand_made.add("completed", [1.0] * 5,
                      params={"batch_size": 16, "learning_rate": 1e-3, "clip_range_value": clip})  # fmt: skip

    (slices,) = values.chapter(hand_made.record()).sections

    assert slices.figure is not None
    texts = [text for trace in slices.figure.data for text in trace.text if trace.xaxis == "x3"]
    assert sorted(texts) == ["0.2<br>score 1.000", "0.2<br>score 1.000", "None<br>score 1.000"]


def test_a_study_without_scores_has_no_chapter(hand_made: HandMade) -> None:
    hand_made.add("diverged", [])

    assert values.chapter(hand_made.record()).sections == ()
