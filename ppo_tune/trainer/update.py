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

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.models import Policy
from ppo_tune.models.memory import MemoryChunks
from ppo_tune.seeding import generator
from ppo_tune.trainer.experience import Experience
from ppo_tune.trainer.loss import STATISTICS, Coefficients, LearningPass, gradients
from ppo_tune.trainer.processes import ProcessGroup


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
        score_std: The unit of its values: standard deviation of the untrained model's scores.
    """

    config: PPOConfig
    seed: int
    optimizer: torch.optim.Optimizer
    kl_coef: float
    iteration: int = 0
    tokens: int = 0
    score_std: float = 1.0

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


class MicroBatches:
    """What k trials learn from, (k, B, ·), laid out so that a micro-batch is cut from it with few operations."""

    def __init__(
        self,
        policy: Policy,
        experience: Experience,
        configs: Sequence[PPOConfig],
        temperature: float,
        learn: LearningPass = gradients,
    ) -> None:
        rollout = experience.rollout
        self.policy = policy
        self.places = experience.places
        self.temperature = temperature
        self.gradients = learn
        self.sequences = rollout.sequences
        self.numbers = torch.stack(
            [rollout.old_logprobs, rollout.old_values, experience.advantages, experience.returns], dim=2
        )
        self.widths = rollout.sequences.prompts.mask.sum(-1).cpu()
        self.lengths = rollout.mask.sum(-1).cpu()
        self.coefficients = Coefficients.of(configs, experience.score_std)
        self.with_entropy = any(config.ent_coef for config in configs)

    def learn(
        self,
        learning: Sequence[int],
        rows: Tensor,
        tokens: Sequence[float],
        chunks: MemoryChunks,
        sums: Mapping[int, Tensor],
    ) -> None:
        """Add the gradient of one micro-batch of each trial, as its share of that trial's mini-batch.

        `learning` are some of the k trials, `rows` their responses, (len(learning), b), and `tokens` those of the mini-
        batch that each micro-batch is part of. `sums`, by place of tokens and of statistics, grow.
        """
        weights = torch.tensor(tokens, device=self.policy.device)

        def work(trials: slice, part: slice) -> Tensor:
            return self._add_gradients(learning[trials], rows[trials, part], weights[trials])

        for trials, _, found in chunks.run(work, trials=len(learning), rows=rows.shape[1]):
            for i, trial_sums in zip(learning[trials], found, strict=True):
                sums[self.places[i]].add_(trial_sums)

    def _add_gradients(self, learning: Sequence[int], rows: Tensor, tokens: Tensor) -> Tensor:
        """One pass; returns tokens and sums of statistics, shape (len(learning), 1 + len(STATISTICS)).

        Nothing is changed before all gradients are known, so that a pass without enough memory can be done again.
        """
        trial = torch.tensor(learning)[:, None]
        # Columns that are padding in every row of this micro-batch are left out.
        width, length = int(self.widths[trial, rows].max()), int(self.lengths[trial, rows].max())
        device = self.policy.device
        batch = self.sequences[trial.to(device), rows.to(device)].cut(width, length)
        numbers = self.numbers[trial.to(device), rows.to(device)][..., :length]
        everybody = len(learning) == len(self.places)
        found, sums = self.gradients(
            self.policy,
            batch,
            numbers,
            self.coefficients if everybody else self.coefficients[learning],
            tokens,
            places=tuple(self.places[i] for i in learning),
            temperature=self.temperature,
            with_entropy=self.with_entropy,
        )
        with torch.no_grad():
            for parameter, gradient in zip(self.policy.trainable, found, strict=True):
                if gradient is not None:
                    assert parameter.grad is not None
                    parameter.grad.add_(gradient)
        return sums


def improve_policy(
    policy: Policy,
    experience: Experience,
    runs: Mapping[int, Run],
    *,
    temperature: float,
    micro_batch_size: int | None = None,
    chunks: MemoryChunks | None = None,
    learn: LearningPass = gradients,
    processes: ProcessGroup | None = None,
) -> dict[int, Learned]:
    """Run every trial's PPO epochs over its experience (k, B, ·); says what happened, by place.

    A micro-batch is so many rows of each trial, None for the most that divides every batch; `chunks` of it fit into
    memory, None for all.
    """
    processes, chunks = processes or ProcessGroup(), chunks or MemoryChunks()
    places = experience.places
    learned = {place: Learned(torch.zeros(1 + len(STATISTICS), device=policy.device)) for place in places}
    orders = [_order(runs[place], experience.rollout.mask[i]) for i, place in enumerate(places)]
    batch_sizes = [runs[place].config.batch_size for place in places]
    size = micro_batch_size or reduce(math.gcd, batch_sizes, 0) or 1
    processes.check_divides("ppo.batch_size", size)
    micro_batches = MicroBatches(
        policy, experience, [runs[place].config for place in places], temperature, learn
    )
    sums = {place: learned[place].sums for place in places}
    for start in range(0, max((len(rows) for rows, _ in orders), default=0), size):
        learning = [
            i for i, place in enumerate(places) if start < len(orders[i][0]) and not learned[place].diverged
        ]
        if not learning:
            break
        mine = slice(start + processes.rank, start + size, processes.size)
        rows = torch.stack([orders[i][0][mine] for i in learning])
        tokens = [orders[i][1][start // batch_sizes[i]] for i in learning]
        micro_batches.learn(learning, rows, tokens, chunks, sums)
        stepping = [places[i] for i in learning if (start + size) % batch_sizes[i] == 0]
        for place in stepping:
            processes.add_up(policy.rows.grads[place])
        for place, norm in zip(stepping, _optimizer_steps(policy, runs, stepping), strict=True):
            learned[place].gradient_norms.append(norm)
    for record in learned.values():
        processes.add_up(record.sums)
    return learned


def _order(run: Run, mask: Tensor) -> tuple[Tensor, list[float]]:
    """Rows of the rollout, (epochs · B,), every epoch's in a fresh order of the trial's own; tokens by mini-batch."""
    lengths = mask.sum(-1).cpu()
    orders = [
        torch.randperm(len(lengths), generator=generator(run.seed, "epoch", run.iteration, epoch))
        for epoch in range(run.config.ppo_epochs)
    ]
    rows = torch.cat(orders)
    return rows, lengths[rows].view(-1, run.config.batch_size).sum(-1).tolist()


def _optimizer_steps(policy: Policy, runs: Mapping[int, Run], places: Sequence[int]) -> list[float]:
    """Clip each trial's gradient, step, and clear it; returns the norms before clipping.

    A gradient that is not finite changes nothing. The device is asked once for all.
    """
    if not places:
        return []
    adapters = policy.adapters
    if adapters is not None:
        for place in places:
            adapters.before_step(place)
    gradients = [policy.rows.grads[place] for place in places]
    norms: list[float] = torch.stack([torch.linalg.vector_norm(g) for g in gradients]).tolist()
    for place, gradient, norm in zip(places, gradients, norms, strict=True):
        run = runs[place]
        if math.isfinite(norm):
            gradient.mul_(min(1.0, run.config.max_grad_norm / (norm + 1e-6)))
            run.optimizer.param_groups[0]["lr"] = run.config.learning_rate_at(run.episodes)
            run.optimizer.step()
            if adapters is not None:
                adapters.after_step(place)
        gradient.zero_()
    return norms
