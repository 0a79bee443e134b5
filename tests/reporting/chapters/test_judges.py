"""Figures of score against gold against KL: shaded, ringed, thrifty, and to a readable scale."""

import itertools
import math

import pytest

from ppo_tune.reporting.analysis import overoptimisation as over
from ppo_tune.reporting.chapters.hacking.chapter import judge_sections
from ppo_tune.reporting.chapters.hacking.judges import (
    MAX_POINTS,
    changes_figure,
    curves_figure,
    kl_figure,
    outside_changes,
    outside_points,
)
from ppo_tune.reporting.drawing import kl_ticks, roots
from ppo_tune.search.judge_by_kl import judge_by_kl
from tests.reporting.chapters.judged import add, write_base
from tests.reporting.conftest import HandMade


def test_the_quadrant_of_hacks_is_shaded_and_flags_are_ringed(hand_made: HandMade) -> None:
    write_base(hand_made)
    add(hand_made, [1.0], [0.5])
    add(hand_made, [2.0], [-1.0], [4.0])

    figure = changes_figure(over.changes_table(hand_made.record(), "gold"), "gold", "reward")

    quadrant = figure.layout.shapes[0]
    assert (quadrant.x0, quadrant.y1) == (0, 0)
    assert quadrant.x1 == figure.layout.xaxis.range[1]
    assert quadrant.y0 == figure.layout.yaxis.range[0]
    rings = next(trace for trace in figure.data if trace.name == "flagged")
    assert (list(rings.x), list(rings.y)) == ([2.0], [-1.0])


def test_curves_begin_at_the_untrained_model_and_bars_stand_where_it_matters(hand_made: HandMade) -> None:
    write_base(hand_made)
    add(hand_made, [0.5, 1.0, 1.5], [0.6, 0.4, 0.2], [1.0, 4.0, 9.0], baseline=True)
    record = hand_made.record()

    score, gold = curves_figure(over.curves_table(record, "gold").assign(role="default"), "gold").data

    assert list(score.x) == list(gold.x) == [0.0, 1.0, 2.0, 3.0]
    assert list(score.y) == [0.0, 0.5, 1.0, 1.5]
    assert list(gold.error_y.array) == pytest.approx([0.0, 0.196, 0.0, 0.196])


def test_a_large_study_is_drawn_with_a_part_of_its_milestones(hand_made: HandMade) -> None:
    write_base(hand_made)
    for i in range(40):
        add(hand_made, [1.0] * 60, [0.5] * 60, [0.01 * (i + 1) * (j + 1) for j in range(60)])
    points = over.curves_table(hand_made.record(), "gold")

    figure = kl_figure(points, judge_by_kl(points), 3.0, "gold")

    assert len(points) == 2400
    assert MAX_POINTS / 2 <= len(figure.data[0].x) <= MAX_POINTS


def test_a_wild_trial_flattens_neither_changes_nor_kl_and_is_counted(hand_made: HandMade) -> None:
    write_base(hand_made)
    for i in range(9):
        add(hand_made, [0.1 * i], [0.1 * i], [0.5 * i])
    add(hand_made, [1e6], [-1e6], [1e5])
    record = hand_made.record()
    changes, points = over.changes_table(record, "gold").assign(role=""), over.curves_table(record, "gold")

    figure = changes_figure(changes, "gold", "reward")
    by_kl = kl_figure(points, judge_by_kl(points), 3.0, "gold")

    assert figure.layout.xaxis.range[1] < 1 and figure.layout.yaxis.range[0] > -1
    assert figure.layout.coloraxis.cmax == 2.0
    assert outside_changes(changes) == 1
    assert by_kl.layout.xaxis.range[1] < 2.1 and by_kl.layout.yaxis.range[0] > -1
    assert outside_points(points) == 1
    assert [
        section.reading.count("1 lies outside the axes.") for section in judge_sections(record, "gold")
    ] == [
        1,
        0,
        1,
    ]


def test_the_word_at_a_budget_near_the_right_end_is_not_cut_off(hand_made: HandMade) -> None:
    write_base(hand_made)
    for i in range(9):
        add(hand_made, [0.1 * i], [0.1 * i], [0.5 * i])
    points = over.curves_table(hand_made.record(), "gold")

    sides = [
        kl_figure(points, judge_by_kl(points), budget, "gold").layout.annotations[0].xanchor
        for budget in (1.0, 4.0)
    ]

    assert sides == ["left", "right"]


@pytest.mark.parametrize("largest", [0.003, 0.9, 1.0, 7.3, 15.4, 120.0])
def test_ticks_of_kl_are_round_and_far_enough_apart(largest: float) -> None:
    ticks = kl_ticks(largest)
    places = roots(ticks)

    assert ticks[0] == 0
    assert 4 <= len(ticks) <= 10
    assert largest / 2 < ticks[-1] <= largest
    assert all(b - a > 0.1 * math.sqrt(largest) for a, b in itertools.pairwise(places))
    assert {f"{tick:e}"[:8] for tick in ticks[1:]} <= {f"{digit}.000000" for digit in (1, 2, 4, 6, 8)}


def test_a_kl_below_zero_is_drawn_at_zero() -> None:
    assert roots([-0.01, 0.25]) == [0.0, 0.5]
    assert kl_ticks(-0.1) == [0.0]
