"""The typed record of a stored study: every key of a study's own user attributes stands here and nowhere else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna.study import Study

from ppo_tune.config.blocks import StudyConfig

ByPrompt = tuple[Sequence[float], Sequence[float | None]]
"""Scores and gold scores of every prompt."""


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


class StudyFacts:
    """What a study's own row says, besides what Optuna itself knows of it; read and written here.

    Args:
        study: A search, a confirmation, or a study of the user's own.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._attrs: Mapping[str, Any] = study.user_attrs

    def _write(self, name: str, value: Any) -> None:
        self.study.set_user_attr(name, value)
        self._attrs = {**self._attrs, name: value}

    @property
    def config(self) -> StudyConfig | None:
        """The experiment; None in a study that something else than ppo-tune made."""
        found = self._attrs.get("config")
        return None if found is None else StudyConfig.model_validate_json(json.dumps(found))

    @config.setter
    def config(self, config: StudyConfig) -> None:
        self._write("config", config.model_dump(mode="json"))

    @property
    def inputs(self) -> Mapping[str, str]:
        """Hashes of the files that the experiment depends on, by their places."""
        return dict(self._attrs.get("inputs", {}))

    @inputs.setter
    def inputs(self, inputs: Mapping[str, str]) -> None:
        self._write("inputs", dict(inputs))

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the libraries that made the study."""
        return dict(self._attrs.get("versions", {}))

    @versions.setter
    def versions(self, versions: Mapping[str, str]) -> None:
        self._write("versions", dict(versions))

    @property
    def score_std(self) -> float | None:
        """The unit in which its trials learn values; None before the untrained model was scored, and in 0.1.0."""
        return self._attrs.get("score_std")

    @score_std.setter
    def score_std(self, score_std: float) -> None:
        self._write("score_std", score_std)

    @property
    def chosen(self) -> dict[int, Chosen]:
        """In a confirmation: its configs, by their numbers in the search."""
        return {int(number): Chosen(**facts) for number, facts in self._attrs.get("candidates", {}).items()}

    @chosen.setter
    def chosen(self, chosen: Mapping[int, Chosen]) -> None:
        self._write("candidates", {str(number): asdict(facts) for number, facts in chosen.items()})

    @property
    def n_seeds(self) -> int | None:
        """In a confirmation: on how many fresh seeds a config runs that stays in the race."""
        return self._attrs.get("seeds")

    @n_seeds.setter
    def n_seeds(self, n_seeds: int) -> None:
        self._write("seeds", n_seeds)

    @property
    def untrained(self) -> ByPrompt | None:
        """In a confirmation: scores and gold scores of the untrained model by prompt; None before it was scored."""
        found = self._attrs.get("base")
        return None if found is None else (found["scores"], found["golds"])

    @untrained.setter
    def untrained(self, by_prompt: ByPrompt) -> None:
        self._write("base", {"scores": list(by_prompt[0]), "golds": list(by_prompt[1])})

    @property
    def claim(self) -> Mapping[str, Any] | None:
        """In a study of the user's own: its `owner`, which its folder names too, and its `experiment`."""
        return self._attrs.get("ppo_tune_objective")

    @claim.setter
    def claim(self, claim: Mapping[str, Any]) -> None:
        self._write("ppo_tune_objective", dict(claim))
