# mypy: ignore-errors
"""Results and endings stand beside each other as they were."""

from pathlib import Path
from typing import Any

import pytest

from ppo_tune.reporting.comparison import beside
from ppo_tune.reporting.comparison.best_so_far import progress_table
from ppo_tune.reporting.comparison.comparability import Contender
from tests.reporting.contenders import make


@pytest.fixture
def contenders(tmp_path: Path) -> list[Contender]:
    """`a`: default 0.5, best 0.9 of trial 2, one pruned. `b`: only a default, beyond the KL budget."""
    one = [("completed", [0.5] * 5), ("pruned", [0.1, 0.2]), ("completed", [0.9] * 5, {"kl": 2.0, "gold": [0.7] * 5}),
           ("completed", [0.6] * 5), ("lost", [0.4])]  # fmt: skip
    other = [("completed", [0.8] * 5, {"kl": 4.0})]
    return [make(tmp_path, "a", one, base=-0.1), make(tmp_path, "b", other, sampler="random", base=0.1)]


def test_the_summary_has_the_best_of_each_study_and_what_was_spent(contenders: list[Contender]) -> None:
    table = beside.summary_table(contenders, progress_table(contenders)).set_index("study")

    a, b = table.loc["a"], table.loc["b"]
    assert (a["score"], a["gain"], a["default_score"], a["untrained_score"]) == (0.9, 0.4, 0.5, -0.1)
    assert (a["kl"], a["gold"], a["score_error"]) == (2.0, 0.7, 0.1)
    assert (a["best_trial"], a["sampler"], a["trials"]) == ("trial 2", "gp", 4)
    assert a["episodes"] == 3 * 640 + 256 + 128
    assert b[["score", "gain", "kl", "gold"]].isna().all()
    assert (b["best_trial"], b["default_score"], b["trials"], b["episodes"]) == ("–", 0.8, 1, 640)


def test_the_summary_warns_where_scores_do_not_compare(tmp_path: Path) -> None:
    both = [make(tmp_path, "a"), make(tmp_path, "b", task={"heldout_prompts": 3})]

    section = beside.summary(both, progress_table(both))

    assert section.reading.endswith(
        "Scores of different studies do not compare; each gain is in its own study's units."
    )
    assert section.table is not None
    assert section.table["score"].isna().all()


def test_endings_add_up_for_every_study(contenders: list[Contender]) -> None:
    table = beside.endings_table(contenders)

    assert table[["study", "ending", "trials", "episodes"]].to_numpy().tolist() == [
        ["a", "completed", 3, 1920],
        ["a", "pruned", 1, 256],
        ["a", "lost", 1, 128],
        ["b", "completed", 1, 640],
    ]
    assert table.groupby("study")["share"].sum().tolist() == pytest.approx([1.0, 1.0])


def test_what_completed_trials_took_is_said(contenders: list[Contender]) -> None:
    section = beside.endings(contenders)

    assert section is not None
    assert section.reading == (
        "Episodes spent on trials that reached the end: 83 % in a (3 of 4 trials) and 100 % in b (1 of 1 trials)."
    )


def test_of_many_studies_the_extremes_are_named(tmp_path: Path) -> None:
    def told(pruned: int) -> list[Any]:
        return [("completed", [0.5] * 5), *[("pruned", [0.1] * 5)] * pruned]

    many = [make(tmp_path, f"s{i}", told(i), ppo={"kl_coef": 0.1 + i}) for i in range(6)]

    assert beside.endings_reading(beside.endings_table(many)) == (
        "Episodes spent on trials that reached the end: 17 % in s5 (1 of 6 trials) to 100 % in s0 (1 of 1 trials)."
    )


def test_studies_that_have_not_begun_have_no_endings(tmp_path: Path) -> None:
    assert beside.endings([make(tmp_path, "a"), make(tmp_path, "b")]) is None
