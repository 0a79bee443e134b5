"""Values that flags set in place of a study file's."""

from pathlib import Path
from typing import Any

import pytest

from ppo_tune.config.shipped import shipped
from ppo_tune.config.study_file import load_study
from ppo_tune.errors import ConfigError

GAMMA = {"type": "float", "low": 0.9, "high": 0.99}


def test_a_setting_stands_in_place_of_the_files_value_and_of_nothing_else() -> None:
    usual = load_study("quickstart")

    config = load_study(
        "quickstart", settings={"ppo.episodes": 640, "space.gamma": GAMMA}, seed=7, name="short"
    )

    assert config.name == "short"
    assert config.search.seed == 7
    assert config.ppo == usual.ppo.model_copy(update={"episodes": 640})
    assert config.space["gamma"].model_dump(exclude_unset=True) == GAMMA
    assert [name for name in usual.space if config.space[name] != usual.space[name]] == ["gamma"]


def test_a_block_that_is_not_there_is_made(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "task: {name: support}\nspace: {gamma: {type: float, low: 0.9, high: 1.0}}\n", encoding="utf-8"
    )

    assert load_study(file, settings={"ppo.episodes": 640}).ppo.episodes == 640


@pytest.mark.parametrize(
    ("place", "value", "what"),
    [
        ("ppo.episodes", -3, "`episodes >= 1` must hold, but got -3"),
        ("ppo.lerning_rate", 3, "unknown 'lerning_rate'; did you mean 'learning_rate'?"),
        ("foo.bar", 1, "unknown block 'foo'; choose one of constraints, model, ppo, search, space, task"),
        ("episodes", 16, "unknown block 'episodes'; did you mean ppo.episodes?"),
        ("n_trials", 1, "unknown block 'n_trials'; did you mean search.n_trials?"),
        ("serch", 1, "unknown block 'serch'; did you mean 'search'?"),
        ("search.sampler.x", 1, "search.sampler is 'gp', which has no x; set search.sampler itself"),
        ("model", 3, "must be a mapping, but got 3"),
    ],
)
def test_a_wrong_setting_is_told_by_its_flag(place: str, value: Any, what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_study("quickstart", settings={place: value})

    assert str(refused.value) == f"{shipped()['quickstart']}: settings[{place!r}]: {what}"


def test_a_mistake_within_a_setting_is_told_by_its_flag() -> None:
    with pytest.raises(ConfigError) as refused:
        load_study("quickstart", settings={"model": {"lora_rnk": 3}})

    told = "settings['model'].lora_rnk: unknown 'lora_rnk'; did you mean 'lora_rank'?"
    assert str(refused.value) == f"{shipped()['quickstart']}: {told}"


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="name"):
        load_study("quickstart", name="../a")
