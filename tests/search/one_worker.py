"""A search by one worker in this process, and a reward of its own."""

from collections.abc import Callable
from pathlib import Path

import optuna

from ppo_tune.config.study import StudyConfig
from ppo_tune.events import Event
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.pruners import make_pruner
from ppo_tune.search.samplers import make_sampler
from ppo_tune.search.storage import create_study
from ppo_tune.search.trial_loop import TrialPack, run_trials


class Search:
    """One worker's search in this process."""

    def __init__(self, config: StudyConfig, folder: Path, *, places: int = 1) -> None:
        self.config = config
        self.events: list[Event] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.study = create_study(config, f"sqlite:///{folder / 'study.db'}", {})
        self.study.pruner = make_pruner(config.search.pruner, len(config.milestone_episodes()))
        self.trial_pack = TrialPack(SearchPlan(config), folder, places=places, emit=self.events.append)

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> list[optuna.trial.FrozenTrial]:
        self.trial_pack.join(self.study)
        run_trials(self.trial_pack, self.study, next_trial=self.ask, should_stop=should_stop)
        return self.study.get_trials()

    def ask(self) -> optuna.Trial | None:
        if SearchPlan(self.config).remaining(self.study) == 0:
            return None
        self.study.sampler = make_sampler(self.config, len(self.study.get_trials()))
        trial = self.study.ask()
        self.config.space.suggest(trial)
        return trial


def write_reward(path: Path, body: str) -> dict[str, object]:
    """A reward function; it is not asked to fail on the untrained model, which `calls` counts as the first."""
    path.write_text(
        f"calls = 0\ndef score(prompts, responses, **columns):\n    global calls\n    calls += 1\n{body}\n",
        encoding="utf-8",
    )
    return {"reward": {"name": "python", "function": f"{path}:score"}}
