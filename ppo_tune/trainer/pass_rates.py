"""pass@k of a policy: how likely one of k responses to a prompt passes all the unit tests that judge it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ppo_tune.fitting.intervals import Interval, wilson
from ppo_tune.programs.pass_at_k import pass_at_k
from ppo_tune.rewards.unit_tests import UnitTestsReward
from ppo_tune.tasks import Task

SCORE = "score"
"""What the objective is called beside the judges."""


@dataclass(frozen=True)
class PassRate:
    """pass@k over prompts.

    Attributes:
        k: How many responses may be tried.
        share: Its mean over prompts.
        interval: The 95 % interval of that, Wilson's for so many prompts.
    """

    k: int
    share: float
    interval: Interval


def unit_tested(task: Task) -> list[str]:
    """What scores the responses of a task by unit tests: the objective, and judges by their names."""
    scorers = {SCORE: task.objective, **task.beside}
    return [name for name, scorer in scorers.items() if isinstance(scorer, UnitTestsReward)]


def pass_rates(prompts: Sequence[Sequence[float]]) -> tuple[PassRate, ...]:
    """pass@k for every power of two up to the number of responses, and for that number.

    Args:
        prompts: The scores of each prompt's responses, as many for each; of these 1 is a pass of all tests.
    """
    n = len(prompts[0])
    correct = [sum(score == 1 for score in responses) for responses in prompts]
    found = []
    for k in sorted({*(2**power for power in range(n.bit_length())), n}):
        share = sum(pass_at_k(n, c, k) for c in correct) / len(prompts)
        found.append(PassRate(k, share, wilson(share, len(prompts))))
    return tuple(found)
