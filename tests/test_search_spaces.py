# mypy: ignore-errors
"""The study files that are shipped."""

import itertools
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ppo_tune.config.notes import notes
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.shipped import about, copy_shipped, shipped
from ppo_tune.config.study_file import load_study
from ppo_tune.errors import ConfigError, StorageError

FOLDER = Path(__file__).parent.parent / "search_spaces"

files = pytest.mark.parametrize(
    "file", [pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob("*.yaml"))]
)


def test_there_are_shipped_files():
    assert {"quickstart", "grid", "full"} <= {path.stem for path in FOLDER.glob("*.yaml")}


@files
def test_a_shipped_file_loads(file):
    assert load_study(file).name == file.stem


def test_the_first_file_that_a_user_runs_holds_no_surprise():
    assert notes(load_study(FOLDER / "quickstart.yaml")) == []


@files
def test_a_shipped_file_begins_with_the_command_that_runs_it(file):
    lines = file.read_text(encoding="utf-8").splitlines()

    heading = [line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines)]

    assert f"ppo-tune search search_spaces/{file.name}" in heading


@files
def test_a_shipped_file_searches_a_sane_number_of_trials(file):
    study = load_study(file)

    assert 16 <= study.n_trials <= 256


@files
def test_a_shipped_file_scores_its_trials_often_enough_to_prune(file):
    study = load_study(file)

    marks = study.milestone_episodes()

    assert len(marks) >= 5
    assert marks[-1] == study.ppo.episodes


@files
def test_a_shipped_file_repeats_nothing_of_the_defaults(file):
    study = load_study(file)

    stated = study.ppo.model_fields_set - {"rollout_size", "episodes"}  # what a reader wants to see anyway

    assert [name for name in stated if getattr(study.ppo, name) == getattr(PPOConfig(), name)] == []


@pytest.mark.parametrize("name", ["quickstart", "full", "code", "dialogue", "summarize", "translate"])
def test_the_bayesian_files_search_the_six(name):
    study = load_study(FOLDER / f"{name}.yaml")

    six = {"learning_rate", "gamma", "gae_lambda", "clip_range", "kl_coef", "batch_size"}
    assert six <= set(study.space)
    assert study.search.sampler.name == "gp"


def test_the_full_file_searches_four_more():
    study = load_study(FOLDER / "full.yaml")

    assert {"ppo_epochs", "vf_coef", "ent_coef", "clip_range_value"} <= set(study.space)


def test_the_grid_runs_every_cell_and_the_default():
    study = load_study(FOLDER / "grid.yaml")

    assert study.search.sampler.name == "grid"
    assert study.n_trials == 1 + study.space.grid_size()


@files
def test_a_shipped_file_is_meant_by_its_name_in_a_folder_without_such_a_file(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert load_study(file.stem) == load_study(file)
    Path(file.stem).write_text("task: {name: nonsense}", encoding="utf-8")
    with pytest.raises(ConfigError, match="nonsense"):  # a file of the user's own comes first
        load_study(file.stem)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("quikstart", "did you mean 'quickstart'?"),
        ("zz", "choose one of code, dialogue, full, grid, quickstart, restaurants, summarize, translate"),
    ],
)
def test_a_name_that_is_no_file_is_told_with_those_that_there_are(name, way_out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError) as refused:
        load_study(name)

    assert str(refused.value) == (
        f"{name}: no such file (looked in {tmp_path}), and as a study file that comes with ppo-tune unknown {name!r}; "
        f"{way_out}"
    )


@files
def test_a_shipped_file_says_what_it_is(file):
    assert about(file).endswith(".")
    assert "ppo-tune" not in about(file)


def test_a_copy_has_what_it_names_and_replaces_no_other_file(tmp_path):
    written = copy_shipped("restaurants", tmp_path)

    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "search_spaces/restaurants.py",
        "search_spaces/restaurants.yaml",
    ]
    assert copy_shipped("restaurants", tmp_path) == written
    written[1].write_text("mine", encoding="utf-8")
    with pytest.raises(StorageError, match=r"is there and is another file; name another folder by `out`"):
        copy_shipped("restaurants", tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'restaurants'"):
        copy_shipped("restaurant", tmp_path)
    assert written[1].read_text(encoding="utf-8") == "mine"


SETTINGS = ("ppo.episodes=128", "task.heldout_prompts=4", "search.milestones=2")
SMALLER = {
    "search": (
        *("--n-trials", "2", "--workers", "1", "--no-confirm"),
        *(word for setting in SETTINGS for word in ("--set", setting)),
    )
}
"""What makes a command of the guide short enough for a test."""


@pytest.fixture
def installed(tmp_path):
    """Runs Python in an empty folder with the package as it is installed, and not as it is checked out."""
    words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, FOLDER.parent]
    subprocess.run([sys.executable, *words], check=True)
    [wheel] = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=empty, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_a_wheel_brings_them(installed, tmp_path):
    found = installed("-c", "from ppo_tune.config.shipped import FOLDER; print(FOLDER)")

    folder = tmp_path / "installed" / "ppo_tune" / "search_spaces"
    assert Path(found.strip()) == folder
    assert {*shipped()} == {path.stem for path in folder.glob("*.yaml")}
    assert installed("-m", "ppo_tune", "check", "quickstart").startswith("quickstart is a valid study.")


@pytest.mark.guard
def test_a_wheel_is_all_that_the_guide_needs(installed, tmp_path):
    guide = (FOLDER.parent / "docs" / "own-data.md").read_text(encoding="utf-8")
    block = guide.partition("\n## Nothing of your own yet\n")[2].split("```")[1]
    for line in block.strip().splitlines():
        _, *words = shlex.split(line)
        installed("-m", "ppo_tune", *words, *SMALLER.get(words[0], ()))

    assert (tmp_path / "empty" / "trained" / "quickstart" / "model" / "model.safetensors").is_file()
