# mypy: ignore-errors
"""More padding changes nothing: no sample, no log-probability, no advantage, no gradient, no statistic."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.testing import assert_close

from ppo_tune.models import Policy, Prompts, Sequences
from ppo_tune.seeding import generator
from ppo_tune.trainer.experience import Experience, estimate_advantages
from ppo_tune.trainer.rollout import Rollout, collect
from ppo_tune.trainer.update import Learned, Run, improve_policy
from tests.conftest import prompts_for, small_config, stirred_policy, uniforms_for

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9], [6, 6], [3], [9, 2], [4, 4, 4], [8]]
CONFIGS = [small_config(ent_coef=0.1), small_config(batch_size=2, whiten_rewards=True, clip_range_value=0.1)]
LEFT, RIGHT = 3, 4


def widen_prompts(prompts: Prompts) -> Prompts:
    """More padding on the left, and some token there."""
    return Prompts(pad(prompts.ids, (LEFT, 0), value=7), pad(prompts.mask, (LEFT, 0), value=False))


def widen(rollout: Rollout) -> Rollout:
    """More padding on both sides; what is said of it is not a number."""
    sequences = rollout.sequences
    ids, mask = pad(sequences.response_ids, (0, RIGHT), value=9), pad(rollout.mask, (0, RIGHT), value=False)
    per_token = (rollout.old_logprobs, rollout.ref_logprobs, rollout.old_values, rollout.entropy)
    return Rollout(
        Sequences(widen_prompts(sequences.prompts), ids, mask, sequences.ended),
        *(pad(tensor, (0, RIGHT), value=torch.nan).where(mask, torch.nan) for tensor in per_token),
    )


def sample(policy: Policy, prompts: Prompts) -> Rollout:
    return collect(policy, prompts, uniforms_for(2, 8, 6), temperature=0.8, places=[0, 1])


def estimate(rollout: Rollout) -> Experience:
    scores = torch.randn(2, 8, generator=generator("scores"))
    return estimate_advantages([0, 1], rollout, scores, CONFIGS, [0.1, 0.2], [1.0, 2.0])


def learn(policy: Policy, experience: Experience) -> tuple[Tensor, dict[int, Learned]]:
    """How far both places move, and what happened."""
    before = policy.rows.values.clone()
    runs = {
        place: Run(config, 0, torch.optim.SGD([policy.rows.row(place)]), config.kl_coef)
        for place, config in enumerate(CONFIGS)
    }
    learned = improve_policy(policy, experience, runs, temperature=0.8)
    return policy.rows.values - before, learned


def real(rollout: Rollout, *tensors: Tensor) -> list[Tensor]:
    """What stands at real tokens, whatever the width."""
    return [tensor[rollout.mask] for tensor in tensors]


def test_wider_prompts_change_no_sample_and_no_log_probability(family):
    policy = stirred_policy(family, places=2)
    narrow = sample(policy, prompts_for(PROMPTS, 2))

    wide = sample(policy, widen_prompts(prompts_for(PROMPTS, 2)))

    assert torch.equal(wide.sequences.response_ids, narrow.sequences.response_ids)
    assert_close(
        real(wide, wide.old_logprobs, wide.ref_logprobs, wide.old_values, wide.entropy),
        real(narrow, narrow.old_logprobs, narrow.ref_logprobs, narrow.old_values, narrow.entropy),
        atol=1e-5,
        rtol=0,
    )


def test_room_for_longer_responses_changes_no_response_that_has_ended():
    policy = stirred_policy(places=2)
    uniforms = uniforms_for(2, 8, 12)
    short = collect(policy, prompts_for(PROMPTS, 2), uniforms[..., :6], temperature=0.8, places=[0, 1])

    long = collect(policy, prompts_for(PROMPTS, 2), uniforms, temperature=0.8, places=[0, 1])

    assert torch.equal(long.sequences.response_ids[..., :6], short.sequences.response_ids)
    assert_close(long.old_logprobs[..., :6], short.old_logprobs, atol=1e-6, rtol=0)
    ended = short.sequences.ended
    assert torch.equal(long.mask[ended].sum(-1), short.mask[ended].sum(-1))
    assert ended.any()
    assert not ended.all()


def test_a_wider_rollout_has_the_same_advantages_and_returns():
    rollout = sample(stirred_policy(places=2), prompts_for(PROMPTS, 2))
    wide = widen(rollout)

    narrow_experience, wide_experience = estimate(rollout), estimate(wide)

    for name in ("kl", "rewards", "advantages", "returns"):
        assert_close(
            real(wide, getattr(wide_experience, name)),
            real(rollout, getattr(narrow_experience, name)),
            atol=1e-5,
            rtol=0,
        )


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_wider_rollout_teaches_the_same_and_has_the_same_statistics(family):
    policy, other = stirred_policy(family, places=2), stirred_policy(family, places=2)
    rollout = sample(policy, prompts_for(PROMPTS, 2))

    moved, learned = learn(policy, estimate(rollout))
    moved_wide, learned_wide = learn(other, estimate(widen(rollout)))

    assert_close(moved_wide, moved, atol=1e-6, rtol=1e-4)
    assert moved.abs().amax(-1).min() > 1e-3
    for place in (0, 1):
        assert_close(learned_wide[place].sums, learned[place].sums, atol=1e-5, rtol=1e-4)
        norms = learned[place].gradient_norms
        assert learned_wide[place].gradient_norms == pytest.approx(norms, rel=1e-4)
