"""What the untrained model does on the held-out prompts of a study: where every trial starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppo_tune.files import read_json, write_json
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.heldout import HeldOut, heldout_facts, read_heldout
from ppo_tune.search.responses import Samples

if TYPE_CHECKING:
    from ppo_tune.trainer.evaluation import Evaluation


@dataclass(frozen=True)
class Untrained:
    """The untrained model.

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


def read_untrained(folder: Path) -> Untrained | None:
    """The untrained model of a study; None where the study's folder does not have it."""
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
