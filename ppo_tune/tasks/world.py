"""What an embedded task brings: prompts, how they are answered at first, and who judges the answers.

All follows from a seed: another seed is another world, with other models and other held-out prompts. Knows nothing of
models.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Generic, TypeVar

from ppo_tune.config.fitting import RewardTrainingConfig, SFTConfig
from ppo_tune.config.rewards import RewardConfig
from ppo_tune.config.tasks import Architecture
from ppo_tune.data.prompts import Prompt

P = TypeVar("P", bound=Prompt)


class World(ABC, Generic[P]):
    """An embedded task without its models; its prompts may know more than their text.

    Attributes:
        templates: What a model of each architecture is given for a `{prompt}`.
        n_prompts: How many prompts there are.
        n_pairs: How many prompts with responses the task's own model is fitted to.
        n_preferences: How many preferences its reward model is fitted to, where it has one.
        sft: How its own model is fitted.
        t5: What is different of that for an encoder–decoder.
        reward: How its reward model is fitted, to preferences by `opinion`; or what scores instead of such a model.
        gold: The hidden judge; None judges by `worth`.
    """

    templates: Mapping[Architecture, str] = {"gpt2": "{prompt}", "t5": "{prompt}"}
    n_prompts: int = 3000
    n_pairs: int = 4000
    n_preferences: int = 4000
    sft: SFTConfig
    t5: Mapping[str, Any] = {}
    reward: RewardTrainingConfig | RewardConfig
    gold: RewardConfig | None = None

    @abstractmethod
    def write(self, rng: random.Random) -> P:
        """A prompt, whose column `references` holds good responses; it may have been written before."""

    def prompts(self, seed: int) -> Sequence[P]:
        """All prompts, each once, in the order of the world of a seed."""
        return self._drawn(seed)

    @cache  # noqa: B019 there is one of each world
    def _drawn(self, seed: int) -> tuple[P, ...]:
        rng = random.Random(seed)
        found: dict[str, P] = {}
        while len(found) < self.n_prompts:
            prompt = self.write(rng)
            found[prompt.text] = prompt
        return tuple(found.values())

    @abstractmethod
    def respond(self, prompt: P, rng: random.Random) -> str:
        """A response such as the task's own model is fitted to: often good, often not."""

    def worth(self, prompt: P, response: str) -> float:
        """What a careful judge thinks of a response; asked where `gold` is None."""
        raise NotImplementedError

    def opinion(self, prompt: P, response: str) -> float:
        """What a hurried annotator thinks of a response; asked where `reward` fits a reward model."""
        raise NotImplementedError

    def sft_of(self, architecture: Architecture) -> SFTConfig:
        """How the task's own model of an architecture is fitted."""
        return self.sft.model_copy(
            update={"architecture": architecture, **(self.t5 if architecture == "t5" else {})}
        )
