"""The file that a search leaves of what was searched, and the command that repeats it."""

from pathlib import Path
from typing import Any

import pytest

from ppo_tune.cli.search import again
from ppo_tune.cli.settings import read_settings
from ppo_tune.config.shipped import shipped
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.study_file import load_study
from ppo_tune.config.writing import renamed_text, study_text
from ppo_tune.errors import ConfigError

COEF = {"type": "float", "points": [0.1, 0.5]}


def written(config: StudyConfig, folder: Path) -> StudyConfig:
    """What is read of the file that is written of an experiment."""
    path = folder / f"{config.name}.yaml"
    path.write_text(study_text(config), encoding="utf-8")
    return load_study(path)


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ppo.episodes": 640, "space.vf_coef": COEF, "search.n_trials": None, "search.max_episodes": 64_000},
        {"search.sampler": {"name": "random"}, "task.judges": {"kind": {"name": "rule", "include": {"a\u2028b": 1.0}}}},
        {"model.lora_rank": None, "search.pack": 1, "ppo.temperature": 1e-1, "search.confirm_top": "auto"},
    ],
    ids=["as it is", "limits", "blocks", "null and words"],
)  # fmt: skip
def test_what_is_written_of_an_experiment_says_the_same(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    own = {
        place: value for place, value in settings.items() if name != "grid" or not place.startswith("search.")
    }
    config = load_study(name, settings=own)

    stored = StudyConfig.model_validate_json(config.model_dump_json())

    assert written(config, tmp_path) == config
    assert written(stored, tmp_path) == config  # which no longer knows what was left to defaults


def test_a_renamed_study_says_the_same_below_another_first_line() -> None:
    config = load_study("quickstart")

    renamed = renamed_text(study_text(config), "quickstart", "new")

    assert renamed == study_text(config.model_copy(update={"name": "new"}))


def test_what_was_left_to_defaults_is_not_written() -> None:
    assert "gae_lambda" not in study_text(load_study("quickstart")).partition("space:")[0]


def test_settings_are_read_as_the_file_would_be() -> None:
    given = [
        "ppo.learning_rate=1e-5",
        "model.name=null",
        "task.stop=['\\n']",
        "search.sampler=gp",
        "a=b=c",
        "x=",
    ]

    assert read_settings(given) == {
        "ppo.learning_rate": 1e-5,
        "model.name": None,
        "task.stop": ["\\n"],
        "search.sampler": "gp",
        "a": "b=c",
        "x": None,
    }
    assert read_settings(None) == {}


def test_settings_that_cannot_be_read_are_told_all_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings(["nope", "=1", "ppo.gamma=[", "ppo.gamma=*x"])

    assert str(refused.value).splitlines() == [
        "--set: must be KEY=VALUE, such as ppo.episodes=640, but got 'nope'",
        "--set: must be KEY=VALUE, such as ppo.episodes=640, but got '=1'",
        "--set ppo.gamma: not valid YAML: expected the node content, but found '<stream end>', in '['",
        "--set ppo.gamma: aliases (*name) are not allowed; write the value out",
    ]


def test_the_command_that_goes_on_repeats_all_that_was_given() -> None:
    given = {"--set": ["a=1", "b=x y"], "--seed": 0, "--name": None, "--no-confirm": True, "--yes": False}

    assert again("search", Path("my file.yaml"), given) == (
        "ppo-tune search 'my file.yaml' --set a=1 --set 'b=x y' --seed 0 --no-confirm"
    )
