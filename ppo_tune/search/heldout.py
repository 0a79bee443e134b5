"""What a model came to on the held-out prompts, as it is stored: its score, and what the judges say.

Both sides of every name stand here: of a trial's result and curve, of the untrained model, and of a confirmation.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppo_tune.files import read_json, write_json
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.responses import Samples

if TYPE_CHECKING:
    from ppo_tune.trainer.evaluation import Evaluation

HELDOUT = {
    "score": "heldout/score", "score_error": "heldout/score_standard_error", "kl": "heldout/kl_per_sequence",
    "response_tokens": "heldout/response_tokens", "eos_rate": "heldout/eos_rate",
}  # fmt: skip
"""Under which names `Evaluation.metrics` gives the fields of a `HeldOut`; the other `heldout/` are of the judges."""

POINT = ("episodes", "score", "kl", "seconds", "score_error", "response_tokens")
"""What is stored of a milestone; the other names are those of the judges, and theirs with `_error`."""


@dataclass(frozen=True)
class JudgeScore:
    """What one judge says of a model.

    Attributes:
        mean: Over prompts.
        error: Its standard error; None if not known.
        by_prompt: Empty at a milestone.
    """

    mean: float
    error: float | None
    by_prompt: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What a model came to on the held-out prompts.

    Attributes:
        score: Mean score, by the objective.
        score_error: Its standard error over prompts.
        kl: Mean KL to the reference, in nats per response.
        response_tokens: Mean length.
        eos_rate: Share of responses that ended by themselves; None at a milestone, which does not keep it.
        scores: By prompt; empty at a milestone.
        judges: What the judges beside say, by their names.
    """

    score: float
    score_error: float
    kl: float
    response_tokens: float
    eos_rate: float | None = None
    scores: Sequence[float] = ()
    judges: Mapping[str, JudgeScore] = field(default_factory=dict)

    def by(self, judge: str) -> JudgeScore:
        """What a judge says; NaN where it did not judge."""
        return self.judges.get(judge, JudgeScore(math.nan, None))


@dataclass(frozen=True, kw_only=True)
class CurvePoint(HeldOut):
    """What a trial came to at one milestone.

    Attributes:
        episodes: When it was scored.
        seconds: Since the trial began.
    """

    episodes: int
    seconds: float


@dataclass(frozen=True)
class Untrained:
    """The untrained model, which is where every trial starts.

    Attributes:
        heldout: What it came to.
        n_prompts: On how many prompts; there may be fewer than were asked for.
        samples: Some of its responses, see `Samples`.
        score_std: Standard deviation over prompts of what PPO maximizes; None where that learns, and in studies of
            version 0.1.0.
    """

    heldout: HeldOut
    n_prompts: int
    samples: Samples
    score_std: float | None


def read_curve(stored: Sequence[Mapping[str, Any]] | None) -> Sequence[CurvePoint]:
    """A trial's milestones, from what is stored of them."""
    return [_read_point(point) for point in stored or ()]


def _read_point(stored: Mapping[str, Any]) -> CurvePoint:
    own = {name: stored[name] for name in POINT}
    others = {name: value for name, value in stored.items() if name not in own}
    return CurvePoint(**own, judges=_judges(others, "_error", {}))


def _judges(
    numbers: Mapping[str, float | None], error: str, by_prompt: Mapping[str, Sequence[float]]
) -> dict[str, JudgeScore]:
    """The judges among numbers by name, with what stands there under the same name with the ending of an error."""
    return {
        name: JudgeScore(mean, numbers.get(name + error), by_prompt.get(name, ()))
        for name, mean in numbers.items()
        if mean is not None and not name.endswith("_error")
    }


def stored_curve(curve: Sequence[CurvePoint]) -> list[dict[str, Any]]:
    """What `read_curve` reads."""
    return [
        {
            **{name: getattr(point, name) for name in POINT},
            **{name: judge.mean for name, judge in point.judges.items()},
            **{f"{name}_error": judge.error for name, judge in point.judges.items()},
        }
        for point in curve
    ]


def point_of(judged: "Evaluation", episodes: int, seconds: float) -> CurvePoint:
    """What a milestone is worth: an evaluation without what is kept of the last one only."""
    named = {name: getattr(judged, key.removeprefix("heldout/")) for name, key in HELDOUT.items()}
    judges = {name: JudgeScore(judge.mean, judge.standard_error) for name, judge in judged.judges.items()}
    return CurvePoint(**{**named, "eos_rate": None}, judges=judges, episodes=episodes, seconds=seconds)


def read_heldout(facts: Mapping[str, Any]) -> HeldOut | None:
    """The held-out result among other facts, by the names of `HELDOUT`; None where there is none."""
    if HELDOUT["score"] not in facts:
        return None
    named = {name: facts.get(key) for name, key in HELDOUT.items()}
    for name in ("score", "score_error", "kl", "response_tokens"):
        named[name] = math.nan if named[name] is None else named[name]  # a file of JSON knows no NaN
    others = {
        key.removeprefix("heldout/"): value
        for key, value in facts.items()
        if key.startswith("heldout/") and key not in HELDOUT.values()
    }
    scores, by_judge = read_by_prompt(facts)
    judges = _judges(others, "_standard_error", by_judge)
    return HeldOut(**named, scores=scores, judges=judges)  # type: ignore[arg-type]


def heldout_facts(judged: "Evaluation") -> dict[str, Any]:
    """What `read_heldout` reads: the metrics, and what every prompt's response scored, to six digits.

    Configs are compared by the latter.
    """
    scores = _digits(sample.score for sample in judged.samples)
    judges = {name: _digits(sample.judges[name] for sample in judged.samples) for name in judged.judges}
    return {**judged.metrics(), **stored_by_prompt((scores, judges))}


def _digits(scores: Iterable[float]) -> list[float]:
    return [float(f"{score:.6g}") for score in scores]


ByPrompt = tuple[Sequence[float], Mapping[str, Sequence[float]]]
"""Scores of every prompt's response: by the objective, and by the judges, by their names."""


def stored_by_prompt(by_prompt: ByPrompt) -> dict[str, Any]:
    """What `read_by_prompt` reads; the judge named gold has a key of its own, as version 0.1.0 knew no other."""
    judges = {name: list(values) for name, values in by_prompt[1].items()}
    golds = {"golds": judges.pop("gold")} if "gold" in judges else {}
    return {"scores": list(by_prompt[0]), **golds, **({"judged": judges} if judges else {})}


def read_by_prompt(facts: Mapping[str, Any]) -> ByPrompt:
    """Scores of every prompt's response among other facts; nothing where there are none."""
    golds = facts.get("golds", ())  # without a gold judge version 0.1.0 stored None for each
    known = {"gold": golds} if len(golds) and None not in golds else {}
    return facts.get("scores", ()), {**known, **facts.get("judged", {})}


def read_untrained(folder: Path) -> Untrained | None:
    """The untrained model of a study, from its folder; None where that does not have it."""
    path = StudyFolder(folder).base
    facts = read_json(path) if path.is_file() else {}
    heldout = read_heldout(facts)
    if heldout is None:
        return None
    return Untrained(heldout, facts["n_prompts"], facts["samples"], facts.get("score_std"))


def write_untrained(folder: Path, judged: "Evaluation", *, n_samples: int) -> None:
    """Keep what the untrained model came to, and some of its responses."""
    facts = {
        **heldout_facts(judged),
        "n_prompts": len(judged.samples),
        "samples": [sample.as_dict() for sample in judged.samples[:n_samples]],
        "score_std": judged.score_std,
    }
    write_json(StudyFolder(folder).base, facts)
