"""What can go wrong, as a tree; the bases say how one would catch it.

    PPOTuneError                      every mistake a user can mend; the command line exits with 2
    ├─ ConfigError (ValueError)       a file or a flag is wrong; holds every problem found
    ├─ DataError (ValueError)         a data file is wrong; names file and line
    │  └─ NoPromptsError              nothing of it is left for a split
    ├─ ModelError (ValueError)        a model folder cannot be used
    ├─ StudyMismatchError             a study is resumed with another experiment
    ├─ StorageError                   a folder or a database cannot be used
    ├─ SearchStoppedError             every trial fails in the same way, so the search stops itself
    └─ MissingExtraError              an optional dependency is not installed
    TrialError                        one trial's ending, never the program's; has a name
    ├─ TrainingDivergedError          "diverged"
    ├─ KLLimitError                   "kl_limit"
    ├─ RewardError                    "reward_error"
    └─ OutOfMemoryError               "out_of_memory"

An exception outside this tree is a bug of ours: it stops the program and is never a data point.

What a message quotes was written by others. Its control characters are made symbols here, once, for the terminal, the
study's store and the report alike.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from ppo_tune.safe_text import symbols


@dataclass(frozen=True)
class Problem:
    """One mistake: where it stands, what the rule is and what was found.

    Attributes:
        where: Dotted place in the file, such as `space.learning_rate`.
        what: The rule, the value and the way out, in one sentence.
        line: Line in the file, counted from 1, or None when there is none.
    """

    where: str
    what: str
    line: int | None = None


class _Told(Exception):
    """An exception whose message steers nothing that shows it."""

    def __str__(self) -> str:
        return symbols(super().__str__())


class PPOTuneError(_Told):
    """A mistake that its user can mend."""


class ConfigError(PPOTuneError, ValueError):
    """A file or a flag is wrong; the message lists every problem, not only the first.

    Args:
        problems: What was found, in the order of the file.
        source: The file or flag that holds them.
    """

    def __init__(self, problems: Sequence[Problem], source: str = "") -> None:
        self.problems = tuple(sorted(problems, key=lambda p: p.line or 0))
        self.source = source
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        lines = []
        for problem in self.problems:
            place = ":".join(str(part) for part in (self.source, problem.line) if part)
            lines.append(": ".join(part for part in (place, problem.where, problem.what) if part))
        return lines


class DataError(PPOTuneError, ValueError):
    """A data file is wrong; the message names file and line."""


class NoPromptsError(DataError):
    """A split has no prompt that can be used."""


class ModelError(PPOTuneError, ValueError):
    """A model folder or hub name cannot be used as asked."""


class StudyMismatchError(PPOTuneError):
    """A study exists already and was made by another experiment."""


class StorageError(PPOTuneError):
    """A folder or database cannot be opened or written."""


class SearchStoppedError(PPOTuneError):
    """Trials fail one after the other for the same reason, so going on would buy nothing."""


class MissingExtraError(PPOTuneError):
    """An optional dependency is missing.

    Args:
        package: The package that could not be imported.
        extra: The extra of ours that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; run: pip install 'ppo-tune[{extra}]'",
        )


class Mistakes:
    """What is wrong in several places, collected so that all of it is told at once."""

    def __init__(self) -> None:
        self._found: list[PPOTuneError] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """A mistake within this block ends the block alone."""
        try:
            yield
        except PPOTuneError as error:
            if str(error) not in map(str, self._found):
                self._found.append(error)

    def tell(self) -> None:
        """Raise what was found: the one error as it is, or all of them as one, a line each.

        Raises:
            PPOTuneError: If anything was.
        """
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise PPOTuneError("\n".join(map(str, self._found)))


class TrialError(_Told):
    """The ending of one trial; its neighbours and the search go on."""

    ending: ClassVar[str]


class TrainingDivergedError(TrialError):
    """A loss, a gradient or a log-probability is not finite."""

    ending = "diverged"


class KLLimitError(TrialError):
    """The policy moved further from the reference than `search.kl_limit` allows."""

    ending = "kl_limit"


class RewardError(TrialError):
    """The reward function raised, or returned something that is not one finite number per text."""

    ending = "reward_error"


class OutOfMemoryError(TrialError):
    """The device has no memory left for this trial."""

    ending = "out_of_memory"
