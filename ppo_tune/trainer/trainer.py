"""PPO for K trials over one language model: an iteration is a rollout and some epochs of learning from it.

The K places of a pack are filled and emptied one by one, at any time. Trials share the frozen model and
every forward pass, and nothing else: each has its own hyperparameters, random numbers, adapters, value
head, optimizer and KL coefficient, so it learns the same alone and in a pack. What goes wrong in one trial
is that trial's result and leaves the others as they were.

Does not know that it is being tuned.
"""

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.errors import OutOfMemoryError, RewardError, TrainingDivergedError, TrialError
from ppo_tune.models import Policy, Prompts
from ppo_tune.models.answers import draw_uniforms
from ppo_tune.models.guard import require_reference
from ppo_tune.models.lora import Bottleneck
from ppo_tune.models.memory import Memory, is_out_of_memory
from ppo_tune.ppo import adapt_kl_coef, explained_variance, masked_mean, masked_sum
from ppo_tune.rewards import LearningReward, Reward
from ppo_tune.seeding import generator
from ppo_tune.tasks import PromptSet, Task
from ppo_tune.trainer.experience import Experience, estimate_advantages
from ppo_tune.trainer.loss import LearningPass, gradients
from ppo_tune.trainer.processes import ProcessGroup
from ppo_tune.trainer.rollout import Rollout, collect, score
from ppo_tune.trainer.update import Learned, Run, improve_policy

Metrics = dict[str, float]
"""Numbers of one iteration of one trial; a name says its group, its meaning and its unit."""

Results = dict[int, Metrics | TrialError]
"""By place: what an iteration gave, or why it gave nothing."""


class PPOTrainer:
    """Trains the trials that are put into its places.

    Args:
        policy: A policy with K places.
        task: Prompts and the reward.
        shared: The fields that all trials have in common are read from here.
        processes: The processes that share the work; None trains alone.

    Attributes:
        rewards: What the trial in a place is trained on.
        learn: The pass that trials learn by; `compiling` has one that saves time.

    Raises:
        DataError: If there are fewer training prompts than one rollout needs, or one is too long.
        ConfigError: If a rollout cannot be shared out evenly.
    """

    def __init__(
        self, policy: Policy, task: Task, shared: PPOConfig, processes: ProcessGroup | None = None
    ) -> None:
        self.policy = policy
        self.task = task
        self.shared = shared
        self.processes = processes or ProcessGroup()
        self.processes.check_divides("ppo.rollout_size", shared.rollout_size)
        room = policy.layout.room_for_prompts(shared.max_new_tokens)
        self.prompts = PromptSet(task, "train", policy.tokenizer, room, closed=policy.layout.closes_prompts)
        policy.check_readable(self.prompts.ids)
        self.prompts.check_rollout(shared.rollout_size)
        self.forget_limits()
        self.runs: dict[int, Run] = {}
        self.rewards: dict[int, Reward] = {}
        self.learn: LearningPass = gradients

    @property
    def free_places(self) -> list[int]:
        """Places without a trial."""
        return [place for place in range(self.policy.places) if place not in self.runs]

    def start(
        self,
        place: int,
        config: PPOConfig,
        seed: int,
        *,
        score_std: float = 1.0,
        adapters: Bottleneck | None = None,
    ) -> None:
        """Put a new trial into a free place, at the reference policy.

        Args:
            place: Which place.
            config: Its hyperparameters; the shared fields must be those of the trainer, and the
                micro-batch size must divide its batch size.
            seed: Decides all its random numbers.
            score_std: Standard deviation of the untrained model's scores, > 0: the unit of values and returns. With
                it a trial learns the same whatever the unit of its reward, `kl_coef`, `missing_eos_penalty` and
                `clip_range_value`; 1 leaves values in that unit.
            adapters: What its adapters are like; None is as the policy has them.
        """
        assert score_std > 0, f"score_std {score_std} must be positive"
        assert place not in self.runs, f"place {place} is taken"
        micro = self.shared.micro_batch_size or 1
        assert config.batch_size % micro == 0, f"micro_batch_size {micro} must divide {config.batch_size}"
        self.policy.reset(place, generator(seed, "init"), adapters)
        if self.policy.adapters is not None:
            self.policy.adapters.begin(place, config.iterations * config.steps_per_iteration)
        row, lr, eps = self.policy.rows.row(place), config.learning_rate, config.adam_epsilon
        optimizer = torch.optim.AdamW([row], lr=lr, eps=eps, weight_decay=0.0, fused=True)
        self.runs[place] = Run(config, seed, optimizer, config.kl_coef, score_std=score_std)
        self.rewards[place] = self.task.reward.for_trial(seed)
        self.runs = dict(sorted(self.runs.items()))  # in order, a full pack is the policy's rows as they are

    def drop(self, place: int) -> None:
        """Free a place; the trial's numbers stay in it until another one starts there."""
        del self.runs[place], self.rewards[place]

    def forget_limits(self) -> None:
        """Try again to do everything at once, whatever did not fit into memory before."""
        self.memory = Memory.with_rows(self.shared.micro_batch_size)

    def step(self) -> Results:
        """One iteration of every trial.

        What does not fit into memory is done in halves; only a trial of which not even one response fits ends.

        Returns:
            Each place's metrics; or, where its training or its reward failed, the error. Such a place must be
            dropped.
        """
        try:
            return self._iterate()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return {place: OutOfMemoryError(str(error).splitlines()[0]) for place in self.runs}

    def _iterate(self) -> Results:
        started = time.perf_counter()
        failures: dict[int, TrialError] = {}
        rollout, scores = self._collect_rollout(failures)
        experience = self._estimate_advantages(rollout, scores, failures)
        sampled = time.perf_counter()
        learned = improve_policy(
            self.policy,
            experience,
            self.runs,
            temperature=self.shared.temperature,
            micro_batch_size=self.shared.micro_batch_size,
            chunks=self.memory.passes,
            learn=self.learn,
            processes=self.processes,
        )
        done = time.perf_counter()
        results: Results = dict(failures)
        for i, place in enumerate(experience.places):
            run = self.runs[place]
            if learned[place].diverged:
                results[place] = TrainingDivergedError(
                    f"the gradient is not finite after {run.episodes} episodes"
                )
                continue
            try:
                told = self._teach_reward(place, experience.rollout[i])
            except RewardError as error:
                results[place] = error
                continue
            self._adapt(run, experience, i)
            results[place] = {
                **_metrics(run, experience, i, learned[place]),
                **told,
                "time/rollout_seconds": sampled - started,
                "time/learning_seconds": done - sampled,
            }
        return results

    def _collect_rollout(self, failures: dict[int, TrialError]) -> tuple[Rollout, Tensor]:
        """Sample and score a rollout of every trial; scores have shape (k, B), and failures are noted."""
        places, size, length = list(self.runs), self.shared.rollout_size, self.shared.max_new_tokens
        rows = [self._prompt_rows(run) for run in self.runs.values()]
        prompts = self.prompts.batch(row for trial in rows for row in trial)
        rngs = [generator(run.seed, "sampling", run.iteration) for run in self.runs.values()]
        uniforms = torch.stack([draw_uniforms(size, length, rng) for rng in rngs])
        mine = slice(self.processes.rank, size, self.processes.size)
        shape = (len(places), size, -1)
        part = collect(
            self.policy,
            Prompts(prompts.ids.view(shape), prompts.mask.view(shape))[:, mine],
            uniforms[:, mine],
            temperature=self.shared.temperature,
            places=places,
            memory=self.memory,
        )
        scores = [self._score(part[i], rows[i][mine], place, failures) for i, place in enumerate(places)]
        gathered = self.processes.gather(torch.stack(scores, -1)).T
        for place, trial_scores in zip(places, gathered, strict=True):
            if not trial_scores.isfinite().all():
                failures.setdefault(place, RewardError("the reward failed in another process"))
        return part.gathered(self.processes, length), gathered

    def _prompt_rows(self, run: Run) -> list[int]:
        """The prompts of a trial's next rollout: each once, in a new order, before any comes again."""
        n = len(self.prompts)
        wanted = range(run.episodes, run.episodes + self.shared.rollout_size)
        orders = {
            epoch: torch.randperm(n, generator=generator(run.seed, "prompts", epoch)).tolist()
            for epoch in range(wanted[0] // n, wanted[-1] // n + 1)
        }
        return [orders[episode // n][episode % n] for episode in wanted]

    def _score(
        self, rollout: Rollout, rows: list[int], place: int, failures: dict[int, TrialError]
    ) -> Tensor:
        """Scores of one trial's responses, shape (B,); NaN and a noted failure if there are none."""
        seen = torch.stack([rollout.old_logprobs, rollout.ref_logprobs, rollout.old_values])
        nothing = torch.full((len(rows),), torch.nan, device=self.policy.device)
        if not torch.where(rollout.mask, seen, 0.0).isfinite().all():
            episodes = self.runs[place].episodes
            failures[place] = TrainingDivergedError(
                f"log-probabilities or values are not finite after {episodes} episodes"
            )
            return nothing
        if self.runs[place].iteration == 0 and self.policy.is_reference(place):
            require_reference(rollout.old_logprobs, rollout.ref_logprobs, rollout.mask, self.policy.tolerance)
        try:
            return score(self.rewards[place], self.policy, self.prompts, rows, rollout.sequences)[0]
        except RewardError as error:
            failures[place] = error
            return nothing

    def _estimate_advantages(
        self, rollout: Rollout, scores: Tensor, failures: Mapping[int, TrialError]
    ) -> Experience:
        """Advantages of the trials that have not failed."""
        sound = [i for i, place in enumerate(self.runs) if place not in failures]
        places = [place for place in self.runs if place not in failures]
        return estimate_advantages(
            places,
            rollout[sound],
            scores[sound],
            [self.runs[place].config for place in places],
            [self.runs[place].kl_coef for place in places],
            [self.runs[place].score_std for place in places],
        )

    def _teach_reward(self, place: int, rollout: Rollout) -> Mapping[str, float]:
        """Let a trial's reward learn from the rollout that it has scored, if it does; its numbers for the log."""
        reward = self.rewards[place]
        if not isinstance(reward, LearningReward):
            return {}
        texts, columns = self.prompts.texts(self._prompt_rows(self.runs[place]))
        return reward.learn(texts, self.policy.decode(rollout.sequences), columns)

    def _adapt(self, run: Run, experience: Experience, i: int) -> None:
        """Count the iteration, and move an adaptive KL coefficient by the KL of the rollout."""
        run.iteration += 1
        run.tokens += int(experience.rollout.mask[i].sum())
        if run.config.kl_target is not None:
            run.kl_coef = adapt_kl_coef(
                run.kl_coef,
                _per_sequence(experience.kl[i], experience.rollout.mask[i]),
                kl_target=run.config.kl_target,
                kl_horizon=run.config.kl_horizon_episodes,
                episodes=self.shared.rollout_size,
            )


def _metrics(run: Run, experience: Experience, i: int, learned: Learned) -> Metrics:
    rollout, scores = experience.rollout[i], experience.scores[i]
    lengths = rollout.mask.sum(-1).float()
    return {
        "episodes": run.episodes,
        "tokens": run.tokens,
        "objective/score_mean": float(scores.mean()),
        "objective/score_std": float(scores.std()) if len(scores) > 1 else 0.0,
        "objective/kl_per_sequence": _per_sequence(experience.kl[i], rollout.mask),
        "objective/kl_coef": run.kl_coef,
        "policy/loss": learned.mean("policy_loss"),
        "policy/approx_kl_per_token": learned.mean("approx_kl"),
        "policy/clip_fraction": learned.mean("clip_fraction"),
        "policy/entropy_per_token": float(masked_mean(rollout.entropy, rollout.mask)),
        "policy/gradient_norm": sum(learned.gradient_norms) / len(learned.gradient_norms),
        "policy/optimizer_steps": len(learned.gradient_norms),
        "value/loss": learned.mean("value_loss"),
        "value/explained_variance": float(
            explained_variance(rollout.old_values, experience.returns[i], rollout.mask)
        ),
        "response/tokens_mean": float(lengths.mean()),
        "response/eos_rate": float(rollout.sequences.ended.float().mean()),
    }


def _per_sequence(kl: Tensor, mask: Tensor) -> float:
    """Mean over responses of the summed token values, (B, T) -> nats per sequence."""
    return float(masked_sum(kl, mask)) / mask.shape[0]
