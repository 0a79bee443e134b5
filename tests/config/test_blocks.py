# mypy: ignore-errors
"""The frozen blocks of an experiment, and the numbers that follow from them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ppo_tune.config.block import differences
from ppo_tune.config.blocks import (
    SHARED_FIELDS,
    LengthRule,
    ModelConfig,
    PPOConfig,
    RuleRewardConfig,
    StudyConfig,
    check_name,
)
from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.space import Space
from ppo_tune.errors import ConfigError
from ppo_tune.ppo import adapt_kl_coef

GAMMA = {"type": "float", "low": 0.9, "high": 1.0, "points": 3}
EPOCHS = {"type": "int", "low": 1, "high": 4}

blocks = pytest.mark.parametrize("block", [PPOConfig, ModelConfig, SearchConfig, LengthRule])


def study(**settings: object) -> StudyConfig:
    """A study of the support task with these blocks."""
    space = Space.model_validate(settings.pop("space", {"gamma": GAMMA}))
    return StudyConfig.model_validate(
        {"name": "a", "task": {"name": "support"}, "space": space, **settings}, strict=False
    )


@blocks
def test_every_field_is_described(block):
    undescribed = [name for name, field in block.model_fields.items() if not field.description]

    assert undescribed == []


def test_a_field_that_is_shared_by_all_trials_says_so():
    shared = {name for name, field in PPOConfig.model_fields.items() if "Shared" in field.description}

    assert shared == SHARED_FIELDS


def test_a_config_cannot_be_changed():
    config = PPOConfig()

    with pytest.raises(ValidationError, match="frozen"):
        config.gamma = 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("learning_rate", "1e-4", id="quoted number"),
        pytest.param("learning_rate", True, id="bool for a number"),
        pytest.param("learning_rate", float("nan"), id="nan"),
        pytest.param("kl_horizon", float("inf"), id="infinity"),
        pytest.param("batch_size", 8.0, id="float for a whole number"),
        pytest.param("batch_size", True, id="bool for a whole number"),
        pytest.param("whiten_rewards", 1, id="number for a bool"),
        pytest.param("kl_estimator", "k4", id="unknown estimator"),
        pytest.param("gama", 0.9, id="unknown name"),
        pytest.param("gamma", 1.01, id="above its end"),
        pytest.param("clip_range", 0.0, id="at an open end"),
        pytest.param("dual_clip", 1.0, id="at another open end"),
        pytest.param("learning_rate", None, id="null"),
    ],
)
def test_a_wrong_value_is_refused_in_a_copy_as_in_a_new_config(name, value):
    with pytest.raises(ValidationError, match=name):
        PPOConfig().with_params({name: value})


def test_a_copy_has_the_new_values_and_keeps_the_others():
    config = PPOConfig(gamma=0.9, batch_size=16)

    changed = config.with_params({"gamma": 0.8, "kl_target": 6.0})

    assert (changed.gamma, changed.kl_target, changed.batch_size) == (0.8, 6.0, 16)
    assert config.gamma == 0.9


def test_a_whole_number_is_a_number():
    assert PPOConfig(gamma=1).gamma == 1.0


def test_the_optimizer_steps_once_per_batch_and_epoch():
    assert PPOConfig(rollout_size=64, batch_size=16, ppo_epochs=3).steps_per_iteration == 12


@pytest.mark.parametrize(("episodes", "expected"), [(640, 10), (641, 11), (1, 1)])
def test_the_last_iteration_spends_the_rest_of_the_budget(episodes, expected):
    assert PPOConfig(episodes=episodes, rollout_size=64).iterations == expected


@pytest.mark.parametrize(
    ("schedule", "episodes_done", "expected"),
    [
        pytest.param("linear", 0, 1e-3, id="start"),
        pytest.param("linear", 250, 7.5e-4, id="a quarter"),
        pytest.param("linear", 1000, 0.0, id="end"),
        pytest.param("linear", 1500, 0.0, id="beyond the end"),
        pytest.param("constant", 750, 1e-3, id="constant"),
    ],
)
def test_the_step_size_follows_the_schedule(schedule, episodes_done, expected):
    config = PPOConfig(learning_rate=1e-3, lr_schedule=schedule, episodes=1000)

    assert config.learning_rate_at(episodes_done) == pytest.approx(expected)


def test_a_range_of_words_is_not_inverted():
    with pytest.raises(ValidationError, match="`low <= high` must hold, but got low=9, high=5"):
        LengthRule(low=9, high=5)


def test_a_rule_reward_has_at_least_one_rule():
    with pytest.raises(
        ValidationError, match="at least one of `include`, `avoid` and `length` must be given"
    ):
        RuleRewardConfig(name="rule")


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        pytest.param({"kl_budget": 3.0}, 6.0, id="twice the budget"),
        pytest.param({"kl_budget": 3.0, "kl_limit": 4.0}, 4.0, id="the limit"),
    ],
)
def test_a_trial_ends_beyond_its_kl_limit(search, expected):
    assert SearchConfig(**search).kl_ceiling == expected


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
def test_a_study_has_this_many_trials(search, expected):
    assert study(search=search, space={"gamma": GAMMA, "ppo_epochs": EPOCHS}).n_trials == expected


def test_the_baseline_of_a_study_is_the_trainers_default():
    space = {"ppo_epochs": EPOCHS, "learning_rate": {"type": "float", "low": 1e-6, "high": 1.0}}

    baseline = study(space=space).baseline

    assert baseline == {"ppo_epochs": PPOConfig().ppo_epochs, "learning_rate": PPOConfig().learning_rate}


def test_the_baseline_of_a_study_is_moved_into_its_space():
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
def test_milestones_are_whole_rollouts_spread_over_the_budget(episodes, milestones, expected):
    config = study(ppo={"episodes": episodes, "rollout_size": 64}, search={"milestones": milestones})

    assert config.milestone_episodes() == expected


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 50))
def test_milestones_rise_to_the_end_of_the_budget(iterations, rollout_size, milestones):
    ppo = {"episodes": iterations * rollout_size, "rollout_size": rollout_size}

    marks = study(ppo=ppo, search={"milestones": milestones}).milestone_episodes()

    assert list(marks) == sorted(set(marks))
    assert marks[-1] == iterations * rollout_size
    assert len(marks) == min(milestones, iterations)
    assert all(mark % rollout_size == 0 and mark > 0 for mark in marks)


def test_two_experiments_differ_in_these_lines():
    before = {"ppo": {"gamma": 1.0, "seed": 1}, "space": {"a": [1, 2]}, "name": "x", "gone": None}
    now = {"ppo": {"gamma": 0.9, "seed": 1}, "space": {"a": [1, 3]}, "name": "y", "new": {"b": 2}}

    lines = differences(before, now, ignored=("name",))

    assert lines == [
        "  gone: None before, absent now",
        "  new.b: absent before, 2 now",
        "  ppo.gamma: 1.0 before, 0.9 now",
        "  space.a: [1, 2] before, [1, 3] now",
    ]


def test_an_experiment_does_not_differ_from_itself():
    config = study().model_dump()

    assert differences(config, config) == []


@pytest.mark.parametrize("name", ["a", "quickstart", "run-2.1_b", "0", "A" * 100])
def test_a_good_name_is_kept(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "-a", ".a", "a b", "é", "A" * 101, "a\n"]
)
def test_a_name_that_is_no_safe_folder_is_refused_with_the_rule(name):
    with pytest.raises(ConfigError) as caught:
        check_name(name)

    assert str(caught.value) == (
        "study name: must be letters, digits, dots, dashes and underscores, at most 100, the first a letter "
        f"or a digit, but got {name!r}; rename it"
    )


@given(st.text("ab1.-_/\\ \n\0:", max_size=6))
def test_no_name_leads_out_of_its_folder(name):
    try:
        check_name(name)
    except ConfigError:
        return
    assert Path("runs", name).resolve().parent == Path("runs").resolve()


@pytest.mark.parametrize(
    ("settings", "horizon"),
    [
        pytest.param({"episodes": 2560}, 256.0, id="a tenth of the episodes"),
        pytest.param({"episodes": 128, "rollout_size": 64}, 64.0, id="a rollout at least"),
        pytest.param({"episodes": 2560, "kl_horizon": 10_000}, 10_000.0, id="as set"),
    ],
)
def test_the_kl_horizon_follows_the_episodes_unless_it_is_set(settings, horizon):
    assert PPOConfig(**settings).kl_horizon_episodes == horizon


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"episodes": 2560}, 7.04, id="1.05 to the 40th"),
        pytest.param({"episodes": 2560, "kl_horizon": 10_000}, 1.0525, id="1.00128 to the 40th"),
        pytest.param({"episodes": 128}, 1.44, id="1.2 squared"),
    ],
)
def test_the_reach_is_what_a_kl_far_above_its_target_makes_of_the_coefficient(settings, expected):
    config, coef = PPOConfig(**settings), 0.05
    for _ in range(config.iterations):
        coef = adapt_kl_coef(
            coef, 1e6, kl_target=1.0, kl_horizon=config.kl_horizon_episodes, episodes=config.rollout_size
        )

    assert config.kl_coef_reach == pytest.approx(coef / 0.05)
    assert config.kl_coef_reach == pytest.approx(expected, rel=1e-3)
