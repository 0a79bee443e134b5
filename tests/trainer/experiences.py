"""Eight responses of unequal lengths, and trials that learn from them by plain gradient descent."""

import torch
from torch import Tensor

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.models import Policy
from ppo_tune.trainer.experience import Experience
from ppo_tune.trainer.rollout import Rollout
from ppo_tune.trainer.update import Run
from tests.conftest import make_sequences

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9], [6, 6], [3], [9, 2], [4, 4, 4], [8]]
RESPONSES = [[4, 0], [3, 1, 2, 9, 8], [6, 6, 0], [0], [2, 3, 4, 5, 6], [7], [3, 3, 3, 0], [5, 0]]


def make_experience(policy: Policy, places: list[int], *, seed: int = 0) -> Experience:
    """Eight responses of unequal lengths; ratios are off 1 and values off their targets, NaN at padding."""
    sequences = make_sequences(PROMPTS, RESPONSES, len(places))
    rng = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        drawn = torch.randn(8, 5, generator=rng).expand(sequences.response_ids.shape)
        return drawn.where(sequences.response_mask, torch.nan)

    with torch.no_grad():
        seen = policy.evaluate(sequences, temperature=0.7, places=places)
    rollout = Rollout(
        sequences, seen.logprobs + 0.3 * noise(), seen.logprobs, seen.values + 0.5 * noise(), seen.logprobs
    )
    score_std = torch.ones(len(places), 1, 1)
    return Experience(tuple(places), rollout, noise()[..., 0], score_std, noise(), noise(), noise(), noise())


def start(policy: Policy, place: int, config: PPOConfig, *, iteration: int = 0, seed: int = 0) -> Run:
    """A trial that is stepped by plain gradient descent, so that a step shows the gradient."""
    optimizer = torch.optim.SGD([policy.rows.row(place)], lr=1.0)
    return Run(config, seed, optimizer, config.kl_coef, iteration)
