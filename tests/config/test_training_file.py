"""Training files, and the runs that are read from a file of either kind."""

from pathlib import Path
from typing import Any

import pytest

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.study_file import load_run
from ppo_tune.errors import ConfigError
from tests.config.study_files import GRID, blocks, mistakes, train, training

pytestmark = pytest.mark.usefixtures("here")


def test_a_training_file_is_a_training() -> None:
    text = training(name="winner", ppo="{gamma: 0.9, episodes: 640}", seed="3", model="{lora_rank: 4}")

    config = train(text)

    assert (config.name, config.seed, config.model.lora_rank) == ("winner", 3, 4)
    assert config.ppo == PPOConfig(gamma=0.9, episodes=640)


def test_a_training_is_called_like_its_file_and_seeded_with_0() -> None:
    config = train(training())

    assert (config.name, config.seed) == ("a", 0)


@pytest.mark.parametrize("ppo", ["{episodes: 640}", "{gamma: 0.9}", "{}", ""])
def test_episodes_and_seed_of_the_caller_come_before_those_of_the_file(ppo: str) -> None:
    config = train(training(ppo=ppo, seed="1"), episodes=1280, seed=7)

    assert (config.ppo.episodes, config.seed) == (1280, 7)


def test_the_other_settings_stay_those_of_the_file() -> None:
    assert train(training(ppo="{gamma: 0.9}"), episodes=1280).ppo == PPOConfig(gamma=0.9, episodes=1280)


@pytest.mark.parametrize(
    ("contents", "options", "expected"),
    [
        pytest.param(
            {"ppo": "{}"},
            {"episodes": 100},
            "a.yaml: episodes: must be whole rollouts of 64, but got 100; take 128",
            id="episodes that are no whole rollouts",
        ),
        pytest.param(
            {"ppo": "{}"},
            {"episodes": 0},
            "a.yaml: episodes: `episodes >= 1` must hold, but got 0",
            id="no episodes",
        ),
        pytest.param({"seed": "-1"}, {}, "a.yaml:2: seed: `seed >= 0` must hold, but got -1", id="seed"),
        pytest.param({"seed": "true"}, {}, "a.yaml:2: seed: must be a whole number, but got True", id="bool"),
        pytest.param({}, {"seed": -1}, "a.yaml: seed: `seed >= 0` must hold, but got -1", id="caller's seed"),
        pytest.param(
            {"kl_budget": "0"},
            {},
            "a.yaml:2: kl_budget: `kl_budget > 0` must hold, but got 0",
            id="budget of nothing",
        ),
        pytest.param(
            {"kl_budget": ".inf"},
            {},
            "a.yaml:2: kl_budget: must be finite, but got inf",
            id="budget without end",
        ),
        pytest.param(
            {"score_std": "-1.5"},
            {},
            "a.yaml:2: score_std: `score_std > 0` must hold, but got -1.5",
            id="spread below nothing",
        ),
        pytest.param(
            {"ppo": "{batch_size: 24}"},
            {},
            "a.yaml:2: ppo.batch_size: `batch_size` must divide rollout_size 64, but got 24; take 16",
            id="batch",
        ),
        pytest.param(
            {"ppo": "{micro_batch_size: 7}"},
            {},
            "a.yaml:2: ppo.micro_batch_size: must divide batch_size 32, but got 7",
            id="micro-batch",
        ),
        pytest.param(
            {"ppo": "{kl_target: 6, kl_coef: 0}"},
            {},
            "a.yaml:2: ppo.kl_target: `kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0",
            id="target and coefficient",
        ),
        pytest.param(
            {"sede": "3"},
            {},
            "a.yaml:2: sede: unknown block 'sede'; did you mean 'seed'?",
            id="unknown block",
        ),
        pytest.param(
            {"search": "{}"},
            {},
            "a.yaml:2: search: this is a study file; run `ppo_tune.run_search` on it, then `ppo_tune.export_study`",
            id="a study's block",
        ),
    ],
)
def test_a_wrong_training_is_refused_with_the_rule(
    contents: dict[str, str], options: dict[str, Any], expected: str
) -> None:
    assert mistakes(training(**contents), train, **options) == [expected]


def test_a_training_with_an_unsafe_name_is_refused() -> None:
    (message,) = mistakes(training(name="../x"), train)

    assert message.endswith("but got '../x'; set another `name` in the file")


def test_a_training_is_no_study_file() -> None:
    lines = mistakes(training(name="best", seed="0"))

    assert lines == [
        "a.yaml:2: name: this is the config of one training; run `ppo_tune.train` on it, or give a study file"
    ]


def test_a_study_file_is_no_training() -> None:
    lines = mistakes(blocks(search="{sampler: tpe}"), train)

    assert lines == [
        "a.yaml:2: space: this is a study file; run `ppo_tune.run_search` on it, then `ppo_tune.export_study`",
        "a.yaml:3: search: this is a study file; run `ppo_tune.run_search` on it, then `ppo_tune.export_study`",
    ]


def test_a_run_is_read_from_either_kind_of_file() -> None:
    Path("study.yaml").write_text(blocks(ppo="{vf_coef: 0.5}"))
    Path("train.yaml").write_text(training(ppo="{vf_coef: 0.7}"))

    runs = [load_run("study.yaml"), load_run("train.yaml")]

    assert [run.ppo.vf_coef for run in runs] == [0.5, 0.7]


def test_a_run_is_read_from_a_huge_grid_too() -> None:
    Path("a.yaml").write_text(blocks(space=GRID, search="{sampler: grid}"))

    assert load_run("a.yaml").name == "a"


@pytest.mark.parametrize("text", ["5\n", "true\n", "- space\n", "space\n"])
def test_a_run_is_not_read_from_what_is_no_mapping(text: str) -> None:
    Path("a.yaml").write_text(text)

    with pytest.raises(ConfigError, match=r"a\.yaml:1: must hold the blocks"):
        load_run("a.yaml")
