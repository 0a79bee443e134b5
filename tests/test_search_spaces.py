# mypy: ignore-errors
"""The study files that are shipped."""

import itertools
from pathlib import Path

import pytest

from ppo_tune.config.blocks import PPOConfig
from ppo_tune.config.study_file import load_study, notes

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


@pytest.mark.parametrize("name", ["quickstart", "full"])
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
