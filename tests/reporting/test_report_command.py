"""`ppo-tune report` with its flags."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ppo_tune.cli import app, main
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import storage_url
from tests.reporting.conftest import HandMade, fill_usual


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that holds the usual study, in a store of its own."""
    folder = StudyFolder.of(tmp_path, "hand").path
    folder.mkdir(parents=True)
    fill_usual(HandMade(folder, storage_url(tmp_path, "hand")))
    return tmp_path


def test_a_report_is_a_page_two_tables_and_the_best_config(out: Path) -> None:
    done = CliRunner().invoke(app, ["report", "hand", "--out", str(out)])

    assert done.exit_code == 0, done.output
    written = {path.name for path in (out / "reports" / "hand").iterdir()}
    assert written >= {"index.html", "trials.csv", "curves.csv", "best.yaml"}
    assert not written & {"summary.md", "figures"}


def test_markdown_adds_a_summary_with_the_best_config(out: Path) -> None:
    done = CliRunner().invoke(app, ["report", "hand", "--out", str(out), "--markdown"])

    summary = (out / "reports" / "hand" / "summary.md").read_text(encoding="utf-8")
    assert done.exit_code == 0, done.output
    assert "  learning_rate: 0.001\n" in summary
    assert "](figures/" not in summary


def test_pictures_without_their_extra_are_one_message_after_the_page(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    monkeypatch.setattr(sys, "argv", ["ppo-tune", "report", "hand", "--out", str(out), "--png"])

    with pytest.raises(SystemExit) as stopped:
        main()

    assert stopped.value.code == 2
    assert "kaleido is not installed; run: pip install 'ppo-tune[png]'" in capsys.readouterr().err
    assert (out / "reports" / "hand" / "index.html").is_file()
