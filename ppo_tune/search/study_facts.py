"""The typed record of a stored study: every key of a study's own user attributes stands here and nowhere else."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optuna.study import Study

from ppo_tune.config.blocks import StudyConfig
from ppo_tune.search.facts import Fact
from ppo_tune.search.heldout import ByPrompt, read_by_prompt, stored_by_prompt


@dataclass(frozen=True)
class Chosen:
    """A config that a confirmation runs again.

    Attributes:
        params: Its searched values.
        search_score: What it scored in the search; None if it did not complete there.
        is_default: Whether it is the default config.
    """

    params: dict[str, Any]
    search_score: float | None
    is_default: bool


def _read_config(stored: Any) -> StudyConfig | None:
    return None if stored is None else StudyConfig.model_validate_json(json.dumps(stored))


class StudyFacts:
    """What the row of a study says, a search, a confirmation or the user's own, besides what Optuna knows of it."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.attrs: Mapping[str, Any] = study.user_attrs

    def write(self, key: str, value: Any) -> None:
        """Store a fact."""
        self.study.set_user_attr(key, value)
        self.attrs = {**self.attrs, key: value}

    config: Fact[StudyConfig | None] = Fact("config", _read_config, lambda c: c and c.model_dump(mode="json"))
    """The experiment; None in a study that something else than ppo-tune made."""

    inputs: Fact[Mapping[str, str]] = Fact("inputs", lambda stored: stored or {}, dict)
    """Hashes of the files that the experiment depends on, by their places."""

    versions: Fact[Mapping[str, str]] = Fact("versions", lambda stored: stored or {}, dict)
    """Of the libraries that made the study."""

    score_std: Fact[float | None] = Fact("score_std")
    """The unit in which its trials learn values; None before the untrained model was scored, and in 0.1.0."""

    chosen: Fact[Mapping[int, Chosen]] = Fact(
        "candidates",
        lambda stored: {int(number): Chosen(**facts) for number, facts in (stored or {}).items()},
        lambda chosen: {str(number): asdict(facts) for number, facts in chosen.items()},
    )
    """In a confirmation: its configs, by their numbers in the search."""

    n_seeds: Fact[int | None] = Fact("seeds")
    """In a confirmation: on how many fresh seeds a config runs that stays in the race."""

    untrained: Fact[ByPrompt | None] = Fact(
        "base",
        lambda stored: None if stored is None else read_by_prompt(stored),
        lambda found: None if found is None else stored_by_prompt(found),
    )
    """In a confirmation: what the untrained model scored; None before it was."""

    claim: Fact[Mapping[str, Any] | None] = Fact("ppo_tune_objective")
    """In a study of the user's own: its `owner`, which its folder names too, and its `experiment`."""
