"""Studies made by hand, every number known, so that tables can be checked."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.study import Study

from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.model import ADAPTER_FIELDS
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.space import Space
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.tasks import EmbeddedTaskConfig
from ppo_tune.files import write_json
from ppo_tune.reporting.record import StudyRecord, read_record
from ppo_tune.search.confirmation import ConfirmationPlan, open_confirmation
from ppo_tune.search.results import STATES
from tests.worlds import OWNER

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\x1b[31m"
)


class HandMade:
    """A study whose trials are told one by one."""

    def __init__(self, folder: Path, storage: str | None = None, name: str = "hand") -> None:
        self.folder = folder
        self.config = StudyConfig(
            name=name,
            task=EmbeddedTaskConfig(name="support"),
            ppo=PPOConfig(episodes=640),
            space=Space.model_validate(
                {
                    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
                    "batch_size": {"type": "categorical", "choices": [8, 16, 32]},
                    "ppo_epochs": {"type": "int", "low": 1, "high": 4},
                }
            ),
            search=SearchConfig(n_trials=8, milestones=5, kl_budget=3.0, confirm_top=5, confirm_seeds=5),
        )
        self.rates = (1e-3 * (1 + 1e-6 * n) for n in itertools.count())  # each another config
        self.study: Study = optuna.create_study(direction="maximize", storage=storage, study_name=name)
        self.study.set_user_attr("config", self.config.model_dump(mode="json"))

    def add(
        self,
        ending: str,
        scores: list[float],
        *,
        gold: list[float] | None = None,
        kl: float = 1.0,
        seconds: float = 2.0,
        baseline: bool = False,
        params: dict[str, Any] | None = None,
        samples: list[dict[str, Any]] | None = None,
        eos: float = 0.75,
    ) -> int:
        """Tell one trial; its scores are those of milestones 128 episodes apart."""
        values = params or {"learning_rate": next(self.rates), "batch_size": 16, "ppo_epochs": 2}
        self.study.enqueue_trial(values, user_attrs={"baseline": True} if baseline else {})
        trial = self.study.ask()
        self.config.space.suggest(trial)
        golds = gold or [0.0] * len(scores)
        curve = [
            {"episodes": 128 * (i + 1), "score": score, "gold": golds[i], "kl": kl, "seconds": 0.5 * (i + 1),
             "score_error": 0.1, "gold_error": None, "response_tokens": 9.5}
            for i, score in enumerate(scores)
        ]  # fmt: skip
        adapters = {name: value for name, value in values.items() if name in ADAPTER_FIELDS}
        used = {**self.config.ppo_of(values).model_dump(), **adapters}
        facts: dict[str, Any] = {"curve": curve, "config": used}
        if scores:
            facts |= {
                "heldout/score": scores[-1],
                "heldout/gold": golds[-1],
                "heldout/kl_per_sequence": kl,
                "heldout/score_standard_error": 0.1,
                "heldout/response_tokens": 9.5,
                "heldout/eos_rate": eos,
            }
        if ending != "running":
            facts |= {
                "ending": ending,
                "reason": f"why {ending}",
                "episodes": 128 * len(scores),
                "tokens": 1000 * len(scores),
                "seconds": seconds,
            }
        for name, value in facts.items():
            trial.set_user_attr(name, value)
        for step, score in enumerate(scores, start=1):
            trial.report(score, step)
        if ending != "running":
            trial.set_constraint("kl_per_sequence", kl - self.config.search.kl_budget)
            self.study.tell(trial, scores[-1] if ending == "completed" else None, state=STATES[ending])
        if samples is not None:
            (self.folder / "trials" / f"{trial.number:04d}").mkdir(parents=True)
            write_json(self.folder / "trials" / f"{trial.number:04d}" / "samples.json", samples)
        return trial.number

    def record(self) -> StudyRecord:
        return read_record(self.study, self.config, self.folder)


@pytest.fixture
def hand_made(tmp_path: Path) -> HandMade:
    return HandMade(tmp_path)


@pytest.fixture
def usual(hand_made: HandMade) -> HandMade:
    """The study of `fill_usual`."""
    return fill_usual(hand_made)


def fill_usual(hand_made: HandMade) -> HandMade:
    """The default, a winner, one beyond the budget, one pruned, one over the limit, one diverged, one running."""
    hand_made.add("completed", [0.1, 0.2, 0.3, 0.4, 0.5], gold=[0.5] * 5, kl=0.5, baseline=True, seconds=4.0,
                  params={"learning_rate": 1e-4, "batch_size": 32, "ppo_epochs": 4})  # fmt: skip
    hand_made.add("completed", [0.4, 0.6, 0.8, 0.9, 1.0], gold=[0.8] * 5, kl=2.5, seconds=5.0)
    hand_made.add("completed", [0.9, 1.2, 1.4, 1.5, 1.6], gold=[0.1] * 5, kl=3.5, seconds=5.0)
    hand_made.add("pruned", [0.0, 0.1], seconds=1.0)
    hand_made.add("kl_limit", [1.0], kl=9.0, seconds=0.5)
    hand_made.add("diverged", [], seconds=0.25)
    hand_made.add("running", [0.3])
    base = {"score": -0.5, "gold": 0.3, "kl_per_sequence": 0.0, "score_standard_error": 0.1}
    facts = {f"heldout/{name}": value for name, value in base.items()}
    write_json(hand_made.folder / "base.json", {**facts, "n_prompts": N_PROMPTS, "samples": []})
    return hand_made


N_PROMPTS = 64
"""On which a confirmation made by hand is scored."""


def confirm(
    hand_made: HandMade,
    means: dict[int, float],
    *,
    golds: dict[int, float] | None = None,
    eos: dict[int, float] | None = None,
    kl: float = 1.5,
    runs: int = 99,
    noise: float = 0.05,
) -> None:
    """Confirm with these true means, and at most so many runs are done.

    Args:
        hand_made: The search.
        means: By trial; 0 for others.
        golds: Gold above that of the untrained model, by trial; 0.2 for others.
        eos: Share of responses that end, by trial; 0.75 for others.
        kl: Nats per response.
        runs: How many are done.
        noise: Between seeds.
    """
    opened = open_confirmation(hand_made.study, hand_made.config)
    opened.set_user_attr("base", {"scores": [0.0] * N_PROMPTS, "golds": [0.5] * N_PROMPTS})
    plan, rng = ConfirmationPlan(hand_made.config), np.random.default_rng(0)
    while plan.remaining(opened) and runs:
        trial = plan.ask(opened, 0, OWNER)
        assert trial is not None
        number, runs = trial.user_attrs["confirms"], runs - 1
        scores = means.get(number, 0.0) + rng.normal(0, noise) + rng.normal(0, 0.1, N_PROMPTS)
        gold = 0.5 + (golds or {}).get(number, 0.2) + rng.normal(0, 0.05, N_PROMPTS)
        facts: dict[str, Any] = {
            "ending": "completed",
            "heldout/score": float(scores.mean()),
            "scores": scores.tolist(),
            "golds": gold.tolist(),
            "heldout/gold": float(gold.mean()),
            "heldout/kl_per_sequence": kl,
            "heldout/eos_rate": (eos or {}).get(number, 0.75),
        }
        for name, value in facts.items():
            trial.set_user_attr(name, value)
        opened.tell(trial, float(scores.mean()))


def fill_hacked(made: HandMade) -> HandMade:
    """A winner that pleases the reward and not the gold judge, with the numbers of a study that was really run.

    Score 1.17 for trial 1; gold 0.66 untrained, 1.10 default, 0.25 winner; 2 % of the winner's responses end; on three
    fresh seeds it scores 0.18 more than the default, and its gold is 0.41 less.
    """
    search = made.config.search.model_copy(
        update={"kl_budget": 10.0, "n_trials": 2, "confirm_top": 1, "confirm_seeds": 3}
    )
    made.config = made.config.model_copy(update={"search": search})
    made.study.set_user_attr("config", made.config.model_dump(mode="json"))
    base = {
        "score": -0.09,
        "gold": 0.66,
        "kl_per_sequence": 0.0,
        "score_standard_error": 0.1,
        "eos_rate": 0.66,
    }
    facts = {f"heldout/{name}": value for name, value in base.items()}
    write_json(made.folder / "base.json", {**facts, "n_prompts": N_PROMPTS, "samples": []})
    made.add(
        "completed",
        [0.3, 0.6, 0.8, 0.9, 0.99],
        gold=[0.7, 0.9, 1.0, 1.1, 1.1],
        kl=2.0,
        baseline=True,
        eos=0.6,
        params={"learning_rate": 1e-4, "batch_size": 16, "ppo_epochs": 2},
    )
    made.add("completed", [0.5, 0.8, 1.0, 1.1, 1.17], gold=[1.0, 0.9, 0.6, 0.4, 0.25], kl=7.85, eos=0.02)
    confirm(made, {0: 0.99, 1: 1.17}, golds={0: 0.43, 1: 0.02}, eos={0: 0.6, 1: 0.02}, kl=7.85, noise=0.01)
    return made


def fill_all_failed(made: HandMade) -> HandMade:
    """A search that is over: six trials, the default among them, all ended at the KL limit."""
    search = made.config.search.model_copy(update={"kl_budget": 0.05, "n_trials": 6})
    made.config = made.config.model_copy(update={"search": search})
    made.study.set_user_attr("config", made.config.model_dump(mode="json"))
    for i in range(6):
        made.add("kl_limit", [0.3], kl=4.7, baseline=i == 0)
    return made
