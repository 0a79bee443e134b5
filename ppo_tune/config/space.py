"""The `space:` block: what a search may vary, and which of it together.

Knows the shapes of ranges and nothing of PPO: which names may be searched and which values are legal for
them is `ppo_tune.config.searchable`'s business.
"""

import math
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import Trial
from pydantic import ConfigDict, RootModel

from ppo_tune.config.ranges import CategoricalParam, FloatParam, IntParam, Param, condition_text

MAX_GRID_CELLS = 10_000
"""A grid larger than this is run only when the user insists."""


class Space(RootModel[dict[str, Param]]):
    """The searched hyperparameters by name, in the order of the file."""

    model_config = ConfigDict(frozen=True)

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.root)

    def __getitem__(self, name: str) -> FloatParam | IntParam | CategoricalParam:
        return self.root[name]

    def __len__(self) -> int:
        return len(self.root)

    @property
    def complements(self) -> dict[str, tuple[float, float]]:
        """Those of which the logarithm of 1 − value is searched, with their ends."""
        return {
            name: param.ends
            for name, param in self.root.items()
            if param.type == "float" and param.log == "complement"
        }

    def distributions(self) -> dict[str, BaseDistribution]:
        """The space as Optuna's distributions, for `study.ask`."""
        return {name: param.distribution() for name, param in self.root.items()}

    @property
    def order(self) -> tuple[str, ...]:
        """The names, each after those that its condition asks for; else as in the file.

        Raises:
            ValueError: If conditions ask for one another.
        """
        order: list[str] = []
        waiting = list(self.root)
        while waiting:
            ready = (name for name in waiting if not self.root[name].when.keys() - set(order))
            if (name := next(ready, None)) is None:
                raise ValueError(f"conditions go round in a circle: {', '.join(waiting)}")
            order.append(name)
            waiting.remove(name)
        return tuple(order)

    @property
    def conditions(self) -> dict[str, str]:
        """In words, when those hyperparameters are searched that are not searched in every trial."""
        return {name: condition_text(param.when) for name, param in self.root.items() if param.when}

    def is_active(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a hyperparameter is searched beside these values, those of all before it in `order` that are."""
        # True == 1, but they are different choices.
        return all(
            parent in values and repr(values[parent]) in map(repr, wanted)
            for parent, wanted in self.root[name].when.items()
        )

    def active_part(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of these values, one for every name, that are searched beside the others."""
        found: dict[str, Any] = {}
        for name in self.order:
            if self.is_active(name, found):
                found[name] = values[name]
        return found

    def is_whole(self, values: Mapping[str, Any]) -> bool:
        """Whether these are the values of a trial: all that are searched beside one another, and no more."""
        found: set[str] = set()
        for name in self.order:
            if self.is_active(name, values):
                if name not in values:
                    return False
                found.add(name)
        return found == values.keys()

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Draw the values of a trial, none that is not searched beside the others; enqueued ones are kept."""
        found: dict[str, Any] = {}
        for name in self.order:
            if self.is_active(name, found):
                found[name] = _suggest(trial, name, self.root[name])
        return found

    def draw(self, rng: random.Random) -> dict[str, Any]:
        """The values of a random trial."""
        return self.active_part({name: param.draw(rng) for name, param in self.root.items()})

    def size(self) -> float:
        """How many combinations a search can draw; infinite with a float among them."""
        return math.inf if any(param.type == "float" for param in self.root.values()) else self.grid_size()

    def has_cell(self, values: Mapping[str, Any]) -> bool:
        """Whether these are the values of a cell of the grid."""
        return self.is_whole(values) and all(
            repr(value) in map(repr, self.root[name].grid_values()) for name, value in values.items()
        )

    def without_grid_values(self) -> list[str]:
        """Names of the floats that do not state the points of a grid search."""
        return [name for name, param in self.root.items() if not param.grid_size()]

    def grid_size(self) -> int:
        """How many cells the grid has; needs no memory, however many they are."""
        asked = {parent for param in self.root.values() for parent in param.when}
        return self._cells_beside({}, self.order, asked)

    def _cells_beside(self, values: dict[str, Any], names: Sequence[str], asked: Collection[str]) -> int:
        """How many cells of some hyperparameters there are beside these values of those that conditions ask for."""
        if not names:
            return 1
        name, *rest = names
        if not self.is_active(name, values):
            return self._cells_beside(values, rest, asked)
        if name not in asked:
            return self.root[name].grid_size() * self._cells_beside(values, rest, asked)
        return sum(
            self._cells_beside({**values, name: value}, rest, asked)
            for value in self.root[name].grid_values()
        )

    def grid_cells(self) -> Iterator[dict[str, Any]]:
        """The cells of the grid one after the other, the last name varying fastest."""
        return self._cells_from({}, self.order)

    def _cells_from(self, values: dict[str, Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
        if not names:
            yield values
            return
        name, *rest = names
        if not self.is_active(name, values):
            yield from self._cells_from(values, rest)
            return
        for value in self.root[name].grid_values():
            yield from self._cells_from({**values, name: value}, rest)

    def baseline(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The values of trial 0: a parameter's own `default`, else the trainer's, moved into the space."""
        return self.active_part(self.every_baseline(defaults))

    def every_baseline(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The same for every name, searched beside the others or not."""
        return {
            name: param.nearest(defaults[name] if param.default is None else param.default)
            for name, param in self.root.items()
        }


def _suggest(trial: Trial, name: str, param: FloatParam | IntParam | CategoricalParam) -> Any:
    if isinstance(param, CategoricalParam):
        return trial.suggest_categorical(name, param.choices)
    if isinstance(param, IntParam):
        return trial.suggest_int(name, param.low, param.high, step=param.step, log=param.log)
    low, high = param.ends
    return trial.suggest_float(name, low, high, log=param.log is True)
