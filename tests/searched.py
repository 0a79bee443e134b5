"""A small study that was really searched, by one worker in this process, and copies of it to change."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ppo_tune.config.study_file import load_study
from ppo_tune.data.user_files import check_user_files
from ppo_tune.search.facts import StudyFacts
from ppo_tune.search.folders import StudyFolder
from tests.search.one_worker import Search
from tests.worlds import small_blocks


@pytest.fixture(scope="session")
def searched_once(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study `small`: the default and two trials, each of 32 episodes with two milestones."""
    out = tmp_path_factory.mktemp("searched")
    blocks = small_blocks(small_world)
    blocks["search"]["n_trials"] = 3
    (out / "small.yaml").write_text(yaml.safe_dump(blocks, sort_keys=False), encoding="utf-8")
    config = load_study(out / "small.yaml")
    search = Search(config, StudyFolder.of(out, "small").path)
    StudyFacts(search.study).inputs = check_user_files(config).hashes
    search.run()
    return out


@pytest.fixture
def copy_searched(searched_once: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies the folder of the study `small` below the test's own, by a name."""

    def copy(name: str = "searched") -> Path:
        return Path(shutil.copytree(searched_once, tmp_path / name))

    return copy
