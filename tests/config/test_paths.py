"""What a name in a file means: `~` and variables, beside the file first, and what a file elsewhere has to say."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ppo_tune.config.block import Kind, Named
from ppo_tune.config.paths import Located, located, seen_from
from ppo_tune.config.study_file import load_run, load_study
from ppo_tune.config.training_file import load_training
from ppo_tune.errors import ConfigError
from ppo_tune.events import Event


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with `studies/` in it."""
    (tmp_path / "studies").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file(path: Path, text: str = "") -> Path:
    """Make a file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def find(value: str, kind: Kind = "file", folder: str | None = "studies") -> Located:
    """What a name means in a file of a folder."""
    return located(Named("task.path", kind, value), None if folder is None else Path(folder))


def test_a_path_is_looked_up_beside_the_file_and_named_from_here(here: Path) -> None:
    file(here / "studies" / "data.csv")

    found = find("data.csv")

    assert found == Located(
        "studies/data.csv", "task.path: studies/data.csv is taken, which is beside the file that names it"
    )
    assert find("../studies/data.csv").value == "studies/data.csv"


def test_what_is_not_beside_the_file_is_from_here_as_it_was_written(here: Path) -> None:
    file(here / "data.csv")

    assert find("./data.csv") == Located("./data.csv")
    assert find("nowhere.csv") == Located("nowhere.csv")


def test_where_both_are_there_the_one_beside_the_file_is_taken_and_that_is_a_surprise(here: Path) -> None:
    file(here / "data.csv")
    file(here / "studies" / "data.csv")

    found = find("data.csv")

    assert found.surprises
    assert found.told == (
        "task.path: studies/data.csv is taken, which is beside the file that names it; data.csv is there too, where "
        "this was started"
    )


def test_one_file_by_two_ways_is_no_surprise(here: Path) -> None:
    file(here / "data.csv")
    (here / "studies" / "data.csv").symlink_to(here / "data.csv")

    assert find("data.csv") == Located("data.csv")
    assert find("data.csv", folder=".") == Located("data.csv")


def test_a_study_folder_elsewhere_gives_whole_paths(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = file(here / "studies" / "data.csv")
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")

    assert find("data.csv", folder="../studies").value == str(data)


def test_a_link_to_the_studys_folder_leads_to_what_lies_beside_the_file_itself(here: Path) -> None:
    (here / "deep" / "runs" / "x").mkdir(parents=True)
    file(here / "deep" / "data.csv")
    (here / "runs").symlink_to(here / "deep" / "runs")

    assert find("../../data.csv", folder="runs/x").value == "deep/data.csv"


@pytest.mark.parametrize("kind", ["model", "judge"])
def test_a_hub_name_is_no_path_unless_a_model_is_there(here: Path, kind: Kind) -> None:
    (here / "studies" / "org" / "name").mkdir(parents=True)
    assert find("org/name", kind) == Located("org/name")

    assert find("./org/name", kind).value == "studies/org/name"
    file(here / "studies" / "org" / "name" / "config.json")

    assert find("org/name", kind).value == "studies/org/name"


def test_a_folder_of_data_is_a_path_and_an_empty_one_is_not(here: Path) -> None:
    (here / "studies" / "org" / "data").mkdir(parents=True)
    assert find("org/data") == Located("org/data")

    file(here / "studies" / "org" / "data" / "rows.jsonl")

    assert find("org/data").value == "studies/org/data"


def test_a_function_keeps_its_name(here: Path) -> None:
    file(here / "studies" / "r.py")

    assert find("r.py:score", "function").value == "studies/r.py:score"
    assert find("~/r.py:score", "function").value == f"{os.path.expanduser('~')}/r.py:score"


def test_a_recipe_is_no_path(here: Path) -> None:
    file(here / "studies" / "support")

    assert find("support", "recipe") == Located("support")


@pytest.mark.parametrize("folder", ["studies", None])
def test_home_and_variables_are_filled_in(
    here: Path, monkeypatch: pytest.MonkeyPatch, folder: str | None
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("DATA", "/big")
    monkeypatch.setenv("NAME", "x")

    assert find("~/data.csv", folder=folder).value == "/home/ada/data.csv"
    assert find("$DATA/${NAME}y.csv", folder=folder).value == "/big/xy.csv"
    assert find("a$", folder=folder).value == "a$"
    assert find("$5.csv", folder=folder).value == "$5.csv"


def test_a_variable_may_lead_beside_the_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "data")
    file(here / "studies" / "data.csv")

    assert find("$NAME.csv").value == "studies/data.csv"


@pytest.mark.parametrize("where", ["", "studies"])
def test_a_file_that_is_really_called_so_is_taken_as_it_is_written(here: Path, where: str) -> None:
    file(here / where / "$HOME.csv")

    assert find("$HOME.csv").value == os.path.join(where, "$HOME.csv")


@pytest.mark.parametrize(("name", "value"), [("UNHEARD", None), ("EMPTY", "")])
def test_a_variable_that_is_not_set_is_a_mistake(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv(name, value)

    with pytest.raises(ValueError, match="variable") as refused:
        find(f"${{{name}}}/data.csv")

    assert str(refused.value) == (
        f"the variable {name} is not set, but got '${{{name}}}/data.csv'; set it, or write the path out"
    )


def test_a_home_of_nobody_is_a_mistake(here: Path) -> None:
    with pytest.raises(ValueError, match="no such user") as refused:
        find("~nobody-here/data.csv")

    assert str(refused.value) == (
        "there is no such user, but got '~nobody-here/data.csv'; write the path out, or ./~… for a file"
    )


def test_a_name_seen_from_another_folder_leads_to_the_same_file(here: Path) -> None:
    data = file(here / "data" / "x.csv")
    folder = here / "runs" / "small"
    folder.mkdir(parents=True)

    assert seen_from("data/x.csv", "", folder) == "../../data/x.csv"
    assert seen_from("data/x.csv", ":score", folder) == "../../data/x.csv:score"
    assert seen_from(str(data), "", folder) == str(data)
    assert seen_from("org/name", "", folder) == "org/name"
    assert find(seen_from("data/x.csv", "", folder), folder="runs/small").value == "data/x.csv"


def test_a_study_file_finds_its_files_from_anywhere(
    here: Path, write_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_study("small", task={"path": "data.csv"})
    (here / "studies" / "small.yaml").write_text(written.read_text(encoding="utf-8"), encoding="utf-8")
    data = file(here / "studies" / "data.csv")
    told: list[Event] = []

    config = load_study("studies/small.yaml", watch=told.append)

    assert config.task.path == "studies/data.csv"  # type: ignore[union-attr]
    assert [event["kind"] for event in told] == ["found"]
    assert load_run("studies/small.yaml") == config
    (here / "other").mkdir()
    monkeypatch.chdir("other")
    assert load_study(here / "studies" / "small.yaml").task.path == str(data)  # type: ignore[union-attr]


def test_a_flag_means_what_is_here(here: Path, write_study: Callable[..., Path]) -> None:
    file(here / "data.csv")
    file(here / "studies" / "data.csv")
    path = write_study("small").rename(here / "studies" / "small.yaml")

    config = load_study(path, settings={"task.path": "data.csv"})

    assert config.task.path == "data.csv"  # type: ignore[union-attr]


def test_all_names_that_cannot_be_are_told_with_their_lines(
    here: Path, write_study: Callable[..., Path]
) -> None:
    path = write_study("small", task={"path": "$UNHEARD/data.csv"}, model={"name": "~nobody-here/m"})

    with pytest.raises(ConfigError) as refused:
        load_study(path)

    lines = path.read_text(encoding="utf-8").splitlines()
    assert str(refused.value).splitlines() == [
        f"{path}:{1 + lines.index('  path: $UNHEARD/data.csv')}: task.path: the variable UNHEARD is not set, but got "
        "'$UNHEARD/data.csv'; set it, or write the path out",
        f"{path}:{1 + lines.index('  name: ~nobody-here/m')}: model.name: there is no such user, but got "
        "'~nobody-here/m'; write the path out, or ./~… for a file",
    ]


def test_a_training_file_finds_its_files_beside_it(here: Path) -> None:
    file(here / "studies" / "r.py")
    file(
        here / "studies" / "best.yaml",
        "task: {name: dataset, path: a.csv, reward: {name: python, function: 'r.py:score'}}\nmodel: {name: m}\n",
    )

    config = load_training(here / "studies" / "best.yaml")

    assert [named.value for named in config.names()] == ["a.csv", "studies/r.py:score", "m"]
