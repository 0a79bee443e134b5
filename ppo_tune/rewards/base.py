"""What a reward is: texts in, one finite number per response out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_tune.errors import RewardError

Columns = Mapping[str, Sequence[Any]]


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
        """Scores, checked.

        Args:
            prompts: N prompts.
            responses: N responses.
            columns: Other columns, each a list of N values.

        Returns:
            Shape (N,), float32, on the CPU.

        Raises:
            RewardError: If the reward raised, or did not return one finite number per response; names the
                sample.
        """
        scores = self.score(list(prompts), list(responses), columns)
        try:
            if isinstance(scores, str):
                raise TypeError("its characters are no scores")
            numbers = [float(score) for score in scores]
        except (TypeError, ValueError, OverflowError) as error:
            raise RewardError(
                f"{self} must return a list of numbers, but got {_short(scores)} ({error})"
            ) from error
        if len(numbers) != len(responses):
            raise RewardError(
                f"{self} must return one number per response, but got {len(numbers)} for "
                f"{len(responses)} responses"
            )
        checked = torch.tensor(numbers, dtype=torch.float32)
        kept = checked.tolist()  # a number beyond float32 became infinite
        for number, finite, prompt, response in zip(numbers, kept, prompts, responses, strict=True):
            if not math.isfinite(finite):
                raise RewardError(
                    f"{self} must return finite numbers, but got {number} for {sample(prompt, response)}"
                )
        return checked

    def __str__(self) -> str:
        return f"reward {type(self).__name__}"


def sample(prompt: str, response: str) -> str:
    """A prompt with its response, for an error message."""
    return f"prompt {_short(prompt)}, response {_short(response)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
