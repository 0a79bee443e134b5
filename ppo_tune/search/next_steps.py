"""How one goes on with a study, in words: by commands, or in the Python session that alone has what scores it."""

from dataclasses import dataclass
from pathlib import Path

from ppo_tune.config.study import StudyConfig
from ppo_tune.data.stand_ins import stands_for
from ppo_tune.search.folders import StudyFolder


@dataclass(frozen=True)
class NextSteps:
    """What can be done with a study, each as a part of a sentence.

    Attributes:
        study: Its name.
        lone: What scores it and only a Python session has, by its label; empty where any process can score.
    """

    study: str
    lone: str = ""

    @classmethod
    def of(cls, config: StudyConfig, folder: Path) -> "NextSteps":
        """Those of a study.

        Args:
            config: The experiment.
            folder: The study's, which holds what stands for objects, wherever one looks from.
        """
        files = [Path(named.path) for named in config.names() if named.kind == "function"]
        given = StudyFolder(folder).given
        labels = (stands_for(file) or stands_for(given / file.name) for file in files)
        return cls(config.name, next(filter(None, labels), ""))

    @property
    def search(self) -> str:
        """Go on with the search as it is."""
        if self.lone:
            return f"`ppo_tune.tune` with the same arguments{self._there}"
        return f"`ppo-tune extend {self.study}`"

    @property
    def extend(self) -> str:
        """Go on with the search beyond its limits."""
        if self.lone:
            return f"`ppo_tune.tune` with a larger n_trials, max_episodes or max_seconds{self._there}"
        return f"{self.search} with --trials, --episodes or --seconds"

    @property
    def more_trials(self) -> str:
        """What says that there be more trials."""
        return "a larger n_trials" if self.lone else "--n-trials"

    def confirm(self, *, seeds: int | None = None) -> str:
        """Run the best few on fresh seeds, so many if that is said."""
        if self.lone:
            return f"`study.confirm({'' if seeds is None else f'seeds={seeds}'})`{self._there}"
        return f"`ppo-tune confirm {self.study}{'' if seeds is None else f' --seeds {seeds}'}`"

    @property
    def train_there(self) -> str:
        """Train the winner where no command can as things are; empty where `ppo-tune train` can."""
        if not self.lone:
            return ""
        return f"`ppo_tune.train(study.best)`{self._there}; for `ppo-tune train` {self.name_it('best.yaml')}"

    def name_it(self, where: str) -> str:
        """What has to be done before a config can be trained anywhere else; empty where it can."""
        if not self.lone:
            return ""
        return (
            f"put {self.lone} into a file of your own, and name that in {where} instead of what stands for it "
            "(task: reward: function: my_rewards.py:score)"
        )

    @property
    def _there(self) -> str:
        return f" in the Python session of its reward ({self.lone})"
