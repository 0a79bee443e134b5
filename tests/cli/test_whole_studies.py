"""Deleting and renaming as somebody types it: what is asked, what is said, and when nothing is done."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ppo_tune
from tests.cli.conftest import Cli


@pytest.fixture
def here(copy_searched: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the searched study `small`."""
    out = copy_searched()
    monkeypatch.chdir(out)
    return out


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Somebody is there, and types this."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        "typer.confirm", lambda question, **_: sys.stdout.write(f"{question}\n") > 0 and text == "y"
    )


def test_a_study_is_deleted_once_somebody_says_yes(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "reports" / "small").mkdir(parents=True)
    answer(monkeypatch, "n")
    kept = cli("delete", "small")
    there = ppo_tune.study_names()
    answer(monkeypatch, "y")
    gone = cli("delete", "small")

    assert kept.out.splitlines()[1:] == ["Delete study small for good?", "nothing was deleted"]
    assert kept.out.startswith("this deletes study small: 3 trials, and runs/small with 0.")
    assert (kept.code, gone.code, there) == (0, 0, ["small"])
    assert gone.out.splitlines()[-1] == "its report stays in reports/small"
    assert ppo_tune.study_names() == []


def test_where_nobody_can_be_asked_yes_must_be_given(cli: Cli, here: Path) -> None:
    refused = cli("delete", "small")
    there = ppo_tune.study_names()
    gone = cli("delete", "small", "--yes")

    assert refused.code == 2
    assert refused.err.startswith(
        "error: --yes: must be given where nobody can be asked; it deletes study small: 3 trials, and runs/small with "
    )
    assert there == ["small"]
    assert gone.out.startswith("deleted study small: 3 trials, and runs/small with 0.")
    assert gone.out.count("\n") == 1
    assert ppo_tune.study_names() == []


def test_a_study_that_is_not_there_is_not_asked_about(cli: Cli, here: Path) -> None:
    outcome = cli("delete", "smal")

    assert (outcome.code, outcome.err) == (
        2,
        "error: there is no study 'smal' at runs/smal/study.db; did you mean 'small'? Else start it with "
        "`ppo-tune search`\n",
    )


def test_a_renamed_study_is_told_how_to_go_on_with(cli: Cli, here: Path) -> None:
    renamed = cli("rename", "small", "new")
    reported, exported = cli("report", "new"), cli("export", "new")

    assert renamed.out == (
        "study small is now new, in runs/new\n"
        "ppo-tune extend new goes on with it, ppo-tune report new writes its report\n"
        "your own file goes on with it by --name new\n"
    )
    assert (reported.code, exported.code) == (0, 0), reported.err + exported.err
    assert "report     reports/new/index.html" in reported.out
    assert ppo_tune.load_study(here / "small.yaml", name="new") == ppo_tune.open_study("new")[1]


def test_a_rename_says_what_keeps_the_earlier_name(cli: Cli, here: Path) -> None:
    cli("report", "small")
    cli("export", "small")
    cli("export", "small", "--trial", "1", "--to", "trl")
    (here / "exports" / "small-er-native").mkdir()

    renamed = cli("rename", "small", "new")

    assert renamed.out.splitlines()[3:] == [
        f"{folder} stays, and calls it small"
        for folder in ("reports/small", "exports/small-native", "exports/small-trial-1-trl")
    ]


def test_a_name_that_is_taken_is_said(cli: Cli, here: Path) -> None:
    (here / "runs" / "new").mkdir()

    outcome = cli("rename", "small", "new")

    assert (outcome.code, outcome.err) == (
        2,
        "error: there is a study 'new' already; give another name, or delete that one first\n",
    )
