"""Rewards that only judge, by their names, which become those of metrics and columns."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from ppo_tune.config.model import ADAPTER_FIELDS
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.rewards import RewardConfig

REWARD = "reward"
"""What the reward is called among the judges where trials are compared by something else."""

JUDGE_RULE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")

TAKEN = frozenset(
    ("base", "beats_default", "beats_runner_up", "best", "best_trial", "budget", "config", "confirmed",
     "confirmed_kl_per_sequence", "confirmed_score", "default", "default_score", "drop", "ending", "eos_rate",
     "episodes", "failed", "feasible", "flag", "gain", "gain_over_default", "gain_over_untrained", "iqm", "judge", "kl",
     "kl_per_sequence", "mean", "number", "objective", "outcome", "prompt", "reason", "response", "response_tokens",
     REWARD, "role", "sampler", "samples", "score", "search_score", "seconds", "seed", "seeds", "split", "study",
     "tokens", "trials", "untrained", "untrained_score", "what", "winner", "worst", *PPOConfig.model_fields,
     *ADAPTER_FIELDS)
)  # fmt: skip
"""Names that stand beside the judges' in what is stored, in tables and in exports."""

DERIVED = ("_change", "_error", "_gain", "_high", "_low")
"""Ends of the names of numbers that are made from a judge's."""


def _check_judge(name: str) -> str:
    """The name of a judge, which becomes that of metrics and columns."""
    if JUDGE_RULE.fullmatch(name) and name.lower() not in TAKEN and not name.lower().endswith(DERIVED):
        return name
    raise ValueError(
        "a judge's name must be letters, digits, dashes and underscores, at most 40, the first a letter, and not that "
        f"of another number (as score, reward, kl, or one that ends in _error), but got {name!r}; rename it"
    )


def _check_apart(judges: dict[str, Any]) -> dict[str, Any]:
    """Judges whose names are two, also where a file system takes capitals for small letters."""
    first: dict[str, str] = {}
    for name in judges:
        other = first.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(
                f"names must differ in more than capitals, but got {other!r} and {name!r}; rename one"
            )
    return judges


def _with_long_form(gold: Any, info: ValidationInfo) -> Any:
    """The gold judge, wherever it was named: `gold: X` and `judges: {gold: X}` are the same."""
    if gold is not None and "gold" in map(str.lower, info.data.get("judges", {})):
        raise ValueError("stands in task.judges too; keep one")
    return info.data.get("judges", {}).pop("gold", gold)


Judges = Annotated[
    dict[Annotated[str, AfterValidator(_check_judge)], RewardConfig], AfterValidator(_check_apart)
]
"""Judges by their names."""


Gold = Annotated[RewardConfig | None, AfterValidator(_with_long_form)]
"""The judge named gold; stands behind `judges`."""
