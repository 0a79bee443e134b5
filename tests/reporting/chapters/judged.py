"""Trials and untrained models with scores and gold of known numbers."""

from typing import Any

from optuna.trial import TrialState, create_trial

from ppo_tune.files import write_json
from tests.reporting.conftest import HandMade

BASE = {
    "heldout/score": 0.0, "heldout/gold": 0.0, "heldout/kl_per_sequence": 0.0, "heldout/score_standard_error": 0.1,
    "heldout/gold_standard_error": 0.1, "heldout/response_tokens": 10.0, "heldout/eos_rate": 0.9, "n_prompts": 64,
}  # fmt: skip


def write_base(hand_made: HandMade, **facts: Any) -> None:
    write_json(hand_made.folder / "base.json", {**BASE, "samples": [], **facts})


def add(
    hand_made: HandMade,
    score: list[float],
    gold: list[float | None],
    kl: list[float] | None = None,
    *,
    error: float | None = 0.1,
    ending: str = "completed",
    **attrs: Any,
) -> int:
    """Tell a trial with the curve of a search of today; returns its number."""
    kls = kl or [0.5 * (i + 1) for i in range(len(score))]
    curve = [
        {"episodes": 100 * (i + 1), "score": score[i], "gold": gold[i], "kl": kls[i],
         "score_error": error, "gold_error": error, "response_tokens": 10.0, "seconds": 1.0}
        for i in range(len(score))
    ]  # fmt: skip
    state = TrialState.RUNNING if ending == "running" else TrialState.COMPLETE
    facts: dict[str, Any] = {
        "heldout/score": score[-1], "heldout/gold": gold[-1], "heldout/kl_per_sequence": kls[-1],
        "heldout/response_tokens": 10.0, "heldout/eos_rate": 0.9, "heldout/score_standard_error": error,
        "heldout/gold_standard_error": error,
    }  # fmt: skip
    if ending != "running":
        facts["ending"] = ending
    value = score[-1] if state is TrialState.COMPLETE else None
    over_budget = kls[-1] - hand_made.config.search.kl_budget
    trial = create_trial(state=state, value=value, user_attrs={"curve": curve, **facts, **attrs},
                         constraints={"kl_per_sequence": over_budget})  # fmt: skip
    hand_made.study.add_trial(trial)
    return len(hand_made.study.get_trials(deepcopy=False)) - 1
