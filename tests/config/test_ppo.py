"""Hyperparameters of PPO, and the numbers that follow from them."""

from typing import Any, Literal

import pytest
from pydantic import ValidationError

from ppo_tune.config.ppo import SHARED_FIELDS, PPOConfig
from ppo_tune.ppo import adapt_kl_coef


def test_a_field_that_is_shared_by_all_trials_says_so() -> None:
    shared = {name for name, field in PPOConfig.model_fields.items() if "Shared" in str(field.description)}

    assert shared == SHARED_FIELDS


def test_a_config_cannot_be_changed() -> None:
    config = PPOConfig()

    with pytest.raises(ValidationError, match="frozen"):
        config.gamma = 0.5  # type: ignore[misc]


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
def test_a_wrong_value_is_refused_in_a_copy_as_in_a_new_config(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        PPOConfig().with_params({name: value})


def test_a_copy_has_the_new_values_and_keeps_the_others() -> None:
    config = PPOConfig(gamma=0.9, batch_size=16)

    changed = config.with_params({"gamma": 0.8, "kl_target": 6.0})

    assert (changed.gamma, changed.kl_target, changed.batch_size) == (0.8, 6.0, 16)
    assert config.gamma == 0.9


def test_a_whole_number_is_a_number() -> None:
    assert PPOConfig(gamma=1).gamma == 1.0


def test_the_optimizer_steps_once_per_batch_and_epoch() -> None:
    assert PPOConfig(rollout_size=64, batch_size=16, ppo_epochs=3).steps_per_iteration == 12


@pytest.mark.parametrize(("episodes", "expected"), [(640, 10), (641, 11), (1, 1)])
def test_the_last_iteration_spends_the_rest_of_the_budget(episodes: int, expected: int) -> None:
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
def test_the_step_size_follows_the_schedule(
    schedule: Literal["constant", "linear"], episodes_done: int, expected: float
) -> None:
    config = PPOConfig(learning_rate=1e-3, lr_schedule=schedule, episodes=1000)

    assert config.learning_rate_at(episodes_done) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "horizon"),
    [
        pytest.param({"episodes": 2560}, 256.0, id="a tenth of the episodes"),
        pytest.param({"episodes": 128, "rollout_size": 64}, 64.0, id="a rollout at least"),
        pytest.param({"episodes": 2560, "kl_horizon": 10_000}, 10_000.0, id="as set"),
    ],
)
def test_the_kl_horizon_follows_the_episodes_unless_it_is_set(
    settings: dict[str, Any], horizon: float
) -> None:
    assert PPOConfig(**settings).kl_horizon_episodes == horizon


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"episodes": 2560}, 7.04, id="1.05 to the 40th"),
        pytest.param({"episodes": 2560, "kl_horizon": 10_000}, 1.0525, id="1.00128 to the 40th"),
        pytest.param({"episodes": 128}, 1.44, id="1.2 squared"),
    ],
)
def test_the_reach_is_what_a_kl_far_above_its_target_makes_of_the_coefficient(
    settings: dict[str, Any], expected: float
) -> None:
    config, coef = PPOConfig(**settings), 0.05
    for _ in range(config.iterations):
        coef = adapt_kl_coef(
            coef, 1e6, kl_target=1.0, kl_horizon=config.kl_horizon_episodes, episodes=config.rollout_size
        )

    assert config.kl_coef_reach == pytest.approx(coef / 0.05)
    assert config.kl_coef_reach == pytest.approx(expected, rel=1e-3)
