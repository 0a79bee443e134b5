"""PPO epochs over mini-batches for k trials that share every forward pass and nothing else.

All trials march through micro-batches of one shape. A trial's optimizer steps when its own mini-batch is
full, so batch sizes and epochs may differ; a trial with fewer epochs is done earlier, and one whose
gradient is not finite stops at once and leaves the others as they were. A micro-batch's loss is divided by
the tokens of its mini-batch, known beforehand, so its size never changes a gradient.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from ppo_tune.config import PPOConfig
from ppo_tune.experience import Experience, column
from ppo_tune.models import Policy
from ppo_tune.ppo import (
    approx_kl,
    clip_fraction,
    clipped_policy_loss,
    clipped_value_loss,
    masked_mean,
    masked_sum,
)
from ppo_tune.seeding import generator
from ppo_tune.team import Team

STATISTICS = ("policy_loss", "value_loss", "approx_kl", "clip_fraction")


@dataclass
class Run:
    """One trial in its place.

    Attributes:
        config: Its hyperparameters.
        seed: Decides all its random numbers.
        optimizer: AdamW over the one vector that holds its numbers.
        kl_coef: β, which may adapt.
        iteration: Iterations done.
        tokens: Response tokens sampled.
    """

    config: PPOConfig
    seed: int
    optimizer: torch.optim.Optimizer
    kl_coef: float
    iteration: int = 0
    tokens: int = 0

    @property
    def episodes(self) -> int:
        """Responses sampled so far."""
        return self.iteration * self.config.rollout_size


@dataclass
class Learned:
    """What happened in one trial's epochs.

    Attributes:
        sums: Of tokens, and of each statistic times tokens; shape (1 + len(STATISTICS),).
        gradient_norms: Before clipping, one per optimizer step.
    """

    sums: Tensor
    gradient_norms: list[float] = field(default_factory=list)

    @property
    def diverged(self) -> bool:
        """Whether a gradient was not finite; nothing was learned from it."""
        return any(not math.isfinite(norm) for norm in self.gradient_norms)

    def mean(self, name: str) -> float:
        """A statistic's mean over all tokens of all epochs."""
        return float(self.sums[1 + STATISTICS.index(name)] / self.sums[0])


@dataclass(frozen=True)
class _Plan:
    """The order in which one trial learns from its rollout.

    Attributes:
        rows: Row numbers, all epochs after one another.
        tokens: For each of them, the tokens of the mini-batch it is part of.
    """

    rows: list[int]
    tokens: list[float]


def improve_policy(
    policy: Policy,
    experience: Experience,
    runs: Mapping[int, Run],
    *,
    temperature: float,
    micro_batch_size: int | None = None,
    team: Team | None = None,
) -> dict[int, Learned]:
    """Run every trial's PPO epochs.

    Args:
        policy: Whose rows are changed.
        experience: What to learn from, (k, B, ·).
        runs: The trials by place.
        temperature: The one the responses were sampled with.
        micro_batch_size: Rows of each trial per forward pass; None takes the most that divides every batch.
        team: The processes that share the work.

    Returns:
        What happened, by place.
    """
    team = team or Team()
    places = experience.places
    learned = {place: Learned(torch.zeros(1 + len(STATISTICS), device=policy.device)) for place in places}
    plans = [_plan(runs[place], experience.rollout.mask[i]) for i, place in enumerate(places)]
    batch_sizes = (runs[place].config.batch_size for place in places)
    size = micro_batch_size or reduce(math.gcd, batch_sizes, 0) or 1
    team.check_divides("ppo.batch_size", size)
    for start in range(0, max((len(plan.rows) for plan in plans), default=0), size):
        learning = [
            i for i, place in enumerate(places) if start < len(plans[i].rows) and not learned[place].diverged
        ]
        if not learning:
            break
        mine = slice(start + team.rank, start + size, team.size)
        rows = [plans[i].rows[mine] for i in learning]
        tokens = [plans[i].tokens[start] for i in learning]
        _accumulate_gradients(policy, experience, runs, learning, rows, tokens, temperature, learned)
        for i in learning:
            run = runs[places[i]]
            if (start + size) % run.config.batch_size == 0:
                team.add_up(policy.rows.grads[places[i]])
                norm = _optimizer_step(run)
                policy.rows.grads[places[i]].zero_()
                learned[places[i]].gradient_norms.append(norm)
    for record in learned.values():
        team.add_up(record.sums)
    return learned


def _plan(run: Run, mask: Tensor) -> _Plan:
    """A fresh order of the rollout's rows for every epoch, from the trial's own random numbers."""
    lengths = mask.sum(-1).cpu()
    orders = [
        torch.randperm(len(lengths), generator=generator(run.seed, "epoch", run.iteration, epoch))
        for epoch in range(run.config.ppo_epochs)
    ]
    rows = torch.cat(orders)
    tokens = lengths[rows].view(-1, run.config.batch_size).sum(-1).repeat_interleave(run.config.batch_size)
    return _Plan(rows.tolist(), tokens.tolist())


def _accumulate_gradients(
    policy: Policy,
    experience: Experience,
    runs: Mapping[int, Run],
    learning: Sequence[int],
    rows: Sequence[Sequence[int]],
    tokens: Sequence[float],
    temperature: float,
    learned: Mapping[int, Learned],
) -> None:
    """Add the gradient of one micro-batch of each trial, as its share of that trial's mini-batch."""
    device = policy.device
    index = (torch.tensor(learning, device=device)[:, None], torch.tensor(rows, device=device))
    batch, advantages, returns = (
        experience.rollout[index],
        experience.advantages[index],
        experience.returns[index],
    )
    places = [experience.places[i] for i in learning]
    configs = [runs[place].config for place in places]
    clip_range = column([config.clip_range for config in configs], device)
    dual_clip = column([config.dual_clip for config in configs], device)
    clip_range_value = column([config.clip_range_value for config in configs], device)
    vf_coef = column([config.vf_coef for config in configs], device)
    ent_coef = column([config.ent_coef for config in configs], device)[:, 0, 0]

    seen = policy.evaluate(
        batch.sequences, temperature=temperature, places=places, with_entropy=bool(ent_coef.any())
    )
    policy_loss = clipped_policy_loss(
        seen.logprobs, batch.old_logprobs, advantages, batch.mask, clip_range, dual_clip
    )
    value_loss = clipped_value_loss(seen.values, batch.old_values, returns, batch.mask, clip_range_value)
    loss = (policy_loss + vf_coef * value_loss).sum((-2, -1))
    if seen.entropy is not None:
        loss = loss - ent_coef * masked_sum(seen.entropy, batch.mask)
    (loss / torch.tensor(tokens, device=device)).sum().backward()

    with torch.no_grad():
        counts = batch.mask.sum((-2, -1))
        statistics = torch.stack(
            [
                torch.ones_like(loss),
                masked_mean(policy_loss, batch.mask),
                masked_mean(value_loss, batch.mask),
                approx_kl(seen.logprobs, batch.old_logprobs, batch.mask),
                clip_fraction(seen.logprobs, batch.old_logprobs, advantages, batch.mask, clip_range),
            ]
        )
        for j, place in enumerate(places):
            learned[place].sums += statistics[:, j] * counts[j]


def _optimizer_step(run: Run) -> float:
    """Clip one trial's gradient and step; returns the norm before clipping.

    A gradient that is not finite changes nothing.
    """
    group = run.optimizer.param_groups[0]
    norm = float(torch.nn.utils.clip_grad_norm_(group["params"], run.config.max_grad_norm, foreach=False))
    if math.isfinite(norm):
        group["lr"] = run.config.learning_rate_at(run.episodes)
        run.optimizer.step()
    return norm
