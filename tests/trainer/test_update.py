# mypy: ignore-errors
"""The update: what one optimizer step does, how many there are, and that trials do not mix."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.models import Policy, Sequences
from ppo_tune.trainer.experience import Experience
from ppo_tune.trainer.rollout import Rollout
from ppo_tune.trainer.update import Learned, improve_policy
from tests.conftest import small_config, stirred_policy
from tests.trainer.experiences import RESPONSES, make_experience, start

TOKENS = sum(map(len, RESPONSES))
RATE = 0.5


def plain(**changes) -> PPOConfig:
    """One step on everything, unclipped."""
    usual = {"learning_rate": RATE, "batch_size": 8, "ppo_epochs": 1, "max_grad_norm": 1e9}
    return small_config(**{**usual, **changes})


def improve(
    policy: Policy, experience: Experience, configs: list[PPOConfig], **settings
) -> dict[int, Learned]:
    runs = {place: start(policy, place, c) for place, c in zip(experience.places, configs, strict=True)}
    return improve_policy(policy, experience, runs, temperature=0.7, **settings)


def learn(configs: list[PPOConfig], *, places: list[int] | None = None, **settings) -> tuple[Tensor, dict]:
    """How far each place moves, and what happened."""
    places = places or list(range(len(configs)))
    policy = stirred_policy(places=3)
    before = policy.rows.values.clone()
    learned = improve(policy, make_experience(policy, places), configs, **settings)
    return policy.rows.values - before, learned


def slow_gradient(config: PPOConfig) -> Tensor:
    """The gradient of the loss of place 0, written token by token from the paper."""
    policy = stirred_policy(places=3)
    experience = make_experience(policy, [0])
    rollout = experience.rollout
    seen = policy.evaluate(rollout.sequences, temperature=0.7, places=[0], with_entropy=True)
    epsilon, bound = config.clip_range, config.clip_range_value or math.inf
    loss = torch.zeros(())
    for i, response in enumerate(RESPONSES):
        for t in range(len(response)):
            advantage, target = experience.advantages[0, i, t], experience.returns[0, i, t]
            ratio = (seen.logprobs[0, i, t] - rollout.old_logprobs[0, i, t]).exp()
            surrogate = torch.minimum(ratio * advantage, ratio.clip(1 - epsilon, 1 + epsilon) * advantage)
            if advantage < 0:
                surrogate = torch.maximum(surrogate, (config.dual_clip or math.inf) * advantage)
            value, old = seen.values[0, i, t], rollout.old_values[0, i, t]
            clipped = old + (value - old).clip(-bound, bound)
            error = torch.maximum((value - target) ** 2, (clipped - target) ** 2) / 2
            loss = loss - surrogate + config.vf_coef * error - config.ent_coef * seen.entropy[0, i, t]
    (loss / TOKENS).backward()
    return policy.rows.grads[0]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="usual"),
        pytest.param({"clip_range": 0.05}, id="narrow clip"),
        pytest.param({"clip_range": 0.05, "dual_clip": 1.1}, id="dual clip"),
        pytest.param({"vf_coef": 2.0}, id="value loss"),
        pytest.param({"vf_coef": 2.0, "clip_range_value": 0.1}, id="clipped value"),
        pytest.param({"ent_coef": 0.3}, id="entropy bonus"),
    ],
)
def test_a_step_follows_the_gradient_of_the_loss_per_token(changes):
    config = plain(**changes)
    gradient = slow_gradient(config)

    moved, learned = learn([config])

    assert_close(moved[0], -RATE * gradient, atol=1e-6, rtol=1e-4)
    assert learned[0].gradient_norms == [pytest.approx(float(gradient.norm()), rel=1e-4)]


def test_a_gradient_is_clipped_to_its_norm_and_reported_as_it_was():
    free, free_learned = learn([plain()])
    norm = free_learned[0].gradient_norms[0]

    moved, learned = learn([plain(max_grad_norm=norm / 10)])

    assert learned[0].gradient_norms == [pytest.approx(norm)]
    assert_close(moved[0], free[0] / 10, atol=1e-7, rtol=1e-3)


def test_a_gradient_is_clipped_by_its_own_trial_alone():
    calm, wild = plain(max_grad_norm=0.5), plain(max_grad_norm=0.5, vf_coef=100.0)

    together, _ = learn([calm, wild])

    alone, _ = learn([calm])
    assert_close(together[0], alone[0], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 8])
@pytest.mark.parametrize("ppo_epochs", [1, 3])
def test_there_are_epochs_times_rollout_over_batch_optimizer_steps(batch_size, ppo_epochs):
    _, learned = learn([plain(batch_size=batch_size, ppo_epochs=ppo_epochs)])

    assert len(learned[0].gradient_norms) == ppo_epochs * 8 // batch_size


def test_trials_of_one_pack_differ_in_batches_and_epochs():
    configs = [plain(batch_size=8, ppo_epochs=3), plain(batch_size=2), plain(batch_size=4, ppo_epochs=2)]

    together, learned = learn(configs)

    assert [len(learned[k].gradient_norms) for k in range(3)] == [3, 4, 4]
    for k, config in enumerate(configs):
        alone, _ = learn([config], places=[k])
        assert_close(together[k], alone[k], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("ppo_epochs", [1, 3])
def test_every_token_is_learned_from_once_per_epoch(ppo_epochs):
    _, learned = learn([plain(batch_size=2, ppo_epochs=ppo_epochs)])

    assert learned[0].sums[0] == ppo_epochs * TOKENS


def test_every_epoch_has_an_order_of_its_own():
    config = plain(batch_size=4, learning_rate=0.0, ppo_epochs=4)

    _, learned = learn([config])

    first_halves = learned[0].gradient_norms[::2]
    assert len(set(first_halves)) > 1


def test_the_seed_and_the_iteration_decide_the_order():
    config = plain(batch_size=4, learning_rate=0.0)

    def norms(**changes) -> list[float]:
        policy = stirred_policy(places=3)
        experience = make_experience(policy, [0])
        run = start(policy, 0, config, **changes)
        return improve_policy(policy, experience, {0: run}, temperature=0.7)[0].gradient_norms

    assert norms() == norms()
    assert norms() != norms(seed=1)
    assert norms() != norms(iteration=1)


def test_the_order_of_responses_within_a_batch_changes_nothing():
    policies = [stirred_policy(places=3) for _ in range(2)]

    for seed, policy in enumerate(policies):
        run = start(policy, 0, plain(batch_size=8), seed=seed)
        improve_policy(policy, make_experience(policy, [0]), {0: run}, temperature=0.7)

    assert_close(policies[0].rows.values, policies[1].rows.values, atol=1e-6, rtol=1e-4)


def test_statistics_are_means_over_tokens():
    policy = stirred_policy(places=3)
    experience = make_experience(policy, [0])
    rollout, mask = experience.rollout, experience.rollout.mask
    log_ratio = (rollout.ref_logprobs - rollout.old_logprobs)[mask]  # nothing is learned, so ref is current
    ratio, advantages = log_ratio.exp(), experience.advantages[mask]
    bounded = torch.where(advantages > 0, ratio.clip(max=1.2), ratio.clip(min=0.8))

    learned = improve(policy, experience, [plain(learning_rate=0.0, batch_size=2)])[0]

    assert learned.mean("policy_loss") == pytest.approx(-float((advantages * bounded).mean()), rel=1e-4)
    assert learned.mean("approx_kl") == pytest.approx(float((ratio - 1 - log_ratio).mean()), rel=1e-4)
    assert learned.mean("clip_fraction") == pytest.approx(float((bounded != ratio).float().mean()), rel=1e-4)
    assert 0.1 < learned.mean("clip_fraction") < 0.9


def test_the_value_loss_is_half_the_squared_error_per_token():
    policy = stirred_policy(places=3)
    experience = make_experience(policy, [0])
    mask = experience.rollout.mask
    values = policy.evaluate(experience.rollout.sequences, temperature=0.7, places=[0]).values[mask]

    learned = improve(policy, experience, [plain(learning_rate=0.0, batch_size=2)])[0]

    error = (values - experience.returns[mask]).detach()
    assert learned.mean("value_loss") == pytest.approx(float(error.square().mean() / 2), rel=1e-4)


def test_without_a_step_size_nothing_moves():
    moved, _ = learn([plain(learning_rate=0.0, ent_coef=0.1, ppo_epochs=3)])

    assert not moved.any()


@pytest.mark.parametrize(("iteration", "share"), [(0, 1.0), (2, 0.75), (6, 0.25)])
def test_a_linear_schedule_shrinks_the_step_with_the_episodes_that_are_done(iteration, share):
    config = plain(lr_schedule="linear", episodes=64)
    policy = stirred_policy(places=3)
    before = policy.rows.values.clone()
    run = start(policy, 0, config, iteration=iteration)

    improve_policy(policy, make_experience(policy, [0]), {0: run}, temperature=0.7)

    full, _ = learn([plain()])
    assert_close(policy.rows.values[0] - before[0], share * full[0], atol=1e-6, rtol=1e-3)


def test_places_without_a_trial_are_left_alone():
    moved, learned = learn([plain()], places=[1])

    assert set(learned) == {1}
    assert moved[1].any()
    assert not moved[[0, 2]].any()


def test_gradients_do_not_add_up_from_one_update_to_the_next():
    policy = stirred_policy(places=3)
    experience = make_experience(policy, [0])

    improve(policy, experience, [plain(learning_rate=0.0)])
    norms = [improve(policy, experience, [plain(learning_rate=0.0)])[0].gradient_norms for _ in range(2)]

    assert norms[0] == norms[1]
    assert not policy.rows.grads.any()


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e30])
def test_a_gradient_that_is_not_finite_stops_its_trial_and_no_other(poison):
    configs = [plain(batch_size=4, ppo_epochs=2)] * 3
    healthy, _ = learn(configs)
    policy = stirred_policy(places=3)
    before = policy.rows.values.clone()
    experience = make_experience(policy, [0, 1, 2])
    experience.returns[1] = experience.returns[1] * poison

    learned = improve(policy, experience, configs)

    moved = policy.rows.values - before
    assert [learned[k].diverged for k in range(3)] == [False, True, False]
    assert not moved[1].any()
    assert torch.equal(moved[[0, 2]], healthy[[0, 2]])


def test_a_trial_that_diverges_takes_no_further_step():
    policy = stirred_policy(places=3)
    experience = make_experience(policy, [0])
    experience.returns[0, 3] = math.inf  # the response of one token

    learned = improve(policy, experience, [plain(batch_size=1, ppo_epochs=3)])

    assert not math.isfinite(learned[0].gradient_norms[-1])
    assert all(math.isfinite(norm) for norm in learned[0].gradient_norms[:-1])


def test_what_stands_at_padding_does_not_matter():
    policy = stirred_policy(places=3)
    experience = make_experience(policy, [0])
    rollout, mask = experience.rollout, experience.rollout.mask
    ids = rollout.sequences.response_ids.where(mask, 9)
    sequences = Sequences(rollout.sequences.prompts, ids, mask, rollout.sequences.ended)
    filled = [
        tensor.where(mask, 7.0)
        for tensor in (rollout.old_logprobs, rollout.ref_logprobs, rollout.old_values, rollout.entropy)
    ]
    tokens = [tensor.where(mask, -7.0) for tensor in (experience.advantages, experience.returns)]
    other = Experience(
        (0,), Rollout(sequences, *filled), experience.scores, experience.score_std, experience.kl,
        experience.rewards, *tokens,
    )  # fmt: skip
    before = policy.rows.values.clone()

    improve(policy, other, [plain()])

    expected, _ = learn([plain()])
    assert_close(policy.rows.values[0] - before[0], expected[0], atol=1e-6, rtol=1e-4)
