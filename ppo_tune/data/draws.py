"""Which prompts a policy answers to be judged, and the seed of the random numbers by which it does.

    milestone      chooses: what a search compares, and which checkpoint a training keeps; a trial's last one answers
                   more prompts than those before it, for it is what the search goes by
    confirmation   chooses among the best few of a search
    claim          chooses nothing: what is said of a model to others

No two of them share random numbers. Of several numbers that chance moves, the one that was chosen for its size is too
large; so what chose a model cannot say how good it is.
"""

from dataclasses import dataclass
from typing import Literal

from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.data.prompts import Split
from ppo_tune.seeding import derive_seed

PROMPTS_PER_HELDOUT_PROMPT = 4
"""The end of a trial, a confirmation or a claim answers so many times as many prompts as a milestone before, if there
are so many: few prompts have a best config of their own."""

LEAST_PROMPTS = 2
"""Fewer give no standard error, and so no claim."""

JudgedSplit = Literal["confirmation", "heldout"]
"""The splits that nothing is trained on."""


@dataclass(frozen=True)
class Draws:
    """Prompts and random numbers.

    Attributes:
        split: The prompts' split.
        n_prompts: How many of them; all if there are fewer.
        seed: Decides the random numbers.
        on_the_way: How many of these, the first ones, a trial answers at the milestones before its last; None for all.
    """

    split: Split
    n_prompts: int
    seed: int
    on_the_way: int | None = None


def milestone_draws(config: StudyConfig | TrainConfig) -> Draws:
    """Those of the milestones, the same at every one and for all trials of a study, so that they can be compared.

    A training has its own: its config was chosen by the search's.
    """
    if isinstance(config, StudyConfig):
        few = config.task.heldout_prompts
        return Draws("heldout", PROMPTS_PER_HELDOUT_PROMPT * few, config.search.seed, few)
    return Draws("heldout", config.task.heldout_prompts, derive_seed(config.seed, "milestones"))


def confirmation_draws(config: StudyConfig) -> Draws:
    """Those by which the best few of a search are compared."""
    n_prompts = PROMPTS_PER_HELDOUT_PROMPT * config.task.heldout_prompts
    return Draws("confirmation", n_prompts, derive_seed(config.search.seed, "confirmation"))


def claim_draws(config: StudyConfig | TrainConfig, split: JudgedSplit = "confirmation") -> Draws:
    """Those that choose nothing."""
    seed = config.search.seed if isinstance(config, StudyConfig) else config.seed
    n_prompts = PROMPTS_PER_HELDOUT_PROMPT * config.task.heldout_prompts
    return Draws(split, n_prompts, derive_seed(seed, "claim"))


def measured_on(split: Split, n_prompts: int) -> str:
    """What a claim was measured on, in words."""
    if split == "confirmation":
        return (
            f"{n_prompts:,} prompts that no milestone answers (the confirmation split), with random numbers that "
            "chose nothing"
        )
    return (
        f"{n_prompts:,} held-out prompts, for the confirmation split has fewer than {LEAST_PROMPTS} that can be used; "
        "the random numbers chose nothing, but the milestones answer the same prompts, so the score is optimistic"
    )
