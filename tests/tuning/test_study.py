"""A study in Python says what its report, its store and the functions of the commands say."""

from pathlib import Path
from typing import Any

import pytest

import ppo_tune
from ppo_tune.errors import PPOTuneError, StorageError
from ppo_tune.events import Event
from ppo_tune.reporting.page import build_chapters
from ppo_tune.reporting.record import read_record
from tests.tuning.objects import SETTINGS, CountRed


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the study's."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def study(small_world: Path, home: Path) -> "ppo_tune.Study":
    given: dict[str, Any] = {**SETTINGS, "model": str(small_world / "model"), "reward": CountRed()}
    return ppo_tune.tune(**given, out=home, watch=lambda _: None)


def test_it_says_what_the_store_and_the_report_say(study: "ppo_tune.Study", home: Path) -> None:
    opened, config = ppo_tune.open_study("tune", out=home)
    record = read_record(opened, config, home / "runs" / "tune")

    report = study.report(markdown=True)

    assert report.page == home / "reports" / "tune" / "index.html"
    for name, table in {"trials": study.trials, "curves": study.curves}.items():
        assert report.page.with_name(f"{name}.csv").read_text(encoding="utf-8") == table.to_csv(index=False)
    assert report.page.with_name("summary.md").is_file()
    assert study.verdict == record.verdict == report.verdict
    assert study.best == ppo_tune.best_config(opened, config)
    assert study.importance.empty  # three trials say nothing of that
    drawn = [s.anchor for chapter in build_chapters(record) for s in chapter.sections if s.figure is not None]
    assert list(study.figures) == drawn
    assert len(set(drawn)) == len(drawn)


def test_what_is_done_to_a_table_is_not_done_to_the_study(study: "ppo_tune.Study") -> None:
    for table in (study.trials, study.curves):
        table["score"] = 0.0

    assert (study.trials["score"] != 0.0).any()
    assert (study.curves["score"] != 0.0).any()


def test_a_report_goes_where_one_wants_it(study: "ppo_tune.Study", here: Path) -> None:
    assert study.report(here / "mine").page == here / "mine" / "index.html"


def test_it_is_found_by_its_name_and_by_its_folder(
    study: "ppo_tune.Study", home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "runs" / "tune"
    found = [
        ppo_tune.Study.load("tune", out=home),
        ppo_tune.Study.load(folder),
        ppo_tune.Study.load(str(folder)),
    ]
    monkeypatch.chdir(home)
    found += [ppo_tune.Study.load("tune"), ppo_tune.Study.load("runs/tune")]

    assert [one.config for one in found] == [study.config] * 5
    assert [one.optuna_study.get_trials() for one in found] == [study.optuna_study.get_trials()] * 5


def test_a_folder_that_is_no_studys_is_refused(
    study: "ppo_tune.Study", home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)

    with pytest.raises(StorageError) as caught:
        ppo_tune.Study.load("runs/tune/trials")
    with pytest.raises(
        StorageError, match=r"there is no study 'other' at runs/other/study\.db; start it with"
    ):
        ppo_tune.Study.load("runs/other")

    assert str(caught.value) == "a study's folder must be …/runs/<name>, but got 'runs/tune/trials'"


def test_it_hands_its_winner_on_as_the_command_does(study: "ppo_tune.Study", home: Path) -> None:
    made = study.export("openrlhf", trial=1)

    assert made.files == ppo_tune.export_study("tune", "openrlhf", trial=1, out=home).files
    with pytest.raises(PPOTuneError, match="trial 7 of study 'tune' is not there"):
        study.export(trial=7)


def test_a_confirmation_asks_the_object_that_the_search_asked(study: "ppo_tune.Study") -> None:
    told: list[Event] = []
    assert study.record.confirmation is None

    confirmed = study.confirm(top=1, seeds=2, watch=told.append)

    assert [event["text"] for event in told if event["kind"] == "note"] == [
        "task.reward: CountRed is an object of this session, and no other process can import it, so one worker trains "
        "in this process; import it from a file of its own, and several can"
    ]
    assert len([event for event in told if event["kind"] == "ended"]) == 4
    assert study.record.confirmation is None
    assert confirmed.record.confirmation is not None


def test_a_notebook_shows_the_verdict_and_the_best_trials(study: "ppo_tune.Study") -> None:
    shown = study._repr_html_()

    assert repr(study) == f"<study tune: {study.verdict.sentence}>"
    assert shown.startswith(f"<p><b>tune</b>: {study.verdict.sentence}</p><table")
    assert shown.count("<tr") == 1 + 3
    assert shown.index("<td>completed</td>") > 0
