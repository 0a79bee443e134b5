"""Commands about one trial of a study: train it at full length."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ppo_tune.files import read_json
from tests.cli.conftest import Cli


@pytest.fixture
def here(copy_searched: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the searched study `small`."""
    out = copy_searched()
    monkeypatch.chdir(out)
    return out


@pytest.mark.slow
def test_a_trial_is_trained_into_a_folder_of_its_name(cli: Cli, here: Path) -> None:
    trained = cli("train", "small", "--trial", 2, "--episodes", 8, "--seed", 3)

    written = read_json(here / "trained" / "small-trial-2" / "config.json")
    used = read_json(here / "runs" / "small" / "trials" / "0002" / "config.json")
    assert trained.code == 0, trained.err
    assert (written["name"], written["seed"], written["ppo"]) == ("small", 3, {**used, "episodes": 8})
    assert "model      trained/small-trial-2/model" in trained.out


def test_a_study_elsewhere_is_named_by_its_folder(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.parent)

    missing = cli("train", "small", "--trial", 9)
    refused = cli("train", "small", "--trial", 9, "--studies", here)

    assert (missing.code, refused.code) == (2, 2)
    assert "there is no study 'small' at runs/small/study.db" in missing.err
    assert (
        "trial 9 of study 'small' is not there, and only a completed one can be handed on: 0, 1, 2"
        in refused.err
    )


def test_a_study_without_a_trial_is_told_what_to_add(cli: Cli, here: Path) -> None:
    outcome = cli("train", "small")

    assert (outcome.code, outcome.err) == (
        2,
        "error: small: is no file but a study; name one of its trials by --trial, or give "
        "reports/<study>/best.yaml\n",
    )


@pytest.mark.parametrize("flags", [["--studies", "."], ["--storage", "sqlite:///x.db"]])
def test_where_a_study_is_means_nothing_without_a_trial(cli: Cli, here: Path, flags: list[str]) -> None:
    outcome = cli("train", "small.yaml", *flags)

    assert (outcome.code, outcome.err) == (
        2,
        f"error: {flags[0]}: says where a study is, whose trial must be named by --trial; give that too, or leave it "
        "out\n",
    )
