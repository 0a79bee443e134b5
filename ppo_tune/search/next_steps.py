"""How one goes on with a study, in words: by commands, or in the Python session that alone has what scores it."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from ppo_tune.config.study import StudyConfig
from ppo_tune.data.stand_ins import stands_for
from ppo_tune.search.address import public
from ppo_tune.search.folders import StudyFolder


@dataclass(frozen=True)
class NextSteps:
    """What can be done with a study, each as a part of a sentence.

    Attributes:
        study: Its name.
        lone: What scores it and only a Python session has, by its label; empty where any process can score.
        state: What becomes of it, see `ppo_tune.search.status.State`.
        advice: What its verdict says to do instead of training the winner; empty where that can be trained.
        to_confirm: Whether it wants a confirmation, has something to confirm, and has not done so.
        flags: Of its commands, which say where it is.
    """

    study: str
    lone: str = ""
    state: str = "complete"
    advice: str = ""
    to_confirm: bool = False
    flags: str = ""

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

    def next(self, best: Path | None) -> str:
        """The one thing to do next: a command that can be typed as it is, or a sentence.

        Terminal, status, page, summary and Python say this and no other.

        Args:
            best: The file of the winner's config; None where there is none.
        """
        then = self.report if best is None else self.train(best)
        return re.sub(r"^`(ppo-tune [^`]+)`$", r"\1", self.first or self.advice or then)

    @property
    def first(self) -> str:
        """What is to be done with the study before its advice is heeded or its winner trained; empty where nothing."""
        if self.state in ("running", "elsewhere"):
            return self.report
        if self.state in ("died", "stopped"):
            return self.search
        return self.confirm() if self.to_confirm and not self.advice else ""

    @property
    def report(self) -> str:
        """See what came of it so far."""
        return f"`ppo-tune report {self.study}{self.flags}`"

    @property
    def search(self) -> str:
        """Go on with the search as it is."""
        if self.lone:
            return f"`ppo_tune.tune` with the same arguments{self._there}"
        return f"`ppo-tune extend {self.study}{self.flags}`"  # to the limits it has; its file may know others

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
        return f"`ppo-tune confirm {self.study}{'' if seeds is None else f' --seeds {seeds}'}{self.flags}`"

    def train(self, best: Path) -> str:
        """Train the winner, whose config is this file."""
        return self.train_there or f"`ppo-tune train {shlex.quote(str(best))}`"

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


def flags_of(storage: str | None, out: Path) -> str:
    """The flags that another command about the same study needs; a password is left out."""
    given = [] if out == Path() else ["--out", str(out)]
    if storage is not None:
        given += ["--storage", public(storage)]
    return "".join(f" {shlex.quote(word)}" for word in given)
