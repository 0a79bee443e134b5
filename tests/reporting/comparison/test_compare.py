"""The page of a comparison: what differs comes first, nobody is ranked who cannot be, and texts stay texts."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from ppo_tune.reporting.comparison import compare, findings
from ppo_tune.reporting.comparison.best_so_far import progress_table
from ppo_tune.reporting.comparison.comparability import Contender
from tests.reporting.conftest import HOSTILE
from tests.reporting.contenders import make

TRIALS = [("completed", [0.5] * 5), ("pruned", [0.1]), ("completed", [0.9] * 5)]
OTHER_TASK = {"heldout_prompts": 5}
SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True, "points": 3},
    "batch_size": {"type": "categorical", "choices": [8, 16, 32]},
    "ppo_epochs": {"type": "int", "low": 1, "high": 4},
}


@pytest.fixture
def comparable(tmp_path: Path) -> list[Contender]:
    return [
        make(tmp_path, "tpe", TRIALS, space=SPACE),
        make(tmp_path, "grid", TRIALS[:1] * 3, space=SPACE, sampler="grid"),
    ]


@pytest.fixture
def incomparable(tmp_path: Path) -> list[Contender]:
    return [make(tmp_path, "one", TRIALS), make(tmp_path, "two", TRIALS, task=OTHER_TASK)]


def anchors(contenders: list[Contender]) -> list[str]:
    chapters = compare.chapters_of_comparison(contenders, progress_table(contenders))
    return [chapter.anchor for chapter in chapters]


def test_what_differs_comes_first(comparable: list[Contender], incomparable: list[Contender]) -> None:
    assert anchors(comparable) == ["differences", "results", "progress", "values", "spend"]
    assert anchors(incomparable) == ["differences", "results", "progress", "values", "spend"]


def test_the_headline_ranks_at_equal_spend_and_says_what_one_run_is_worth(
    comparable: list[Contender],
) -> None:
    words = compare.headline(comparable, progress_table(comparable))

    assert words[0] == (
        "After the same 1,408 episodes (all of the smallest study) the best score is 0.900 in tpe and 0.500 in grid."
    )
    assert words[1].startswith("tpe reached 0.9 after 1,408 episodes")
    assert words[2].startswith("A single run cannot show")


def test_the_headline_ranks_nobody_whose_scores_do_not_compare(incomparable: list[Contender]) -> None:
    words = compare.headline(incomparable, progress_table(incomparable))

    assert words == [
        "The scores of these studies cannot be compared.",
        "Their scores do not mean the same, because they differ in task.heldout_prompts.",
        "Each is shown by its gain over its own default config: one +0.400 and two +0.400.",
    ]


def test_worlds_of_the_embedded_task_are_told_apart_and_not_compared(tmp_path: Path) -> None:
    worlds = [make(tmp_path, "a"), make(tmp_path, "b", task={"seed": 3})]

    assert "on the task “support” and “support (seed 3)”. They differ in task.seed." in compare.kind(worlds)
    assert (
        compare.headline(worlds, progress_table(worlds))[0]
        == "The scores of these studies cannot be compared."
    )


def test_studies_that_have_not_begun_have_a_page_too(tmp_path: Path) -> None:
    both = [make(tmp_path, "a"), make(tmp_path, "b", sampler="random")]

    words = compare.write_comparison(both, tmp_path / "index.html")

    assert words == ["No trial has ended yet."]
    assert anchors(both) == ["differences", "results"]


@pytest.mark.parametrize(
    ("labels", "title"),
    [
        (["a", "b"], "a against b"),
        (["a", "b", "c", "d"], "a, b, c and d"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
    ],
)
def test_the_title_names_the_first_few(tmp_path: Path, labels: list[str], title: str) -> None:
    many = [make(tmp_path, label, ppo={"kl_coef": 0.1 + i}) for i, label in enumerate(labels)]

    assert compare.title(many) == title


def test_the_page_holds_every_section_and_figure(tmp_path: Path, comparable: list[Contender]) -> None:
    compare.write_comparison(comparable, tmp_path / "index.html")

    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for anchor in (
        "differences",
        "results",
        "against-episodes",
        "against-seconds",
        "reached",
        "spend",
    ):
        assert f'id="{anchor}"' in page
    figures = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert len(figures) == 2
    assert all(json.loads(figure)["data"] for figure in figures)
    assert "They differ in search.sampler." in page
    assert len(page) < 8_000_000


def test_every_trial_is_in_the_csv(tmp_path: Path, comparable: list[Contender]) -> None:
    compare.write_comparison(comparable, tmp_path / "index.html")

    table = pd.read_csv(tmp_path / "progress.csv")
    assert table.columns.tolist() == [
        "study", "trial", "ending", "episodes", "seconds", "score", "counts", "best_so_far", "gain",
    ]  # fmt: skip
    assert table["study"].tolist() == ["tpe"] * 3 + ["grid"] * 3
    assert table["episodes"].tolist() == [640, 768, 1408, 640, 1280, 1920]


def test_the_same_studies_give_the_same_page(tmp_path: Path, comparable: list[Contender]) -> None:
    for name in ("first.html", "second.html"):
        compare.write_comparison(comparable, tmp_path / name)

    assert (tmp_path / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()


def test_hostile_settings_stay_texts(tmp_path: Path) -> None:
    reward = {"reward": {"name": "rule", "include": {HOSTILE: 1.0}}}
    both = [make(tmp_path, "a", TRIALS), make(tmp_path, "b", TRIALS, task=reward)]

    compare.write_comparison(both, tmp_path / "index.html")

    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "</script><script>document" not in page
    assert "\x1b" not in page


@pytest.mark.slow
def test_a_thousand_trials_stay_thrifty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(findings, "importances", lambda _: None)  # has tests of its own
    many = [("completed" if i % 3 else "pruned", [i / 100] * (5 if i % 3 else 2)) for i in range(500)]
    both = [make(tmp_path, "a", many), make(tmp_path, "b", many, sampler="random")]

    compare.write_comparison(both, tmp_path / "index.html")

    assert (tmp_path / "index.html").stat().st_size < 8_000_000
