# mypy: ignore-errors
"""What studies found to matter and where their best trials stand, beside each other."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ppo_tune.reporting.analysis import importance
from ppo_tune.reporting.comparison import beside, compare, findings
from ppo_tune.reporting.comparison.best_so_far import progress_table, styles
from ppo_tune.reporting.comparison.comparability import Contender, read_contender
from ppo_tune.reporting.record import StudyRecord
from tests.reporting.conftest import HandMade, confirm
from tests.reporting.contenders import make

RATE, BATCH, EPOCHS = "learning_rate", "batch_size", "ppo_epochs"
NARROW = {RATE: {"type": "float", "low": 1e-4, "high": 1e-3, "log": True}}


def best(rate: float, batch: int, epochs: int) -> tuple[str, list[float], dict[str, Any]]:
    """The best trial of a study, with its values."""
    return "completed", [0.9] * 5, {"params": {RATE: rate, BATCH: batch, EPOCHS: epochs}}


def tables(monkeypatch: pytest.MonkeyPatch, **found: dict[str, tuple[float, bool]]) -> None:
    """Let each study's importances be these, beyond noise or not."""

    def importance_table(record: StudyRecord) -> pd.DataFrame:
        rows = [
            {"name": n, "share": value, "clear": sure} for n, (value, sure) in found[record.config.name].items()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["name", "share", "clear"])

    monkeypatch.setattr(importance, "importance_table", importance_table)


@pytest.fixture
def pair(tmp_path: Path) -> list[Contender]:
    return [make(tmp_path, "a"), make(tmp_path, "b", sampler="random")]


def test_importances_stand_beside_each_other(monkeypatch: pytest.MonkeyPatch, pair: list[Contender]) -> None:
    tables(monkeypatch, a={BATCH: (0.6, True), RATE: (0.3, False)}, b={RATE: (0.8, True)})

    section = findings.importances(pair)

    assert section is not None
    assert section.table is not None
    assert section.table.to_dict("list") == {
        "name": [RATE, BATCH],
        "a": ["(0.30)", "0.60"],
        "b": ["0.80", "–"],
    }
    assert section.reading == (
        "Told from noise for the score within the KL budget: batch_size in a; learning_rate in b. Pale bars could be "
        "chance."
    )


def test_what_could_be_chance_is_pale_and_colours_are_the_studies(
    monkeypatch: pytest.MonkeyPatch, pair: list[Contender]
) -> None:
    tables(monkeypatch, a={BATCH: (0.6, True), RATE: (0.3, False)}, b={RATE: (0.8, True)})

    section = findings.importances(pair)

    assert section is not None
    assert section.figure is not None
    looks = styles(pair)
    assert [trace.marker.color for trace in section.figure.data] == [looks["a"][0], looks["b"][0]]
    assert all(trace.showlegend for trace in section.figure.data)
    bars = {
        trace.name: dict(zip(trace.y, trace.marker.opacity, strict=True)) for trace in section.figure.data
    }
    assert bars == {"a": {RATE: findings.PALE, BATCH: 1}, "b": {RATE: 1}}


def test_runs_have_bars_of_their_own_and_one_legend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tables(monkeypatch, a={RATE: (0.3, True)}, b={RATE: (0.5, True)})
    seeds = [make(tmp_path, label, seed=i) for i, label in enumerate("ab")]

    section = findings.importances(seeds)

    assert section is not None
    assert section.figure is not None
    bars = [(trace.name, trace.showlegend, list(trace.x)) for trace in section.figure.data]
    assert bars == [("a (2 runs)", True, [0.3]), ("a (2 runs)", False, [0.5])]


def test_other_ranges_and_too_few_trials_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tables(monkeypatch, a={RATE: (0.3, False)}, b={})
    both = [make(tmp_path, "a"), make(tmp_path, "b", space=NARROW)]

    section = findings.importances(both)

    assert section is not None
    assert section.reading == (
        "In no study can a hyperparameter be told from noise for the score within the KL budget. Pale bars could be "
        "chance. b has too few trials to say. "
        "Their ranges differ, and a wider range makes a hyperparameter matter more: compare the order, not the length."
    )


def test_without_enough_trials_anywhere_there_is_nothing_to_show(pair: list[Contender]) -> None:
    assert findings.importances(pair) is None


def values(contenders: list[Contender]) -> Any:
    section = findings.best_values(contenders, progress_table(contenders))
    assert section is not None
    return section


def test_values_of_the_best_trials_stand_beside_the_default(tmp_path: Path) -> None:
    both = [
        make(tmp_path, "a", [best(1e-3, 16, 2)]),
        make(tmp_path, "b", [best(5e-4, 8, 3)], sampler="random"),
    ]

    table = values(both).table

    assert table.to_dict("list") == {
        "name": [RATE, BATCH, EPOCHS],
        "default": ["0.0001", "32", "4"],
        "a": ["0.001", "16", "2"],
        "b": ["0.0005", "8", "3"],
    }


def test_a_value_that_was_not_searched_is_said_to_be_fixed(tmp_path: Path) -> None:
    narrow = ("completed", [0.9] * 5, {"params": {RATE: 1e-3}})
    both = [make(tmp_path, "a", [best(1e-3, 16, 2)]), make(tmp_path, "b", [narrow], space=NARROW)]

    assert values(both).table["b"].tolist() == ["0.001", "32 (fixed)", "4 (fixed)"]


def test_a_study_without_a_best_has_no_values(tmp_path: Path) -> None:
    both = [make(tmp_path, "a", [best(1e-3, 16, 2)]), make(tmp_path, "b", sampler="random")]

    assert values(both).table["b"].tolist() == ["–"] * 3


def test_defaults_that_differ_are_said_to_differ(tmp_path: Path) -> None:
    other = {RATE: {"type": "float", "low": 1e-3, "high": 1e-2, "log": True}}
    trial = ("completed", [0.9] * 5, {"params": {RATE: 1e-3}})
    both = [make(tmp_path, "a", [best(1e-3, 16, 2)]), make(tmp_path, "b", [trial], space=other)]

    assert values(both).table["default"].tolist() == ["differs", "32", "4"]


def test_the_confirmed_winner_is_the_best_and_not_the_luckiest_of_the_search(tmp_path: Path) -> None:
    """In the search trial 2 led; on fresh seeds trial 1 won, at 0.002 and batches of 8."""
    made = HandMade(tmp_path)
    made.add("completed", [0.5] * 5, gold=[0.5] * 5, baseline=True)
    made.add("completed", [0.8] * 5, gold=[0.5] * 5, params={RATE: 2e-3, BATCH: 8, EPOCHS: 1})
    made.add("completed", [0.9] * 5, gold=[0.5] * 5, params={RATE: 5e-3, BATCH: 32, EPOCHS: 4})
    confirm(made, {0: 0.4, 1: 0.9, 2: 0.4})
    both = [
        read_contender(made.study, made.config, made.folder, "a"),
        make(tmp_path, "b", [best(1e-3, 16, 2)]),
    ]
    progress = progress_table(both)

    table = values(both).table
    summary = beside.summary_table(both, progress).set_index("study")

    assert table["a"].tolist() == ["0.002", "8", "1"]
    assert summary.loc["a", ["best_trial", "confirmed", "score"]].tolist() == ["trial 1", True, 0.8]
    assert summary.loc["a", "gain"] == pytest.approx(0.3)
    assert summary.loc["b", ["best_trial", "confirmed"]].tolist() == ["trial 0", False]
    assert compare.final_gains(both, progress) == {"a": pytest.approx(0.3), "b": pytest.approx(0.0)}


def test_a_confirmed_winner_beyond_the_smaller_budget_is_not_the_best_there(tmp_path: Path) -> None:
    made = HandMade(tmp_path)
    made.add("completed", [0.5] * 5, gold=[0.5] * 5, kl=0.5, baseline=True)
    made.add("completed", [0.8] * 5, gold=[0.5] * 5, kl=2.5)
    confirm(made, {0: 0.4, 1: 0.9})
    narrow = make(tmp_path, "b", [best(1e-3, 16, 2)], kl_budget=2.0)
    both = [read_contender(made.study, made.config, made.folder, "a"), narrow]

    found = beside.best_of(both[0], progress_table(both))

    assert found is not None
    assert found.number == 0
