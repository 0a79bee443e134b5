"""What a reward is: texts in, one finite number per response out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor

from ppo_tune.errors import RewardError

Columns = Mapping[str, Sequence[Any]]

LARGEST = 1e15
"""The largest size of a score: sums of squares must stay far below what float32 holds, 3e38."""


class Reward(ABC):
    """Scores responses; members implement `score`, users call the object."""

    @abstractmethod
    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> Sequence[float]:
        """One number per response.

        Args:
            prompts: N prompts, as the user wrote them.
            responses: N responses, without special tokens.
            columns: The other columns of the prompts' rows, each a list of N values; `references` holds
                each prompt's list of reference texts.
        """

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> Tensor:
        """Scores of N responses, checked: shape (N,), float32, on the CPU.

        Raises:
            RewardError: If the reward raised, or did not return one finite number per response that float32 can
                square; names the sample.
        """
        scores = self.score(list(prompts), list(responses), columns)
        try:
            numbers = _numbers(scores)
        except Exception as error:  # whatever a user's own objects raise
            raise RewardError(
                f"{self} must return a list of numbers, but got {_short(scores)} ({error})"
            ) from error
        if len(numbers) != len(responses):
            raise RewardError(
                f"{self} must return one number per response, but got {len(numbers)} for "
                f"{len(responses)} responses"
            )
        for number, prompt, response in zip(numbers, prompts, responses, strict=True):
            if not math.isfinite(number):
                raise RewardError(
                    f"{self} must return finite numbers, but got {number} for {sample(prompt, response)}"
                )
            if abs(number) > LARGEST:
                raise RewardError(
                    f"{self} must return numbers of {LARGEST:g} at most, whose squares float32 can add up, but got "
                    f"{number:g} for {sample(prompt, response)}; divide the reward"
                )
        return torch.tensor(numbers, dtype=torch.float32)

    def for_trial(self, seed: int) -> "Reward":
        """The reward that one trial is trained on; a fixed one is the same for all.

        Args:
            seed: The trial's, which decides all its random numbers.
        """
        return self

    def expect(self, *, whole_texts: bool) -> None:  # noqa: B027 most have nothing to do
        """Be told whether responses are texts by themselves, or begin with their space where a word follows the prompt.

        What reads both as one text is to put a space between them in the first case.
        """

    def __str__(self) -> str:
        return f"reward {type(self).__name__}"


class LearningReward(Reward):
    """A reward that changes as a trial learns, such as a discriminator; every trial is trained on one of its own.

    No trials are compared by it. A trial that is resumed goes on with the numbers that it had.
    """

    @abstractmethod
    def for_trial(self, seed: int) -> "LearningReward":
        """A new one for a trial, which shares nothing that changes with any other."""

    @abstractmethod
    def learn(
        self, prompts: Sequence[str], responses: Sequence[str], columns: Columns
    ) -> Mapping[str, float]:
        """Learn from a rollout that it has scored; the arguments are those of `score`.

        Returns:
            Numbers for the trial's log, by names that begin with `reward/`.

        Raises:
            RewardError: If it cannot.
        """

    @abstractmethod
    def state(self) -> Mapping[str, Tensor]:
        """All that it has learned, as a checkpoint keeps it."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""


def _numbers(scores: Any) -> list[float]:
    """What a reward returned as numbers.

    Raises:
        TypeError: If it is text, holds text, or has no order that would say which number is whose.
    """
    if isinstance(scores, str | bytes):
        raise TypeError("its characters are no scores")
    if isinstance(scores, Mapping | Set):
        raise TypeError(f"a {type(scores).__name__} has no order that says which number is whose")
    listed = list(scores)
    for score in listed:
        if isinstance(score, str | bytes):
            raise TypeError(f"{score!r} is text, not a number; convert it with float()")
    return [float(score) for score in listed]


def sample(prompt: str, response: str) -> str:
    """A prompt with its response, for an error message."""
    return f"prompt {_short(prompt)}, response {_short(response)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
