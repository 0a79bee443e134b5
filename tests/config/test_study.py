"""A whole search as one value: its trials, its default config, its milestones, its name."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.space import Space
from ppo_tune.config.study import StudyConfig, check_name
from ppo_tune.errors import ConfigError

GAMMA = {"type": "float", "low": 0.9, "high": 1.0, "points": 3}
EPOCHS = {"type": "int", "low": 1, "high": 4}


def study(**settings: object) -> StudyConfig:
    """A study of the support task with these blocks."""
    space = Space.model_validate(settings.pop("space", {"gamma": GAMMA}))
    return StudyConfig.model_validate(
        {"name": "a", "task": {"name": "support"}, "space": space, **settings}, strict=False
    )


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        pytest.param({"n_trials": 5}, 5, id="as many as asked for"),
        pytest.param({"sampler": "grid"}, 13, id="every cell and the default"),
        pytest.param({"sampler": "grid", "n_trials": 4}, 4, id="fewer than the cells"),
        pytest.param({"sampler": "random"}, 32, id="nothing asked for"),
        pytest.param({"max_episodes": 9999}, None, id="episodes end it"),
        pytest.param({"max_seconds": 60}, None, id="seconds end it"),
        pytest.param({"sampler": "grid", "max_seconds": 60}, 13, id="the grid or seconds"),
    ],
)
def test_a_study_has_this_many_trials(search: dict[str, Any], expected: Any) -> None:
    assert study(search=search, space={"gamma": GAMMA, "ppo_epochs": EPOCHS}).n_trials == expected


def test_the_baseline_of_a_study_is_the_trainers_default() -> None:
    space = {"ppo_epochs": EPOCHS, "learning_rate": {"type": "float", "low": 1e-6, "high": 1.0}}

    baseline = study(space=space).baseline

    assert baseline == {"ppo_epochs": PPOConfig().ppo_epochs, "learning_rate": PPOConfig().learning_rate}


def test_the_baseline_of_a_study_is_moved_into_its_space() -> None:
    space = {"ppo_epochs": {"type": "int", "low": 7, "high": 9}}

    assert study(space=space).baseline == {"ppo_epochs": 7}


@pytest.mark.parametrize(
    ("episodes", "milestones", "expected"),
    [
        pytest.param(640, 5, (128, 256, 384, 512, 640), id="every second rollout"),
        pytest.param(192, 10, (64, 128, 192), id="more milestones than rollouts"),
        pytest.param(448, 3, (128, 320, 448), id="rounded to whole rollouts"),
        pytest.param(640, 1, (640,), id="the end alone"),
    ],
)
def test_milestones_are_whole_rollouts_spread_over_the_budget(
    episodes: int, milestones: int, expected: tuple[int, ...]
) -> None:
    config = study(ppo={"episodes": episodes, "rollout_size": 64}, search={"milestones": milestones})

    assert config.milestone_episodes() == expected


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 50))
def test_milestones_rise_to_the_end_of_the_budget(
    iterations: int, rollout_size: int, milestones: int
) -> None:
    ppo = {"episodes": iterations * rollout_size, "rollout_size": rollout_size}

    marks = study(ppo=ppo, search={"milestones": milestones}).milestone_episodes()

    assert list(marks) == sorted(set(marks))
    assert marks[-1] == iterations * rollout_size
    assert len(marks) == min(milestones, iterations)
    assert all(mark % rollout_size == 0 and mark > 0 for mark in marks)


@pytest.mark.parametrize("name", ["a", "quickstart", "run-2.1_b", "0", "A" * 100])
def test_a_good_name_is_kept(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "-a", ".a", "a b", "é", "A" * 101, "a\n"]
)
def test_a_name_that_is_no_safe_folder_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_name(name)

    assert str(caught.value) == (
        "study name: must be letters, digits, dots, dashes and underscores, at most 100, the first a letter "
        f"or a digit, but got {name!r}; rename it"
    )


@given(st.text("ab1.-_/\\ \n\0:", max_size=6))
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    try:
        check_name(name)
    except ConfigError:
        return
    assert Path("runs", name).resolve().parent == Path("runs").resolve()
