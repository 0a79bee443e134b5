"""A study or training file being read: its blocks, each checked, and every mistake with its place."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ppo_tune.calling import setting
from ppo_tune.config.block import Block, Named
from ppo_tune.config.messages import mistakes, unknown
from ppo_tune.config.methods import PACKAGES, Loggers
from ppo_tune.config.model import ModelConfig
from ppo_tune.config.overrides import put
from ppo_tune.config.paths import located
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.strict_yaml import Document, Path_, dotted
from ppo_tune.config.study import check_name
from ppo_tune.config.tasks import TaskConfig
from ppo_tune.errors import ConfigError, MissingExtraError, Problem
from ppo_tune.events import Watcher

B = TypeVar("B", bound=Block)

STUDY_BLOCKS = ("task", "model", "ppo", "space", "constraints", "search")
OPTIONAL_BLOCKS = ("model", "ppo", "search")


class Reader:
    """One file being read: its data, and the problems found so far."""

    def __init__(
        self,
        document: Document,
        source: str,
        name: str,
        blocks: tuple[str, ...],
        *,
        folder: Path | None = None,
        watch: Watcher = lambda _: None,
    ) -> None:
        self.source = source
        self.folder = folder
        self.watch = watch
        self.name = name
        self.blocks = blocks
        self.document = document
        self.problems = list(self.document.problems)
        self.noted: set[Path_] = set(self.document.unread)
        self.flags: dict[Path_, str] = {}
        data = self.document.data
        if not isinstance(data, dict):
            raise ConfigError([Problem("", f"must hold the blocks {', '.join(blocks)}", 1)], self.source)
        self.data: dict[str, Any] = {
            key: {} if block is None and key in OPTIONAL_BLOCKS else block for key, block in data.items()
        }
        for key in data:
            if key not in blocks and key not in STUDY_BLOCKS:
                self.add((key,), unknown(key, blocks, kind="block"))

    def add(self, place: Path_, what: str) -> None:
        """Note a mistake, unless the value at its place could not be read."""
        if place in self.document.unread:
            return
        self.noted.add(place)
        by_flag = self.called_by_flag(place)
        line = None if by_flag else self.document.line(place)
        self.problems.append(Problem(by_flag or dotted(place), what, line))

    def called_by_flag(self, place: Path_) -> str | None:
        """How messages call a place that a flag set, or in what it set: `--set model.adapter`; None for the file's."""
        ends = (end for end in range(len(place), 0, -1) if place[:end] in self.flags)
        return next((".".join([self.flags[place[:end]], *map(str, place[end:])]) for end in ends), None)

    def add_all(self, mistakes: Iterable[tuple[Path_, str]]) -> None:
        """Note mistakes, each with its place."""
        for place, what in mistakes:
            self.add(place, what)

    def replace(self, place: Path_, value: Any, flag: str) -> None:
        """Put a flag's value in place of the file's; None leaves that as it is."""
        block = self.data.get(str(place[0]), {}) if len(place) > 1 else {}
        if value is not None and isinstance(block, dict):
            self.set(place, value, flag)

    def set_all(self, settings: Mapping[str, Any] | None) -> None:
        """Put values in place of the file's, by their dotted places, as `--set` gives them."""
        for place, value in (settings or {}).items():
            self.set(tuple(place.split(".")), value, setting(place))

    def set(self, place: Path_, value: Any, flag: str) -> None:
        """Put a flag's value in place of the file's, in blocks that are made where there are none."""
        if (wrong := put(self.data, place, value, self.blocks)) is not None:
            self.problems.append(Problem(flag, wrong))
            return
        self.flags[place] = flag

    def finish(self) -> None:
        """Tell all mistakes, if there are any.

        Raises:
            ConfigError: With every mistake noted.
        """
        if self.problems:
            raise ConfigError(self.problems, self.source)

    def check_name(self, name: str, way_out: str) -> None:
        """The name of a study or training is safe to be the name of a folder."""
        try:
            check_name(name, way_out)
        except ConfigError as error:
            self.problems += error.problems

    def run_blocks(self) -> tuple[TaskConfig | None, ModelConfig | None, PPOConfig]:
        """The blocks that a study and a training have in common; of a wrong `ppo` what is right in it."""
        task = self.block("task", TaskConfig, None)
        model = self.block("model", ModelConfig, {})
        ppo = self.block("ppo", PPOConfig, {}) or self._right_part_of_ppo()
        if task is not None and model is not None and model.name is None and not task.brings_model:
            self.add(("model",), f"`name` must be given with task {task.name}: a model folder or hub name")
        return self.located(task, "task"), self.located(model, "model"), ppo

    def located(self, block: B | None, name: str) -> B | None:
        """A block whose names mean what they mean here; those that cannot are noted."""

        def find(named: Named) -> str:
            place = tuple(int(part) if part.isdigit() else part for part in named.place.split("."))
            by_flag = any(place[: len(flag)] == flag for flag in self.flags)
            file = {"file": self.source} if by_flag else {}
            try:
                found = located(named, self.folder, **file)
            except ValueError as error:
                self.add(place, str(error))
                return named.value
            if found.told:
                self.watch({"kind": "note" if found.surprises else "found", "text": found.told})
            return found.value

        return None if block is None else block.renamed(find, name)

    def block(self, name: str, kind: Any, missing: Any) -> Any:
        """One block, checked; None after noting its problems."""
        data = self.data.get(name, missing)
        if data is None and name not in self.data:
            self.problems.append(Problem(name, "this block is missing"))
            return None
        return self.validated((name,), kind, {} if data is None else data)

    def check_log(self, log: Loggers, *block: str) -> None:
        """What is to get the numbers is installed."""
        for i, name in enumerate(log):
            if (package := PACKAGES[name]) is not None and find_spec(package) is None:
                self.add((*block, "log", i), str(MissingExtraError(package, name)))

    def is_right(self, *names: str) -> bool:
        """Whether nothing was noted of these keys of `ppo`; others are then not blamed for them."""
        return not any(("ppo", name) in self.noted for name in names)

    def _right_part_of_ppo(self) -> PPOConfig:
        """What can still be checked against the other blocks when some of `ppo` is wrong."""
        data = self.data.get("ppo")
        if not isinstance(data, dict):
            return PPOConfig()
        return PPOConfig.model_validate({key: value for key, value in data.items() if self.is_right(key)})

    def validated(self, place: Path_, kind: Any, data: Any) -> Any:
        """Data as a value of its type; None after noting its mistakes."""
        try:
            return TypeAdapter(kind).validate_python(data)
        except ValidationError as error:
            for where, what in mistakes(error, kind, data, place):
                self.add(where, what)
            return None
