"""Settings that go together or do not, in one block or across blocks."""

import pytest

from ppo_tune.config.study_file import notes
from tests.config.study_files import RATE, blocks, load, mistakes

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
        pytest.param(
            {"model": "{lora_rank: null}", "search": "{pack: 4}"},
            "a.yaml:4: search.pack: `pack = 1` must hold when all weights are trained "
            "(model.lora_rank: null), but got 4; set a lora_rank",
            id="pack and rank",
        ),
        pytest.param(
            {"search": "{kl_budget: 10, kl_limit: 5}"},
            "a.yaml:3: search.kl_limit: `kl_limit >= kl_budget` must hold, but got 5 < 10",
            id="limit and budget",
        ),
        pytest.param(
            {"space": f"\n  {RATE}", "ppo": "{learning_rate: 1e-3}"},
            "a.yaml:4: ppo.learning_rate: stands in ppo and in space (line 3); keep one",
            id="fixed and searched",
        ),
        pytest.param(
            {"search": "{sampler: grid}"},
            "a.yaml:2: space.gamma: `points` must be given for a grid: a list of values, or how many",
            id="grid and float",
        ),
        pytest.param(
            {"task": "{name: support, gold: {name: rule, length: {low: 9, high: 5}}}"},
            "a.yaml:1: task.gold.length: `low <= high` must hold, but got low=9, high=5",
            id="ends of a length",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_told_with_the_way_out(
    contents: dict[str, str], expected: str
) -> None:
    assert mistakes(blocks(**contents)) == [expected]


@pytest.mark.parametrize(
    ("wrong", "told"), [("sometimes", "'sometimes'"), ("1", "1"), ("null", "None"), ("'true'", "'true'")]
)
def test_compiling_is_wanted_or_not_or_left_open(wrong: str, told: str) -> None:
    assert mistakes(blocks(model=f"{{compile: {wrong}}}")) == [
        f"a.yaml:3: model.compile: `true`, `false` or `auto` must stand here, but got {told}"
    ]


@pytest.mark.parametrize("good", ["true", "false", "auto"])
def test_a_study_says_whether_it_compiles(good: str) -> None:
    assert str(load(blocks(model=f"{{compile: {good}}}")).model.compile).lower() == good


@pytest.mark.parametrize("wrong", ["0", "-1", "2.0", "true", "null", "many", "'4'", "[4]"])
def test_a_pack_is_a_whole_number_or_auto(wrong: str) -> None:
    told = {"true": "True", "null": "None", "many": "'many'"}.get(wrong, wrong)

    assert mistakes(blocks(search=f"{{pack: {wrong}}}")) == [
        f"a.yaml:3: search.pack: `pack >= 1` must hold, or auto, but got {told}"
    ]


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param({"ppo": "{batch_size: 16, micro_batch_size: 8}"}, id="micro-batch divides batch"),
        pytest.param({"search": "{kl_budget: 10, kl_limit: 10}"}, id="limit is the budget"),
        pytest.param({"model": "{lora_rank: null}", "search": "{pack: 1}"}, id="all weights, one at a time"),
        pytest.param({"model": "{lora_rank: null}", "search": "{pack: auto}"}, id="all weights, auto"),
        pytest.param({"ppo": "{kl_target: 6, kl_coef: 0.1}"}, id="target and coefficient"),
        pytest.param({"ppo": "{learning_rate: 0}"}, id="at a closed end"),
    ],
)
def test_settings_at_their_limits_go_together(contents: dict[str, str]) -> None:
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
