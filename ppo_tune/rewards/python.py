"""A reward that is a user's own Python function."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import signature
from typing import Any

from ppo_tune.config.rewards import PythonRewardConfig
from ppo_tune.data.user_functions import held_by, load_function
from ppo_tune.errors import ConfigError, Problem, RewardError
from ppo_tune.rewards.base import Columns, Reward, sample


def check_call(config: PythonRewardConfig, place: str, columns: Iterable[str]) -> None:
    """Make sure that a function takes what it will be given; it is not called.

    Args:
        config: Names the function.
        place: Where the config stands, such as task.reward.
        columns: The names of the prompts' columns.

    Raises:
        ConfigError: If it cannot be imported, or takes other arguments.
    """
    place, held = f"{place}.function", held_by(config.function)
    if held is not None and isinstance(held.value, Reward):  # whose arguments are ours
        return
    function = load_function(config.function, place)
    given = list(dict.fromkeys(("prompts", "responses", *columns)))
    try:
        expected = signature(function)
    except (TypeError, ValueError):  # of C, which does not say what it takes
        return
    try:
        expected.bind(**dict.fromkeys(given))
    except TypeError as error:
        what = (
            f"{held.label if held else config.function} must take {', '.join(given)} by their names, but: {error}; "
            "write it as def score(prompts, responses, **columns)"
        )
        raise ConfigError([Problem(place, what)]) from None


def python_reward(config: PythonRewardConfig) -> Reward:
    """The reward that a config names: a function, or what this session holds under its name.

    Raises:
        ConfigError: If the file cannot be imported or has no such function.
    """
    held = held_by(config.function)
    if held is not None and isinstance(held.value, Reward):
        return held.value
    name = config.function if held is None else held.label
    return PythonReward(name, load_function(config.function))


class PythonReward(Reward):
    """Calls `function(prompts=..., responses=..., **columns)`; it returns one number per response.

    Args:
        name: Of the function, for messages.
        function: The user's.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> Sequence[float]:
        """What the function returns for all responses at once."""
        try:
            return self._call(prompts, responses, columns)
        except (
            Exception,
            SystemExit,
        ) as error:  # sys.exit() in a reward must not end a training as if it were done
            where = self._culprit(prompts, responses, columns)
            why = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise RewardError(f"{self} raised {why} for {where}") from error

    def _call(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> Sequence[float]:
        others = {
            name: list(values) for name, values in columns.items() if name not in ("prompts", "responses")
        }
        scores = self.function(prompts=list(prompts), responses=list(responses), **others)
        return list(scores) if isinstance(scores, Iterator) else scores

    def _culprit(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> str:
        """The first response that makes the function raise on its own."""
        for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            try:
                self._call([prompt], [response], {name: [values[i]] for name, values in columns.items()})
            except (Exception, SystemExit):
                return sample(prompt, response)
        return f"{len(responses)} responses together, though for none of them alone"

    def __str__(self) -> str:
        return f"reward function {self.name}"
