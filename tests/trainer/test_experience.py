# mypy: ignore-errors
"""Token rewards, advantages and returns of k trials, each by its own hyperparameters."""

import copy
import math
import statistics

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.testing import assert_close

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.models import Sequences
from ppo_tune.trainer.experience import Experience, column, estimate_advantages
from ppo_tune.trainer.rollout import Rollout
from tests.conftest import make_sequences

NAN = math.nan
RESPONSES = [[3, 4, 0], [5, 6, 7], [0], [8, 0]]
SCORES = [1.0, -0.5, 2.0, 0.25]
CONFIGS = [
    PPOConfig(gamma=0.9, gae_lambda=0.8),
    PPOConfig(gamma=1.0, gae_lambda=0.0, kl_estimator="k2", whiten_rewards=True),
    PPOConfig(gamma=0.5, gae_lambda=1.0, kl_estimator="k3", missing_eos_penalty=3.0),
]
KL_COEFS = [0.1, 0.7, 0.0]


def random_rollout(places: int, *, seed: int = 0) -> Rollout:
    """The responses above with random numbers, NaN at padding."""
    sequences = make_sequences([[5]] * 4, RESPONSES, places)
    rng = torch.Generator().manual_seed(seed)
    shape = sequences.response_ids.shape
    tensors = (torch.randn(shape, generator=rng).where(sequences.response_mask, NAN) for _ in range(4))
    return Rollout(sequences, *tensors)


def one_response(response: list[int], old: list[float], ref: list[float], values: list[float]) -> Rollout:
    """A rollout of one trial and one response; lists that are longer than the response go on at padding."""
    plain = make_sequences([[5]], [response])
    padding = (0, len(old) - len(response))
    ids, mask = pad(plain.response_ids, padding), pad(plain.response_mask, padding)
    tensors = (torch.tensor([[numbers]]) for numbers in (old, ref, values, [NAN] * len(old)))
    return Rollout(Sequences(plain.prompts, ids, mask, plain.ended), *tensors)


def estimate(rollout: Rollout, scores: list[float], configs, kl_coefs, score_std: float = 1.0) -> Experience:
    """The experience of all trials; each response's score, and the unit of values, are the same in all of them."""
    k = len(configs)
    given = torch.tensor(scores).expand(k, -1)
    return estimate_advantages(range(k), rollout, given, configs, kl_coefs, [score_std] * k)


def standardized(numbers: list[float]) -> list[float]:
    """By the standard library: mean 0, population variance 1."""
    mean, spread = statistics.fmean(numbers), statistics.pstdev(numbers)
    return [(number - mean) / spread for number in numbers]


def test_three_tokens_by_hand():
    rollout = one_response([3, 4, 0], [-1.0, -2.0, -0.5, NAN], [-1.5, -1.0, -0.5, NAN], [0.5, 0.6, 0.7, NAN])

    experience = estimate(rollout, [1.0], [PPOConfig(gamma=0.9, gae_lambda=0.8)], [0.1])

    # k1 = (0.5, -1, 0); δ = (-0.05 + 0.54 - 0.5, 0.1 + 0.63 - 0.6, 1 - 0.7); γλ = 0.72
    advantages = [-0.01 + 0.72 * 0.346, 0.13 + 0.72 * 0.3, 0.3]
    assert_close(experience.kl[0, 0, :3], torch.tensor([0.5, -1.0, 0.0]))
    assert_close(experience.rewards[0, 0], torch.tensor([-0.05, 0.1, 1.0, 0.0]))
    assert_close(experience.returns[0, 0], torch.tensor([0.73912, 0.946, 1.0, 0.0]))
    assert_close(
        experience.advantages[0, 0], torch.tensor([*standardized(advantages), 0.0]), atol=1e-5, rtol=0
    )


def test_the_score_stands_at_the_last_real_token():
    rollout = one_response([3, 0], [0.0, 0.0, NAN, NAN], [0.0, 0.0, NAN, NAN], [0.0, 0.0, NAN, NAN])

    experience = estimate(rollout, [5.0], [PPOConfig()], [0.1])

    assert experience.rewards.tolist() == [[[0.0, 5.0, 0.0, 0.0]]]


def test_the_value_target_is_advantage_plus_value_before_standardizing():
    rollout = random_rollout(1)

    experience = estimate(rollout, SCORES, [PPOConfig(gamma=0.9, gae_lambda=0.8)], [0.1])

    raw = experience.returns[0] - rollout.old_values[0]
    mask = rollout.mask[0]
    assert_close(
        experience.advantages[0][mask], torch.tensor(standardized(raw[mask].tolist())), atol=1e-5, rtol=0
    )


def test_every_trial_is_estimated_by_its_own_hyperparameters():
    rollout = random_rollout(3)

    together = estimate(rollout, SCORES, CONFIGS, KL_COEFS)

    for k in range(3):
        alone = estimate(rollout[[k]], SCORES, [CONFIGS[k]], [KL_COEFS[k]])
        assert_close(together.rewards[k], alone.rewards[0])
        assert_close(together.advantages[k], alone.advantages[0])
        assert_close(together.returns[k], alone.returns[0])


def test_no_two_of_these_trials_are_estimated_alike():
    rollout = random_rollout(1)[[0, 0, 0]]

    experience = estimate(rollout, SCORES, CONFIGS, KL_COEFS)

    for tensor in (experience.rewards, experience.advantages, experience.returns):
        distances = [(tensor[i] - tensor[j]).abs().max() for i, j in ((0, 1), (0, 2), (1, 2))]
        assert min(distances) > 0.01


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("k1", [0.5, -1.0, 0.0]),
        ("k2", [0.125, 0.5, 0.0]),
        ("k3", [0.106531, 0.718282, 0.0]),
    ],
)
def test_the_penalty_uses_the_chosen_estimator_and_the_report_the_unbiased_one(estimator, expected):
    rollout = one_response([3, 4, 0], [-1.0, -2.0, -0.5], [-1.5, -1.0, -0.5], [0.0, 0.0, 0.0])

    experience = estimate(rollout, [0.0], [PPOConfig(kl_estimator=estimator)], [2.0])

    assert_close(experience.rewards[0, 0], -2.0 * torch.tensor(expected), atol=1e-5, rtol=0)
    assert_close(experience.kl[0, 0], torch.tensor([0.5, -1.0, 0.0]))


def test_the_penalty_uses_the_present_coefficient_and_not_that_of_the_config():
    rollout = one_response([3, 0], [-1.0, -2.0], [-1.5, -1.0], [0.0, 0.0])

    experience = estimate(rollout, [0.0], [PPOConfig(kl_coef=9.0)], [2.0])

    assert experience.rewards.tolist() == [[[-1.0, 2.0]]]


def test_only_responses_that_were_cut_off_pay_for_it():
    rollout = random_rollout(2)[[0, 0]]
    free, charged = PPOConfig(), PPOConfig(missing_eos_penalty=3.0)

    experience = estimate(rollout, SCORES, [free, charged], [0.1, 0.1])

    difference = experience.rewards[0] - experience.rewards[1]
    assert difference.tolist() == [[0, 0, 0], [0, 0, 3], [0, 0, 0], [0, 0, 0]]
    assert experience.scores.tolist() == [SCORES, SCORES]


def test_a_cut_off_response_is_known_by_its_ending_and_not_by_its_tokens():
    sequences = make_sequences([[0]], [[3, 4]])
    pays = Rollout(sequences, *torch.zeros(4, 1, 1, 2))

    experience = estimate(pays, [1.0], [PPOConfig(missing_eos_penalty=3.0)], [0.1])

    assert experience.rewards.tolist() == [[[0.0, -2.0]]]


def test_whitened_rewards_have_variance_one_and_keep_their_mean():
    rollout = random_rollout(2)[[0, 0]]

    experience = estimate(rollout, SCORES, [PPOConfig(), PPOConfig(whiten_rewards=True)], [0.1, 0.1])

    mask = rollout.mask[0]
    plain, whitened = (rewards[mask].tolist() for rewards in experience.rewards)
    assert statistics.pvariance(whitened) == pytest.approx(1.0, abs=1e-5)
    assert statistics.fmean(whitened) == pytest.approx(statistics.fmean(plain), abs=1e-5)
    assert abs(statistics.pvariance(plain) - 1) > 0.1


def test_advantages_are_standardized_within_each_trial():
    experience = estimate(random_rollout(3), SCORES, CONFIGS, KL_COEFS)

    for advantages, mask in zip(experience.advantages, experience.rollout.mask, strict=True):
        real = advantages[mask].tolist()
        assert statistics.fmean(real) == pytest.approx(0.0, abs=1e-5)
        assert statistics.pvariance(real) == pytest.approx(1.0, abs=1e-4)
        assert not advantages[~mask].any()


def test_without_a_coefficient_the_reference_does_not_matter():
    rollout = random_rollout(1)
    other = Rollout(
        rollout.sequences, rollout.old_logprobs, rollout.old_values, rollout.old_values, rollout.entropy
    )

    experience = estimate(rollout, SCORES, [PPOConfig()], [0.0])
    experience_of_other = estimate(other, SCORES, [PPOConfig()], [0.0])

    assert torch.equal(experience.rewards, experience_of_other.rewards)
    assert torch.equal(experience.advantages, experience_of_other.advantages)


def test_a_higher_score_raises_undiscounted_returns_by_as_much():
    rollout = random_rollout(1)
    config = PPOConfig(gamma=1.0, gae_lambda=1.0)

    returns = estimate(rollout, SCORES, [config], [0.1]).returns
    raised = estimate(rollout, [score + 2.0 for score in SCORES], [config], [0.1]).returns

    assert_close(raised - returns, 2.0 * rollout.mask)


def test_padding_holds_nothing():
    rollout = random_rollout(3)

    experience = estimate(rollout, SCORES, CONFIGS, KL_COEFS)

    for tensor in (experience.rewards, experience.advantages, experience.returns):
        assert not tensor[~rollout.mask].any()
        assert tensor.isfinite().all()


def test_estimating_leaves_its_inputs_as_they_were():
    rollout, scores = random_rollout(3), torch.tensor(SCORES).repeat(3, 1)
    before: list[Tensor] = copy.deepcopy(
        [rollout.old_logprobs, rollout.ref_logprobs, rollout.old_values, rollout.mask, scores]
    )

    estimate_advantages(range(3), rollout, scores, CONFIGS, KL_COEFS, [1.0, 2.0, 0.5])

    after = [rollout.old_logprobs, rollout.ref_logprobs, rollout.old_values, rollout.mask, scores]
    assert_close(after, before, equal_nan=True, atol=0, rtol=0)


def test_the_experience_knows_whose_it_is():
    rollout = random_rollout(2)

    experience = estimate_advantages([5, 2], rollout, torch.zeros(2, 4), CONFIGS[:2], KL_COEFS[:2], [1, 1])

    assert experience.places == (5, 2)
    assert experience.rollout is rollout


def test_no_trial_at_all_is_no_experience():
    experience = estimate_advantages([], random_rollout(1)[[]], torch.zeros(0, 4), [], [], [])

    assert experience.advantages.shape == (0, 4, 3)


def test_a_hyperparameter_that_is_off_is_infinite():
    values = column([0.2, None, 3], torch.device("cpu"))

    assert values.shape == (3, 1, 1)
    assert values.flatten().tolist() == [pytest.approx(0.2), math.inf, 3.0]
