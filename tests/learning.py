"""A toy of a reward that learns: words that a trial says often lose their worth."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ppo_tune.errors import RewardError
from ppo_tune.rewards import Columns, LearningReward
from ppo_tune.seeding import generator
from tests.conftest import WORDS


class LearningWords(LearningReward):
    """Worth by word, drawn from the trial's seed; a word loses what it makes up of all that was said so far.

    Args:
        seed: Decides what the words are worth at first.
        fails_at: The rollout, counted from 0, that it cannot learn from.
    """

    def __init__(self, seed: int = 0, *, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.worth = torch.rand(len(WORDS), generator=generator(seed, "worth"))
        self.said = torch.zeros(len(WORDS))
        self.rollouts = torch.zeros(())

    def for_trial(self, seed: int) -> "LearningWords":
        return LearningWords(seed, fails_at=self.fails_at)

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        now = self.worth - self.said / self.said.sum().clamp(min=1)
        return [float(now @ counts(response)) for response in responses]

    def learn(
        self, prompts: Sequence[str], responses: Sequence[str], columns: Columns
    ) -> Mapping[str, float]:
        if self.fails_at == int(self.rollouts):
            raise RewardError(f"rollout {self.fails_at} was meant to fail")
        assert len(prompts) == len(responses) == len(columns["number"])
        for response in responses:
            self.said = self.said + counts(response)
        self.rollouts = self.rollouts + 1
        return {"reward/words": float(self.said.sum())}

    def state(self) -> Mapping[str, Tensor]:
        return {"said": self.said, "rollouts": self.rollouts}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.said, self.rollouts = state["said"], state["rollouts"]


def counts(response: str) -> Tensor:
    """How often a response says each word."""
    return torch.tensor([response.split().count(word) for word in WORDS], dtype=torch.float32)
