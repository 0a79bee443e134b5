"""The worlds of the recorded landscape, each fitted once."""

import pytest

from benchmarks.replay import STUDY
from benchmarks.worlds.world import SURROGATES, World
from ppo_tune import load_study
from ppo_tune.config.study import StudyConfig


@pytest.fixture(scope="session")
def quickstart() -> StudyConfig:
    return load_study(STUDY)


@pytest.fixture(scope="session")
def gp_world(quickstart: StudyConfig) -> World:
    return World(quickstart, "gp")


@pytest.fixture(scope="session", params=SURROGATES)
def world(request: pytest.FixtureRequest, quickstart: StudyConfig, gp_world: World) -> World:
    return gp_world if request.param == "gp" else World(quickstart, request.param)
