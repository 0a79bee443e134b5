"""What is meant by the paths and studies that are typed: one rule for all commands."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

from ppo_tune.cli import COMMANDS
from ppo_tune.cli.arguments import CanBePath, IsStudy, meant, study_at
from ppo_tune.cli.compare import compare
from ppo_tune.cli.evaluate import evaluate
from ppo_tune.cli.init import init
from ppo_tune.cli.reward import reward
from ppo_tune.cli.search import search
from ppo_tune.cli.sft import sft
from ppo_tune.cli.train import train
from tests.cli.conftest import Cli


@pytest.fixture
def here(copy_searched: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder, with the searched study `small`; it is the home too, and `$HERE`."""
    out = copy_searched()
    monkeypatch.chdir(out)
    monkeypatch.setenv("HOME", str(out))
    monkeypatch.setenv("HERE", str(out))
    monkeypatch.delenv("NOWHERE", raising=False)
    return out


@pytest.mark.parametrize(
    ("command", "typed", "found"),
    [
        (search, {"out": Path("~/x")}, {"out": Path("{here}/x")}),
        (search, {"file": Path("$HERE/a.yaml")}, {"file": Path("{here}/a.yaml")}),
        (search, {"storage": "sqlite:///$HERE/x.db"}, {"storage": "sqlite:///{here}/x.db"}),
        (search, {"storage": "postgresql://u:$HERE@h/d"}, {"storage": "postgresql://u:$HERE@h/d"}),
        (search, {"settings": ["task.path=~/x"]}, {"settings": ["task.path=~/x"]}),
        (compare, {"out": [Path("~"), Path("$HERE/b")]}, {"out": [Path("{here}"), Path("{here}/b")]}),
        (compare, {"storage": ["sqlite:///~/x.db"]}, {"storage": ["sqlite:///{here}/x.db"]}),
        (evaluate, {"model": "~/m", "base": "${HERE}/b"}, {"model": "{here}/m", "base": "{here}/b"}),
        (init, {"data": Path("~/a.csv"), "model": "~/m"}, {"data": Path("{here}/a.csv"), "model": "{here}/m"}),
        (sft, {"base": "~/b", "out": Path("~/o")}, {"base": "{here}/b", "out": Path("{here}/o")}),
        (reward, {"base": "~/b", "data": Path("~/d")}, {"base": "{here}/b", "data": Path("{here}/d")}),
        (train, {"config": "~/b", "studies": Path("~")}, {"config": "{here}/b", "studies": Path("{here}")}),
    ],
)  # fmt: skip
def test_home_and_variables_are_filled_in_wherever_a_path_is_typed(
    here: Path, command: Callable[..., Any], typed: dict[str, Any], found: dict[str, Any]
) -> None:
    signature = inspect.signature(command)

    assert meant(signature, typed) == {name: _placed(value, here) for name, value in found.items()}


def _placed(value: Any, here: Path) -> Any:
    if isinstance(value, list):
        return [_placed(one, here) for one in value]
    return type(value)(str(value).format(here=here))


def test_what_is_there_is_meant_as_it_is_typed(here: Path) -> None:
    (here / "~").mkdir()

    assert meant(inspect.signature(search), {"out": Path("~")}) == {"out": Path("~")}


def test_all_paths_that_mean_nothing_are_told_by_their_flags(cli: Cli, here: Path) -> None:
    refused = cli(
        "search", "$NOWHERE/a.yaml", "--out", "~nobody-here/x", "--storage", "sqlite:///$NOWHERE/x.db"
    )

    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "error: FILE: the variable NOWHERE is not set, but got '$NOWHERE/a.yaml'; set it, or write the path out\n"
        "--storage: the variable NOWHERE is not set, but got '$NOWHERE/x.db'; set it, or write the path out\n"
        "--out: there is no such user, but got '~nobody-here/x'; write the path out, or ./~… for a file\n"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_text_that_names_a_model_or_a_study_is_marked(name: str) -> None:
    parameters = inspect.signature(getattr(import_module(f"ppo_tune.cli.{name}"), name)).parameters

    marked = {
        p.name for p in parameters.values() if any(isinstance(m, CanBePath) for m in get_args(p.annotation))
    }

    assert marked >= parameters.keys() & {"study", "studies", "model", "base", "storage"} - (
        {"studies"} if name == "train" else set()
    )
    assert all(IsStudy() in get_args(p.annotation) for p in parameters.values() if p.name == "study")


@pytest.mark.parametrize(
    ("typed", "cwd", "study", "out"),
    [
        ("small", ".", "small", "."),
        ("small.yaml", ".", "small", "."),
        ("./small.yaml", ".", "small", "."),
        ("studies/small.yml", ".", "small", "."),
        ("runs/small", ".", "small", "."),
        ("runs/small/", ".", "small", "."),
        ("runs/small/small.yaml", ".", "small", "."),
        ("../runs/small", "studies", "small", ".."),
        ("{here}/runs/small", "studies", "small", ".."),
        (".", "runs/small", "small", "../.."),
        ("a.b", ".", "a.b", "."),
        ("", ".", "", "."),
        ("a/b", ".", "a/b", "."),
    ],
)  # fmt: skip
def test_a_study_is_told_by_its_name_its_file_or_its_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, typed: str, cwd: str, study: str, out: str
) -> None:
    (here / "studies").mkdir()
    monkeypatch.chdir(here / cwd)

    assert study_at(typed.format(here=here), Path()) == (study, Path(out))


def test_a_study_whose_name_ends_like_a_file_is_found_by_it(here: Path) -> None:
    (here / "runs" / "small").rename(here / "runs" / "small.yaml")

    assert study_at("small.yaml", Path()) == ("small.yaml", Path())


def test_a_folder_beside_another_out_is_refused(cli: Cli, here: Path) -> None:
    refused, agreed = (
        cli("status", "runs/small", "--out", "other"),
        cli("status", "runs/small", "--out", here),
    )

    assert (refused.code, agreed.code) == (2, 0)
    assert refused.err == (
        f"error: --out: is other, but runs/small is in {here}; leave one of both out, or name the study by small\n"
    )


@pytest.mark.parametrize("typed", ["runs/small", "runs/small/", "small.yaml", "../{name}/runs/small"])
def test_every_command_about_a_study_takes_its_file_and_folder(cli: Cli, here: Path, typed: str) -> None:
    typed = typed.format(name=here.name)

    told = [
        cli(*words)
        for words in (("status", typed), ("export", typed, "--print"), ("compare", typed, "small"))
    ]
    of_trial = cli("train", typed, "--trial", 9)

    assert [one.code for one in told] == [0, 0, 2]
    assert "study 'small' is given twice" in told[2].err
    assert "trial 9 of study 'small' is not there" in of_trial.err


def test_what_status_says_to_type_next_finds_the_study_from_there(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "deep").mkdir()
    monkeypatch.chdir(here / "deep")

    told = cli("status", "../runs/small", "--json")

    assert "--out .." in told.out or "../reports" in told.out


@pytest.mark.parametrize(
    "words",
    [
        ("status", "smal"), ("delete", "smal"), ("rename", "smal", "new"), ("train", "smal", "--trial", "1"),
        ("confirm", "smal"), ("report", "smal"), ("export", "smal"), ("extend", "smal"), ("rerun", "smal", "1"),
        ("compare", "smal", "small"), ("status", "runs/smal"), ("status", "smal.yaml"),
    ],
)  # fmt: skip
def test_a_misspelt_study_is_told_with_the_one_that_was_meant(
    cli: Cli, here: Path, words: tuple[str, ...]
) -> None:
    refused = cli(*words)

    assert refused.code == 2
    assert (
        "there is no study 'smal' at runs/smal/study.db; did you mean 'small'? Else start it" in refused.err
    )


def test_a_misspelt_study_of_a_store_is_told_with_the_one_that_was_meant(cli: Cli, here: Path) -> None:
    refused = cli("status", "smal", "--storage", "sqlite:///runs/small/study.db")

    assert "there is no study 'smal' in that store; it holds: small; did you mean 'small'?" in refused.err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("smal.yaml", "smal.yaml: no such file (looked in {here}); did you mean 'small.yaml'?"),
        ("smal", "smal: no such file (looked in {here}); did you mean 'small.yaml'?"),
        ("small", "small: no such file (looked in {here}); did you mean 'small.yaml'?"),
        ("serach_spaces/grid.yaml", "no such file (looked in {here}); did you mean 'search_spaces/grid.yaml'?"),
        ("serach_spaces/gird.yaml", "no such file (looked in {here}); did you mean 'search_spaces/grid.yaml'?"),
        ("quikstart", "(looked in {here}), and as a study file that comes with ppo-tune unknown 'quikstart'; did"),
        ("quikstart.yaml", "(looked in {here}); did you mean 'quickstart', which comes with ppo-tune?"),
        ("nowhere.yaml", "nowhere.yaml: no such file (looked in {here})\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["search", "check"])
def test_a_misspelt_study_file_is_told_with_the_one_that_was_meant(
    cli: Cli, here: Path, command: str, typed: str, told: str
) -> None:
    cli("examples", "grid")

    refused = cli(command, typed)

    assert refused.code == 2
    assert told.format(here=here) in refused.err
