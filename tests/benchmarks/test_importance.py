"""Importance on the recorded landscape: what is named is counted, and a null world knows no config."""

import json

import numpy as np
import pytest

from benchmarks import importance
from benchmarks.importance import NullWorld, QuietWorld, shares
from benchmarks.worlds.world import World
from ppo_tune.config.study import StudyConfig


def test_a_study_counts_for_each_name_for_both_decisive_ones_and_for_any() -> None:
    found = [["learning_rate"], ["kl_coef", "learning_rate"], [], ["gamma"]]

    assert shares(found, ["learning_rate", "gamma", "kl_coef"]) == {
        "learning_rate": 0.5, "gamma": 0.25, "kl_coef": 0.25, "both": 0.25, "any": 0.75,
    }  # fmt: skip


def test_in_a_null_world_a_config_says_nothing_of_its_run(quickstart: StudyConfig) -> None:
    world = NullWorld(quickstart, "gp")
    other = {**quickstart.baseline, "learning_rate": 1e-2, "kl_coef": 1e-3}

    one, same = (world.draw(params, np.random.default_rng(1)) for params in (quickstart.baseline, other))

    assert one.score.tolist() == same.score.tolist()
    assert one.kl.tolist() == same.kl.tolist()


def test_in_a_quiet_world_a_config_says_all_of_its_kl_nothing_of_its_scores_and_none_leaves_the_budget(
    quickstart: StudyConfig,
) -> None:
    world, rng = QuietWorld(quickstart, "gp"), np.random.default_rng(1)
    wild = {**quickstart.baseline, "learning_rate": 1e-2, "kl_coef": 1e-3}

    calm, wilder = (world.draw(params, np.random.default_rng(1)) for params in (quickstart.baseline, wild))

    assert calm.score.tolist() == wilder.score.tolist()
    assert wilder.final_kl > 10 * calm.final_kl
    assert max(world.draw(wild, rng).train_kl.max() for _ in range(50)) < quickstart.search.kl_budget
    assert max(World.draw(world, wild, rng).final_kl for _ in range(50)) > quickstart.search.kl_budget


@pytest.mark.slow
def test_the_last_line_is_one_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    importance.main(["--trials", "12", "--studies", "1", "--null-studies", "1", "--jobs", "1"])

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(told) == ["gp", "gp, null", "gp, quiet null", "trees", "trees, null", "trees, quiet null"]
    assert all(0 <= share <= 1 for world in told.values() for share in world.values())
