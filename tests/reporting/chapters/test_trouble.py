# mypy: ignore-errors
"""A sign of trouble is told where there is one, and a sound trial has none."""

import numpy as np
import pandas as pd
import pytest

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.reporting.chapters.health.trouble import end_of, signs_of_trouble, start_of

CONFIG = PPOConfig(episodes=2560, rollout_size=64, max_new_tokens=14)


def course(n: int = 40, **changed: object) -> pd.DataFrame:
    """A sound trial, but for what is changed; names without what stands before their slash."""
    sound = {
        "episodes": 64 * np.arange(1, n + 1),
        "policy/optimizer_steps": 4,
        "objective/score_mean": np.linspace(0, 1, n),
        "objective/kl_per_sequence": np.linspace(0, 2, n),
        "policy/entropy_per_token": np.linspace(0.5, 0.3, n),
        "policy/clip_fraction": 0.1,
        "value/explained_variance": np.linspace(0, 0.4, n),
        "response/tokens_mean": 11.0,
        "response/eos_rate": 0.8,
    }
    names = {name.rpartition("/")[2]: name for name in sound}
    return pd.DataFrame(sound | {names[name]: values for name, values in changed.items()}).astype(float)


def test_a_sound_trial_has_no_sign_of_trouble() -> None:
    assert signs_of_trouble(course(), CONFIG, 3.0) == []


@pytest.mark.parametrize(
    ("changed", "sign"),
    [
        pytest.param(
            {"kl_per_sequence": [0.0] * 30 + [0.5 * i for i in range(1, 11)]},
            "KL rose steeply, from 0.0 to 4.2 nats within the last 640 episodes",  # means of 26–29 and of 36–39
            id="kl",
        ),
        pytest.param(
            {"entropy_per_token": np.linspace(0.5, 0.0, 40)},
            "entropy fell from 0.48 to 0.02 nats per token, so it answers nearly the same every time",
            id="entropy",
        ),
        pytest.param(
            {"clip_fraction": [0.1] * 10 + [0.7] * 30},
            "clip fraction 0.55 on average, so most of what a step could teach is cut off",
            id="clip-large",
        ),
        pytest.param(
            {"clip_fraction": [0.1] + [0.0] * 39},
            "clip fraction below 0.001 nearly throughout, so steps are too small for clipping to act",
            id="clip-small",
        ),
        pytest.param(
            {"explained_variance": [0.3] * 36 + [-0.4, -0.2, -0.4, -0.2]},
            "explained variance -0.30 at the end, so its value head is worse than a constant",
            id="values",
        ),
        pytest.param(
            {"eos_rate": [0.8] * 36 + [0.02] * 4, "tokens_mean": [11.0] * 36 + [14.0] * 4},
            "EOS rate 0.80 at the start, 0.02 at the end, so nearly all responses are cut off at 14 tokens",
            id="length-limit",
        ),
        pytest.param(
            {"tokens_mean": [10.0] * 20 + [1.5] * 20}, "responses shrank from 10.0 to 1.5 tokens", id="length"
        ),
    ],
)
def test_each_sign_is_told_with_its_value(changed: dict[str, object], sign: str) -> None:
    assert signs_of_trouble(course(**changed), CONFIG, 3.0) == [sign]


def test_signs_are_told_together() -> None:
    assert len(signs_of_trouble(course(eos_rate=0.0, explained_variance=-1.0), CONFIG, 3.0)) == 2


def test_clipping_that_cannot_act_is_no_sign() -> None:
    assert signs_of_trouble(course(clip_fraction=0.0, optimizer_steps=1), CONFIG, 3.0) == []


def test_kl_is_steep_by_the_budget_and_by_the_episode() -> None:
    kl = [0.0] * 30 + [0.5 * i for i in range(1, 11)]

    assert signs_of_trouble(course(kl_per_sequence=kl), CONFIG, 30.0) == []
    beyond = ["KL ended at 4.8 nats, beyond the budget of 3"]  # the mean of the last four, a tenth
    assert signs_of_trouble(course(kl_per_sequence=np.linspace(0, 5, 40)), CONFIG, 3.0) == beyond
    # a whole run of 6.5 nats is more than twice a budget of 3, and so is the same pace over a shorter one
    assert len(signs_of_trouble(course(kl_per_sequence=np.linspace(0, 6.5, 40)), CONFIG, 3.0)) == 1
    assert len(signs_of_trouble(course(20, kl_per_sequence=np.linspace(0, 3.25, 20)), CONFIG, 3.0)) == 1


def test_values_that_were_not_finite_are_no_sign() -> None:
    assert signs_of_trouble(course(entropy_per_token=np.nan, explained_variance=np.nan), CONFIG, 3.0) == []


def test_a_few_iterations_say_nothing() -> None:
    assert signs_of_trouble(course(7, eos_rate=0.0, kl_per_sequence=0.0), CONFIG, 3.0) == []
    assert len(signs_of_trouble(course(8, eos_rate=0.0, kl_per_sequence=0.0), CONFIG, 3.0)) == 1


def test_start_and_end_are_means_of_a_tenth_or_of_three() -> None:
    values = pd.Series(range(50)).astype(float)

    assert (start_of(values), end_of(values)) == (2.0, 47.0)
    assert (start_of(values.head(6)), end_of(values.head(6))) == (1.0, 4.0)
