# mypy: ignore-errors
"""`ppo-tune compare`: where the page goes, which studies it takes, and what it says of a wrong call."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ppo_tune.reporting.comparison import compare
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import storage_url
from tests.cli.conftest import Cli
from tests.reporting.conftest import HandMade, fill_usual

Maker = Callable[..., Path]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a finished study named `hand`; telling trials one by one takes seconds."""
    folder = tmp_path_factory.mktemp("told")
    fill_usual(HandMade(folder, f"sqlite:///{folder / 'study.db'}"))
    return folder / "study.db"


@pytest.fixture
def finished(tmp_path: Path, told: Path) -> Maker:
    """Makes a finished study, in a folder of its own or beside another."""

    def make(name: str, out: str = "") -> Path:
        folder = StudyFolder.of(tmp_path / out, name).path
        folder.mkdir(parents=True)
        shutil.copy(told, folder / "study.db")
        with closing(sqlite3.connect(folder / "study.db")) as store, store:
            store.execute("UPDATE studies SET study_name = ?", [name])
        return tmp_path / out

    return make


def test_the_page_goes_beside_the_reports_and_the_terminal_says_what_it_says(
    cli: Cli, finished: Maker
) -> None:
    out = finished("a")
    finished("b")

    outcome = cli("compare", "a", "b", "--out", out)

    assert outcome.code == 0, outcome.err
    assert (out / "reports" / "a+b" / "index.html").is_file()
    assert (out / "reports" / "a+b" / "progress.csv").is_file()
    assert "They differ in nothing that was set." in outcome.out
    assert f"comparison {out / 'reports' / 'a+b' / 'index.html'}" in outcome.out


def test_two_folders_may_hold_studies_of_one_name(cli: Cli, finished: Maker, tmp_path: Path) -> None:
    old, new = finished("hand", "old"), finished("hand", "new")

    outcome = cli("compare", "hand", "hand", "--out", old, "--out", new, "--folder", tmp_path / "here")

    assert outcome.code == 0, outcome.err
    lines = (tmp_path / "here" / "progress.csv").read_text(encoding="utf-8").splitlines()
    assert {line.partition(",")[0] for line in lines[1:]} == {"old/hand", "new/hand"}


def test_two_stores_may_hold_studies_of_one_name(cli: Cli, finished: Maker, tmp_path: Path) -> None:
    urls = [storage_url(finished("hand", out), "hand") for out in ("old", "new")]

    outcome = cli("compare", "hand", "hand", "--storage", urls[0], "--storage", urls[1], "--out", tmp_path)

    assert outcome.code == 0, outcome.err
    page = (tmp_path / "reports" / "hand+hand" / "index.html").read_text(encoding="utf-8")
    assert "hand (1)" in page
    assert "hand (2)" in page


def test_a_long_list_gets_a_short_folder(finished: Maker) -> None:
    names = [f"{'x' * 99}{i}" for i in range(3)]

    assert compare._folder_name(names) == f"{names[0]}+2-others"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["a"], "compare: takes two studies or more, but got only 'a'; `ppo-tune report`", id="one"
        ),
        pytest.param(
            ["a", "a"], "compare: study 'a' is given twice; leave one out, or say with --out", id="twice"
        ),
        pytest.param(["a", "other"], "there is no study 'other' at", id="unknown"),
        pytest.param(
            ["a", "../b"], "study name: must be letters, digits, dots, dashes and underscores", id="name"
        ),
        pytest.param(
            ["a", "b", "--storage", "sqlite:///1", "--storage", "sqlite:///2", "--storage", "sqlite:///3"],
            "--storage: give it once for all studies or once for each of the 2, but got it 3 times",
            id="storages",
        ),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    cli: Cli, finished: Maker, arguments: list[str], message: str
) -> None:
    out = finished("a")

    outcome = cli("compare", *arguments, "--out", out)

    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not (out / "reports").exists()


def test_without_a_study_the_call_is_wrong(cli: Cli) -> None:
    assert cli("compare").code == 2


def test_a_folder_that_cannot_be_written_is_named(cli: Cli, finished: Maker, tmp_path: Path) -> None:
    out = finished("a")
    finished("b")
    (tmp_path / "file").write_text("", encoding="utf-8")

    outcome = cli("compare", "a", "b", "--out", out, "--folder", tmp_path / "file")

    assert outcome.code == 2
    assert "file cannot be written" in outcome.err
