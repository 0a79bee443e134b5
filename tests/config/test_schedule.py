"""How episodes, rollouts, batches and an adaptive KL coefficient fit one another."""

import pytest

from ppo_tune.config.notes import notes
from tests.config.study_files import blocks, load, mistakes

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        pytest.param(
            {"ppo": "{batch_size: 24}"},
            "a.yaml:3: ppo.batch_size: `batch_size` must divide rollout_size 64, but got 24",
            id="batch and rollout",
        ),
        pytest.param(
            {"ppo": "{micro_batch_size: 5}"},
            "a.yaml:3: ppo.micro_batch_size: must divide batch_size 32, but got 5",
            id="micro-batch and batch",
        ),
        pytest.param(
            {
                "ppo": "{micro_batch_size: 16}",
                "space": "{batch_size: {type: categorical, choices: [8, 32]}}",
            },
            "a.yaml:3: ppo.micro_batch_size: must divide batch_size 8, but got 16",
            id="micro-batch and searched batch",
        ),
        pytest.param(
            {"ppo": "{episodes: 1000}"},
            "a.yaml:3: ppo.episodes: must be whole rollouts of 64, but got 1000; take 1024",
            id="episodes and rollout",
        ),
        pytest.param(
            {"ppo": "{kl_target: 6, kl_coef: 0}"},
            "a.yaml:3: ppo.kl_target: `kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0",
            id="target and coefficient",
        ),
        pytest.param(
            {"ppo": "{kl_target: 6}", "space": "{kl_coef: {type: float, low: 0, high: 0.1}}"},
            "a.yaml:3: ppo.kl_target: `kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0",
            id="target and searched coefficient",
        ),
    ],
)
def test_what_does_not_divide_or_stays_0_is_told_with_the_way_out(
    contents: dict[str, str], expected: str
) -> None:
    assert mistakes(blocks(**contents)) == [expected]


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param({"ppo": "{batch_size: 16, micro_batch_size: 8}"}, id="micro-batch divides batch"),
        pytest.param({"ppo": "{kl_target: 6, kl_coef: 0.1}"}, id="target and coefficient"),
        pytest.param({"ppo": "{learning_rate: 0}"}, id="at a closed end"),
    ],
)
def test_what_divides_goes_together(contents: dict[str, str]) -> None:
    load(blocks(**contents))


def test_a_study_without_a_space_is_told_once_of_a_batch_that_does_not_fit() -> None:
    (_, message) = mistakes("task: {name: support}\nppo: {batch_size: 24}\n")

    assert message == "a.yaml:2: ppo.batch_size: `batch_size` must divide rollout_size 64, but got 24"


@pytest.mark.parametrize("horizon", ["12.8", "1"])
def test_a_horizon_by_which_one_rollout_takes_the_coefficient_to_0_is_refused(horizon: str) -> None:
    text = blocks(ppo=f"{{kl_target: 4.0, rollout_size: 64, kl_horizon: {horizon}}}")

    assert mistakes(text) == [
        "a.yaml:3: ppo.kl_horizon: `kl_horizon > rollout_size / 5` must hold, or one rollout can take β to 0, but got "
        f"{horizon} with rollout_size 64"
    ]


def test_a_horizon_that_is_not_used_may_be_anything() -> None:
    assert load(blocks(ppo="{kl_horizon: 1}")).ppo.kl_horizon == 1.0


def test_trial_0_of_a_searched_horizon_uses_a_tenth_of_the_studys_episodes() -> None:
    space = "{kl_horizon: {type: float, low: 1, high: 100000}}"
    study = load(blocks(space=space, ppo="{episodes: 12800}"))

    assert study.baseline == {"kl_horizon": 1280.0}
    assert notes(study) == []
