"""Which trials are looked into, and what is drawn and told of them."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.files import append_json_line
from ppo_tune.reporting.chapters.health import dynamics
from tests.reporting.conftest import HandMade

Log = Callable[..., None]


@pytest.fixture
def log(hand_made: HandMade) -> Log:
    """Write what a trainer logs of a trial, a milestone's line and a torn one among it."""

    def write(number: int, n: int = 10, **changed: float | None) -> None:
        folder = hand_made.folder / "trials" / f"{number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(1, n + 1):
            line = {"episodes": 64 * i, "policy/optimizer_steps": 4, **dict.fromkeys(dynamics.PANELS, 0.5)}
            append_json_line(
                folder / "metrics.jsonl", line | {k.replace("__", "/"): v for k, v in changed.items()}
            )
        append_json_line(folder / "metrics.jsonl", {"episodes": 64 * n, "heldout/score": 1.0})
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"episodes": 99, "objective/sco')

    return write


def roles(hand_made: HandMade) -> dict[str, int]:
    return {role: trial.number for role, trial in dynamics.choose_trials(hand_made.record()).items()}


def test_winner_default_median_and_worst_are_chosen_by_score(usual: HandMade, log: Log) -> None:
    for number in range(7):
        log(number)

    # scores: 2 → 1.6 (beyond the budget), 1 → 1.0 (the winner), 4 → 1.0, 0 → 0.5 (the default), 6 → 0.3, 3 → 0.1
    # of six the middle one is the default, so the next to it stands for the median
    assert roles(usual) == {"best so far": 1, "default": 0, "median": 4, "worst": 3}
    usual.add("pruned", [-1.0])
    log(7)
    usual.add("pruned", [-2.0])
    log(8)
    usual.add("pruned", [-3.0])
    log(9)
    assert roles(usual) == {"best so far": 1, "default": 0, "median": 6, "worst": 9}


def test_only_trials_whose_metrics_are_there_are_chosen(usual: HandMade, log: Log) -> None:
    log(2)
    log(3)

    assert roles(usual) == {"best": 2, "worst": 3}


def test_one_trial_is_shown_once(hand_made: HandMade, log: Log) -> None:
    hand_made.add("completed", [1.0] * 5, baseline=True)
    log(0)

    assert roles(hand_made) == {"best so far": 0}


def test_without_metrics_there_is_no_chapter(usual: HandMade) -> None:
    assert dynamics.chapter(usual.record()).sections == ()


def test_a_log_of_milestones_alone_is_no_course(usual: HandMade, log: Log) -> None:
    log(1, n=0)

    assert dynamics.read_courses(usual.record()) == []


def test_torn_lines_and_milestones_are_left_out(usual: HandMade, log: Log) -> None:
    log(1, n=3, value__explained_variance=None)

    (course,) = dynamics.read_courses(usual.record())

    assert course.lines["episodes"].tolist() == [64, 128, 192]
    assert course.lines["policy/clip_fraction"].tolist() == [0.5] * 3
    assert course.lines["value/explained_variance"].isna().all()


def test_the_table_holds_where_each_metric_began_and_ended(usual: HandMade, log: Log) -> None:
    log(1, n=10)
    log(1, n=10, objective__score_mean=1.5)

    table = dynamics.dynamics_table(dynamics.read_courses(usual.record())).set_index("measure")

    assert len(table) == len(dynamics.PANELS)
    assert table.loc["score"].to_dict() == {
        "number": 1, "role": "best so far", "start": 0.5, "end": 1.5, "lowest": 0.5, "highest": 1.5,
    }  # fmt: skip


def test_the_figure_has_a_line_per_trial_and_metric_and_limits_within_sight(
    usual: HandMade, log: Log
) -> None:
    log(0)
    log(1, objective__kl_per_sequence=2.5, response__tokens_mean=1.0)
    courses = dynamics.read_courses(usual.record())

    figure = dynamics.dynamics_figure(courses, usual.config.ppo, 3.0)

    assert [line.name for line in figure.data] == ["trial 1 (best so far)", "trial 0 (default)"] * 7
    assert sum(line.showlegend for line in figure.data) == 2
    assert len({(line.line.color, line.line.dash) for line in figure.data}) == 2
    assert sorted(shape.y0 for shape in figure.layout.shapes) == [0.0, 3.0]  # the length limit is far off


def test_long_runs_cost_few_letters(usual: HandMade, log: Log) -> None:
    for number in (0, 1, 3, 6):
        log(number, n=500, objective__score_mean=1 / 3)

    figure = dynamics.dynamics_figure(dynamics.read_courses(usual.record()), usual.config.ppo, 3.0)

    assert all(len(line.x) <= dynamics.MAX_POINTS for line in figure.data)
    assert len(json.dumps(figure.to_dict(), default=str)) < 60_000


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=450))
def test_thinning_keeps_the_bounds_and_weighs_all_alike(values: list[float]) -> None:
    thinned = dynamics.thin(pd.DataFrame({"value": values}))["value"]

    assert len(thinned) == min(len(values), dynamics.MAX_POINTS)
    assert min(values) - 1e-9 <= thinned.min()
    assert thinned.max() <= max(values) + 1e-9
    if len(values) % dynamics.MAX_POINTS == 0:
        assert thinned.mean() == pytest.approx(np.mean(values), abs=1e-6)


def test_the_words_name_trial_and_trouble(usual: HandMade, log: Log) -> None:
    log(0, n=10, policy__clip_fraction=0.1, value__explained_variance=-0.5)
    log(1, n=10, policy__clip_fraction=0.1)
    courses = dynamics.read_courses(usual.record())

    words = dynamics.dynamics_reading(courses, usual.config.ppo, 3.0)

    assert words == (
        "A point is an iteration; dotted lines are the KL budget, zero and the length limit. Trial 0 (default): "
        "explained variance -0.50 at the end, so its value head is worse than a constant."
    )
    sound = dynamics.dynamics_reading(courses[:1], usual.config.ppo, 3.0)
    assert "None of these trials shows a sign of trouble" in sound


def test_the_words_say_what_a_point_is(usual: HandMade, log: Log) -> None:
    log(1, n=250)

    words = dynamics.dynamics_reading(dynamics.read_courses(usual.record()), usual.config.ppo, 3.0)

    assert words.startswith("A point is the mean of up to 3 iterations;")
