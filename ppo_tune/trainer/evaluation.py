"""How good a policy is: scores on fixed held-out prompts under fixed sampling.

Every trial of a study answers the same prompts with the same random numbers, so that two trials can be compared.
Their luck of the draw is then similar, and not the same: a level is that of one draw, and of the best trial of many
it is too high. Nothing that is searched enters the score.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import torch

from ppo_tune.config.judges import REWARD
from ppo_tune.data.prompts import Split
from ppo_tune.errors import OutOfMemoryError, RewardError, TrainingDivergedError, TrialError
from ppo_tune.models import Policy, Prompts
from ppo_tune.models.answers import draw_uniforms
from ppo_tune.models.memory import Memory, is_out_of_memory
from ppo_tune.ppo import estimate_kl, masked_sum
from ppo_tune.seeding import generator
from ppo_tune.tasks import PromptSet, Task
from ppo_tune.trainer.pass_rates import SCORE, PassRate
from ppo_tune.trainer.rollout import Rollout, collect, score
from ppo_tune.trainer.versus import Versus


@dataclass(frozen=True)
class Sample:
    """One held-out prompt with its response, its score by the objective, and those of the judges by their names."""

    prompt: str
    response: str
    score: float
    judges: Mapping[str, float] = field(default_factory=dict)

    def by(self, name: str) -> float:
        """Its score by a judge, or by the objective, which is called `SCORE`."""
        return self.score if name == SCORE else self.judges[name]

    def as_dict(self) -> dict[str, Any]:
        """As it is stored: the scores of the judges stand beside the others."""
        return {"prompt": self.prompt, "response": self.response, "score": self.score, **self.judges}


@dataclass(frozen=True)
class Judgement:
    """What a judge says of a policy: its mean score, and the standard error of that over prompts."""

    mean: float
    standard_error: float


@dataclass(frozen=True)
class Evaluation:
    """A policy's result on prompts that it was not trained on.

    Attributes:
        score: Mean score by the task's objective, by which trials are compared.
        score_standard_error: Its standard error over prompts.
        kl_per_sequence: Mean KL to the reference, in nats per response.
        response_tokens: Mean length, the stop token included.
        eos_rate: Share of responses that ended by themselves.
        samples: The prompts and responses.
        judges: What the judges beside say, by their names.
        score_std: Standard deviation over prompts of what PPO maximizes, 0 where the scores differ by no more than
            float32 rounds; None where that learns, and so has no scores to go by.
        split: Which prompts they were.
        pass_at: pass@k by who judges by unit tests, where several responses to each prompt were asked for; all else is
            said of the first of them.
        texts: What the responses are like beside their scores, by the names of `text_measures`, where that was asked
            for.
        versus: How it compares with another model on the same prompts, where one was named, by who judges.
    """

    score: float
    score_standard_error: float
    kl_per_sequence: float
    response_tokens: float
    eos_rate: float
    samples: tuple[Sample, ...]
    judges: Mapping[str, Judgement] = field(default_factory=dict)
    score_std: float | None = None
    split: Split = "heldout"
    pass_at: Mapping[str, tuple[PassRate, ...]] = field(default_factory=dict)
    texts: Mapping[str, float] = field(default_factory=dict)
    versus: tuple[Versus, ...] = ()

    def scores(self) -> dict[str, list[float]]:
        """Those of all responses, by who judges."""
        return {name: [sample.by(name) for sample in self.samples] for name in (SCORE, *self.judges)}

    def metrics(self) -> dict[str, float]:
        """The numbers, by the names under which they are logged."""
        return {f"heldout/{name}": value for name, value in self._numbers().items()}

    def as_dict(self) -> dict[str, Any]:
        """All of it, as it is stored of a training."""
        samples = [sample.as_dict() for sample in self.samples]
        return {**self._numbers(), "samples": samples, "split": self.split}

    def _numbers(self) -> dict[str, float]:
        return {
            "score": self.score,
            "score_standard_error": self.score_standard_error,
            **{name: judge.mean for name, judge in self.judges.items()},
            "kl_per_sequence": self.kl_per_sequence,
            "response_tokens": self.response_tokens,
            "eos_rate": self.eos_rate,
            **{f"{name}_standard_error": judge.standard_error for name, judge in self.judges.items()},
        }


class Evaluator:
    """Scores policies on the same held-out prompts with the same random numbers.

    Args:
        policy: The policy; its places are what is scored.
        task: Prompts, objective and judges.
        n_prompts: How many of the prompts at most; all if there are fewer.
        max_new_tokens: The longest response.
        temperature: Of the sampling.
        seed: Decides the sampling noise, equal for all trials of a study.
        micro_batch_size: Rows per forward pass of each place; None takes all at once.
        split: Which prompts.
    """

    def __init__(
        self,
        policy: Policy,
        task: Task,
        *,
        n_prompts: int,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        micro_batch_size: int | None = None,
        split: Split = "heldout",
    ) -> None:
        self.policy = policy
        self.task = task
        self.temperature = temperature
        self.split = split
        self.memory = Memory.with_rows(micro_batch_size)
        self.prompts = PromptSet(
            task,
            split,
            policy.tokenizer,
            policy.layout.room_for_prompts(max_new_tokens),
            closed=policy.layout.closes_prompts,
        )
        policy.check_readable(self.prompts.ids)
        self.rows = range(min(n_prompts, len(self.prompts)))
        self._batch = self.prompts.batch(self.rows)
        self._seed = seed
        self._uniforms = draw_uniforms(len(self.rows), max_new_tokens, generator(seed, "evaluation"))

    def again(self, number: int) -> "Evaluator":
        """The same prompts with other random numbers.

        Args:
            number: Which; different numbers give different ones.
        """
        other = copy(self)
        n_rows, length = self._uniforms.shape
        other._uniforms = draw_uniforms(n_rows, length, generator(self._seed, "evaluation", number))
        return other

    def __call__(
        self, places: Sequence[int], reference: Policy | None = None, *, n_prompts: int | None = None
    ) -> dict[int, Evaluation | TrialError]:
        """Score some places; a place whose policy or reward fails gets that error instead.

        Args:
            places: Which.
            reference: From whose reference the KL is measured; None is the scored policy's own.
            n_prompts: By how many of the prompts, the first ones, each with the random numbers that it always has; None
                for all.
        """
        k, rows = len(places), self.rows[:n_prompts]
        ids, mask, uniforms = (
            shared[: len(rows)].expand(k, -1, -1)
            for shared in (self._batch.ids, self._batch.mask, self._uniforms)
        )
        try:
            rollout = collect(
                self.policy, Prompts(ids, mask), uniforms, temperature=self.temperature,
                places=places, memory=self.memory, reference=reference,
            )  # fmt: skip
            return {place: self._judge(rollout[i], rows) for i, place in enumerate(places)}
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return {place: OutOfMemoryError(str(error).splitlines()[0]) for place in places}

    def _judge(self, rollout: Rollout, rows: range) -> Evaluation | TrialError:
        kl = estimate_kl(rollout.old_logprobs, rollout.ref_logprobs)
        kl_per_sequence = float(masked_sum(kl, rollout.mask)) / len(rows)
        if not torch.tensor(kl_per_sequence).isfinite():
            return TrainingDivergedError("the log-probabilities of held-out responses are not finite")
        prompts, columns = self.prompts.texts(rows)
        try:
            scores, responses = score(self.task.objective, self.policy, self.prompts, rows, rollout.sequences)
            beside = {name: judge(prompts, responses, columns) for name, judge in self.task.beside.items()}
        except RewardError as error:
            return error
        rewards = scores if self.task.reward is self.task.objective else beside.get(REWARD)
        said = {name: values.tolist() for name, values in beside.items()}
        judged = zip(prompts, responses, scores.tolist(), strict=True)
        return Evaluation(
            score=float(scores.mean()),
            score_standard_error=standard_error(scores),
            kl_per_sequence=kl_per_sequence,
            response_tokens=float(rollout.mask.sum(-1).float().mean()),
            eos_rate=float(rollout.sequences.ended.float().mean()),
            samples=tuple(
                Sample(*row, {name: values[i] for name, values in said.items()})
                for i, row in enumerate(judged)
            ),
            judges={
                name: Judgement(sum(values) / len(values), standard_error(beside[name]))
                for name, values in said.items()
            },
            score_std=None if rewards is None else spread(rewards),
            split=self.split,
        )


def spread(scores: torch.Tensor) -> float:
    """Standard deviation of some scores; 0 where they differ by no more than float32 rounds."""
    values = scores.double()
    std = float(values.std()) if len(values) > 1 else 0.0
    return std if std > torch.finfo(torch.float32).eps * float(values.abs().max()) else 0.0


def standard_error(values: torch.Tensor) -> float:
    """That of the mean of some numbers; 0 for a single one."""
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0
