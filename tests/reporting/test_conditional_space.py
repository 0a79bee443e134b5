"""A report of a study in which some hyperparameters are searched beside some values of others only."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppo_tune.config.space import Space
from ppo_tune.reporting import write_files
from ppo_tune.reporting.analysis.edges import edges_table
from ppo_tune.reporting.analysis.importance import importance_table, score_sample
from ppo_tune.reporting.axes import axes_of
from ppo_tune.reporting.chapters import values
from ppo_tune.reporting.chapters.importance import chapter as importance
from ppo_tune.reporting.chapters.importance import interaction
from tests.reporting.conftest import HandMade

SPACE = Space.model_validate({
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "gamma": {"type": "float", "low": 0.9, "high": 0.9999, "log": "complement"},
    "kl_target": {"type": "categorical", "choices": [None, 2.0, 4.0]},
    "kl_horizon": {"type": "float", "low": 100, "high": 1000, "log": True, "when": {"kl_target": [2.0, 4.0]}},
})  # fmt: skip


@pytest.fixture
def conditional(hand_made: HandMade) -> HandMade:
    """Thirty trials, of which those without a target have no horizon; the shorter it is, the better."""
    hand_made.config = hand_made.config.model_copy(update={"space": SPACE})
    hand_made.study.set_user_attr("config", hand_made.config.model_dump(mode="json"))
    rng = np.random.default_rng(0)
    for number in range(30):
        params: dict[str, Any] = {
            "learning_rate": float(10 ** rng.uniform(-4, -2)),
            "gamma": float(1 - 10 ** rng.uniform(-4, -1)),
        }
        target = [None, 2.0, 4.0][number % 3]
        horizon = float(10 ** rng.uniform(2, 3))
        params |= {"kl_target": target} if target is None else {"kl_target": target, "kl_horizon": horizon}
        score = 0.5 if target is None else 4 - np.log10(horizon)
        hand_made.add(
            "completed", [score - 0.1, score] + [score] * 3, params=params, baseline=number == 0, kl=1.0
        )
    return hand_made


def test_the_table_of_trials_is_blank_where_a_value_was_not_searched(conditional: HandMade) -> None:
    table = conditional.record().table

    assert table["kl_horizon"].isna().tolist() == [number % 3 == 0 for number in range(30)]


def test_slices_leave_out_trials_in_which_the_value_was_not_searched(conditional: HandMade) -> None:
    record = conditional.record()

    figure = values.slices_figure(record.table, axes_of(SPACE), values.resting(record))

    drawn = [sum(len(t.x) for t in figure.data if t.xaxis == axis) for axis in ("x", "x2", "x3", "x4")]
    assert drawn == [30, 30, 30, 20]
    assert [t.name for t in figure.data if t.showlegend] == ["completed", "best so far", "default"]


def test_importance_is_asked_of_every_trial_and_says_where_a_value_is_searched(conditional: HandMade) -> None:
    record = conditional.record()

    table = importance_table(record).set_index("name")

    assert set(table.index) == set(SPACE)
    assert table.loc["kl_horizon", "clear"] or table.loc["kl_target", "clear"]
    assert table.loc[["learning_rate", "gamma"], "share"].max() < table.loc["kl_horizon", "share"]
    reading = importance.score_reading(record, importance_table(record))
    assert reading.endswith(
        "kl_horizon is searched only where kl_target is 2.0 or 4.0: other trials say nothing of it."
    )
    conditional.config = conditional.config.model_copy(update={"constraints": ("gamma < 0.999",)})
    assert importance.score_reading(conditional.record(), importance_table(record)).endswith(
        "Only configs that the constraints allow count: what they tie to others decides less, for little is open once "
        "the others are known."
    )


def test_two_together_are_asked_of_trials_that_have_both(conditional: HandMade) -> None:
    record = conditional.record()
    sample, trials = score_sample(record)
    points = record.table.loc[[t.number for t in trials], ["number", "role"]]

    (first, *_) = interaction.sections(sample, ("kl_horizon", "learning_rate"), points, 0)

    assert "over 20 trials" in first.reading


def test_the_best_crowd_at_an_edge_among_those_that_have_the_value(conditional: HandMade) -> None:
    params = {"learning_rate": 1e-3, "gamma": 0.99, "kl_target": 2.0, "kl_horizon": 101.0}
    for _ in range(4):
        conditional.add("completed", [9.0] * 5, params=params)
    conditional.add("completed", [9.0] * 5, params={"learning_rate": 1e-3, "gamma": 0.99, "kl_target": None})

    table = edges_table(conditional.record())

    assert table[["name", "end", "winner", "near", "best"]].values.tolist() == [
        ["kl_horizon", "lower", True, 4, 4]
    ]


def test_a_whole_report_is_written(conditional: HandMade, tmp_path: Path) -> None:
    report = write_files(conditional.record(), tmp_path / "report", markdown=True)

    assert report.params.keys() == set(SPACE)
    assert "searched only where" in report.page.read_text(encoding="utf-8")
    assert "kl_horizon" in (tmp_path / "report" / "best.yaml").read_text(encoding="utf-8")
