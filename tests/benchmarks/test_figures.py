"""Figures of replayed studies: intervals, paired differences and the line of JSON."""

import json

import numpy as np
import pytest

from benchmarks.worlds.figures import Row, differences, interval, json_line, table
from benchmarks.worlds.replayed import Named


def row(world: str, total: int, repetition: int, value: float) -> Row:
    named = Named(
        value=value,
        strict=0.0,
        truly_better=value > 0,
        beyond_budget=False,
        unconfirmed=value,
        trials=30,
        candidates=5,
        search_cost=16.0,
        confirmation_cost=20.0,
    )
    return Row(world, total, repetition, named, 0.5)


ROWS = [row(world, total, i, i / 10) for world in ("gp", "trees") for total in (24, 36) for i in range(9)]


def test_an_interval_holds_the_mean_of_what_it_was_drawn_from() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.2, size=400)

    low, high = interval(values)

    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 0.2 / 20, rel=0.2)


def test_the_line_has_the_first_world_at_the_top_and_others_below() -> None:
    told = json.loads(json_line(ROWS))

    assert told["value"] == told["trees"]["value"] == {"24": 0.4, "36": 0.4}
    assert told["truly_better"]["24"] == pytest.approx(8 / 9, abs=1e-4)
    assert told["beyond_budget"] == {"24": 0.0, "36": 0.0}
    assert told["repetitions"] == 9


def test_a_table_has_a_line_per_world_and_total() -> None:
    lines = table(ROWS).splitlines()

    assert len(lines) == 2 + 4
    assert lines[2].startswith("| gp | 24 | 9 | 0.400 [")


def test_differences_are_paired_by_repetition() -> None:
    rivals = [row("gp", 24, i, i / 10 - 0.05) for i in reversed(range(4, 12))]

    lines = differences(ROWS, rivals).splitlines()

    assert len(lines) == 3
    assert lines[2].startswith("| gp | 24 | 5 | +0.050 [+0.050, +0.050] |")
