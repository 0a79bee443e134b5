"""A study in a folder of its own, started from elsewhere: which files are meant is said, and nothing loses them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import ppo_tune
from tests.cli.conftest import Cli


@pytest.fixture
def project(write_study: Callable[..., Path], small_world: Path, tmp_path: Path) -> Path:
    """A folder with `studies/small.yaml`, which names model and prompts beside it, and a reward in `rewards/`."""
    project = tmp_path / "project"
    (project / "studies").mkdir(parents=True)
    shutil.copytree(small_world / "model", project / "studies" / "model")
    shutil.copy(small_world / "prompts.jsonl", project / "studies" / "prompts.jsonl")
    (project / "rewards").mkdir()
    body = "return [float(r.count(word.WORD)) for r in responses]"
    reward = f"import word\ndef score(prompts, responses, **columns):\n    {body}\n"
    (project / "rewards" / "r.py").write_text(reward, encoding="utf-8")
    (project / "rewards" / "word.py").write_text("WORD = 'red'\n", encoding="utf-8")
    path = write_study(
        "small",
        task={"path": "prompts.jsonl", "reward": {"name": "python", "function": "rewards/r.py:score"}},
        model={"name": "model"},
        search={"n_trials": 1, "milestones": 1},
        ppo={"episodes": 8},
    )
    path.rename(project / "studies" / "small.yaml")
    return project


def test_check_says_where_files_were_found(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch, small_world: Path
) -> None:
    monkeypatch.chdir(project)
    shutil.copy(small_world / "prompts.jsonl", project / "prompts.jsonl")

    said = cli("check", "studies/small.yaml")

    assert said.code == 0, said.err
    assert (
        "note: task.path: studies/prompts.jsonl is taken, which is beside the file that names it; prompts.jsonl is "
        "there too, where this was started\n" in said.out
    )
    assert "note: model.name: studies/model is taken, which is beside the file that names it\n" in said.out
    assert "rewards/r.py" not in said.out


@pytest.mark.guard
def test_what_a_search_leaves_finds_the_same_files_from_anywhere(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project)

    first = cli("search", "studies/small.yaml", "--workers", 1)
    exported = cli("export", "small")
    again = cli("search", "runs/small/small.yaml", "--workers", 1)

    assert (first.code, exported.code, again.code) == (0, 0, 0), first.err + exported.err + again.err
    assert "note:" not in first.out
    asked = yaml.safe_load((project / "runs" / "small" / "small.yaml").read_text(encoding="utf-8"))
    assert asked["task"]["path"] == "../../studies/prompts.jsonl"
    assert asked["task"]["reward"]["function"] == "../../rewards/r.py:score"
    assert asked["model"]["name"] == "../../studies/model"
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    elsewhere = cli("search", project / "runs" / "small" / "small.yaml", "--workers", 1, "--out", project)
    assert elsewhere.code == 0, elsewhere.err
    for folder in (project, tmp_path / "other"):
        monkeypatch.chdir(folder)
        _, stored = ppo_tune.open_study("small", out=project)
        assert all(Path(named.path).exists() for named in stored.names())
    best = project / "reports" / "small" / "best.yaml"
    assert [named.value for named in ppo_tune.load_training(best).names()] == [
        str(project / "studies" / "prompts.jsonl"),
        f"{project / 'rewards' / 'r.py'}:score",
        str(project / "studies" / "model"),
    ]
    made = project / "exports" / "small-native"
    inside = [Path(named.path) for named in ppo_tune.load_training(made / "best.yaml").names()]
    assert all(path.is_relative_to(made) and path.exists() for path in inside)


@pytest.mark.guard
def test_a_study_goes_on_where_its_whole_folder_was_moved_and_not_with_other_files(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project)
    assert cli("search", project / "studies" / "small.yaml", "--workers", 1).code == 0
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "moved")

    moved = cli("search", "moved/runs/small/small.yaml", "--workers", 1, "--out", "moved")
    (tmp_path / "moved" / "rewards" / "word.py").write_text("WORD = 'blue'\n", encoding="utf-8")
    refused = cli("search", "moved/runs/small/small.yaml", "--workers", 1, "--out", "moved")

    assert moved.code == 0, moved.err
    assert refused.code == 2
    assert "content.task.reward.function imports moved/rewards/word.py: '" in refused.err
