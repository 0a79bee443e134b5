"""What a user has in Python, as what a study file would name: prompts a file, a model a folder, a function its place.

The experiment is checked before any of that is written.
"""

import inspect
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from pydantic import BaseModel

from ppo_tune.config.messages import unknown
from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.searchable import SEARCHABLE
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.study_file import make_study
from ppo_tune.config.tasks import DatasetTaskConfig
from ppo_tune.data.code_hash import code_hash
from ppo_tune.data.given_rows import lines_of, rows_of
from ppo_tune.data.stand_ins import stand_in
from ppo_tune.data.user_functions import Held, hold, load_function
from ppo_tune.errors import ConfigError, PPOTuneError, Problem, StudyMismatchError
from ppo_tune.files import content_hash, make_folder, write_text

OBJECTS = ("prompts", "reward", "objective", "judges", "gold", "model", "space", "constraints")
"""Keywords that take objects."""

BLOCKS: Mapping[str, type[BaseModel]] = {
    "task": DatasetTaskConfig, "model": ModelConfig, "ppo": PPOConfig, "search": SearchConfig,
}  # fmt: skip
"""Keywords that take a block of a study file as a mapping; each of their keys is a keyword too."""

HOMES = {
    key: block
    for block, kind in BLOCKS.items()
    for key in kind.model_fields
    if key not in ("name", "path", *OBJECTS)
}
"""The block of each key."""


_PLACE = re.compile(rf"(?<![\w./])({'|'.join(BLOCKS)})(\.\w+)+")
"""A key of a study file with its block, in a sentence."""


@dataclass(frozen=True)
class _Thing:
    """An object that is to be written.

    Attributes:
        keyword: By which it was given, such as judges.kind.
        stem: Of the file's name, before the hash of its content.
        suffix: Behind it.
        write: Writes it to a path.
        content: Its hash, where that is not the content's own.
        held: What the file stands for in this session.
    """

    keyword: str
    stem: str
    suffix: str
    write: Callable[[Path], None]
    content: str | None = None
    held: Held | None = None


class Given:
    """An experiment whose parts are objects.

    Args:
        keywords: Objects, blocks and keys of blocks by their names; see `ppo_tune.tune`.
        name: Of the study.
        others: Further keywords that the caller has, for a did-you-mean.

    Attributes:
        config: The experiment, its objects under names that mean nothing until they are written.
        held: Those that only this session has, once they are written; they are known as long as somebody keeps them.

    Raises:
        ConfigError: With what is wrong.
    """

    def __init__(self, keywords: Mapping[str, Any], name: str, others: Sequence[str] = ()) -> None:
        self._others = others
        self._places = _places(keywords)
        self._things: dict[str, _Thing] = {}
        self._keywords: dict[str, str] = {}
        self._written: list[Path] = []
        self.held: list[Held] = []
        blocks = self._blocks(keywords)
        with self.as_given():
            self.config: StudyConfig = make_study(blocks, name)

    def write(self, folder: Path) -> StudyConfig:
        """Write the objects, each to a file or folder that is named after its content; returns the experiment.

        What lies there already is left as it is.

        Raises:
            StorageError: If the folder cannot be written.
        """
        if self._things:
            make_folder(folder)
        names = {placeholder: self._put(thing, folder) for placeholder, thing in self._things.items()}
        return self.config.renamed(lambda named: names.get(named.value, named.value))

    @contextmanager
    def as_given(self) -> Iterator[None]:
        """A mistake that is found within this block is told by the keywords that were given, and not by the file's."""
        try:
            yield
        except ConfigError as error:
            problems = [
                replace(p, where=self._place_of(p.where), what=self._named(p.what)) for p in error.problems
            ]
            raise ConfigError(problems, error.source) from None
        except StudyMismatchError:
            raise  # it compares the files
        except PPOTuneError as error:
            lines = (line.partition(": ") for line in self._named(str(error)).split("\n"))
            error.args = ("\n".join(f"{self._place_of(where)}{colon}{what}" for where, colon, what in lines),)
            raise

    def _place_of(self, where: str) -> str:
        """A place of the file as a keyword, where a keyword gives it."""
        parts = where.split(".")
        for n in range(len(parts), 0, -1):
            if (known := self._places.get(".".join(parts[:n]))) is not None:
                return ".".join([known, *parts[n:]])
        return where

    def _named(self, text: str) -> str:
        """A sentence that speaks of keywords, and not of files that objects became or of a study file's places."""
        for path, keyword in self._keywords.items():
            text = text.replace(path, keyword)
        return _PLACE.sub(lambda found: self._place_of(found[0]), text)

    def take_back(self, kept: Collection[Path] = ()) -> None:
        """Delete what was written and was not there before, but for what is kept, by full paths."""
        for path in self._written:
            if path.resolve() not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _put(self, thing: _Thing, folder: Path) -> str:
        """Write a thing; returns what a study file calls it."""
        draft = folder / f".draft.{os.getpid()}{thing.suffix}"
        thing.write(draft)
        content = thing.content or content_hash(draft)
        path = folder / f"{thing.stem}-{content[:12]}{thing.suffix}"
        if path.exists():
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
        else:
            draft.rename(path)
            self._written.append(path)
        self._keywords[str(path)] = thing.keyword
        if thing.held is None:
            return str(path)
        self.held.append(hold(f"{path}:score", thing.held))
        return f"{path}:score"

    def _name(self, kind: str, thing: _Thing) -> str:
        """A name for an object until it is written; it looks like one of its kind."""
        name = f"<{kind} {len(self._things)}>{'.py:score' if kind == 'reward' else ''}"
        self._things[name] = thing
        return name

    def _blocks(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        blocks, problems = _sorted(keywords, self._others)
        for key in OBJECTS:
            try:
                if keywords.get(key) is not None:
                    self._add(key, keywords[key], blocks)
            except ConfigError as error:
                problems += error.problems
        if "name" not in blocks["task"] and keywords.get("prompts") is None:
            what = 'must be given, or task={"name": "support"} for the embedded task'
            problems.append(Problem("prompts", what))
        if problems:
            raise ConfigError(problems)
        return {name: block for name, block in blocks.items() if block}

    def _add(self, key: str, given: Any, blocks: dict[str, Any]) -> None:
        """Note in the blocks what an object is."""
        match key:
            case "prompts":
                blocks["task"].update(self._prompts(given, blocks["task"]))
            case "model":
                blocks["model"].update(self._model(given))
            case "space":
                blocks["space"] = _space(given)
            case "constraints":
                blocks["constraints"] = _data(given)
            case "judges":
                blocks["task"]["judges"] = self._judges(given)
            case _:
                blocks["task"][key] = self._reward(given, key)

    def _prompts(self, prompts: Any, task: Mapping[str, Any]) -> dict[str, Any]:
        if task.get("name", "dataset") != "dataset":
            what = f"must be left out, for task {task['name']} brings its own, or the task's name must"
            raise ConfigError([Problem("prompts", what)])
        if isinstance(prompts, str | Path):
            return {"name": "dataset", "path": str(prompts)}
        rows, are_chats = rows_of(prompts, str(task.get("prompt", "prompt")))
        text = lines_of(rows)
        thing = _Thing("prompts", "prompts", ".jsonl", lambda path: write_text(path, text))
        found = {"name": "dataset", "path": self._name("prompts", thing)}
        return {**({"chat": True} if are_chats and "chat" not in task else {}), **found}

    def _model(self, model: Any) -> dict[str, Any]:
        if isinstance(model, Mapping | BaseModel):
            return {}  # a block, which is there already
        return {"name": str(model) if isinstance(model, str | Path) else self._saved(model, "model")}

    def _saved(self, pair: Any, place: str) -> str:
        """The placeholder of a model with its tokenizer."""
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(map(_can_be_saved, pair))):
            got = f"{type(pair).__name__} alone" if _can_be_saved(pair) else repr(pair)
            what = f"must be a folder, a hub name or a model with its tokenizer, (model, tokenizer), but got {got}"
            raise ConfigError([Problem(place, what)])

        def save(path: Path) -> None:
            for part in pair:
                part.save_pretrained(path)

        return self._name("model", _Thing(place, place.rpartition(".")[2], "", save))

    def _judges(self, judges: Any) -> Any:
        if not isinstance(judges, Mapping):
            return judges
        return {name: self._reward(judge, f"judges.{name}") for name, judge in judges.items()}

    def _reward(self, reward: Any, place: str) -> Any:
        """What scores, as the block of a study file."""
        match reward:
            case Mapping():
                return _data(reward)
            case BaseModel():
                return reward.model_dump(exclude_unset=True)
            case str() | Path():
                is_function = ".py:" in str(reward)
                kind = {"name": "python"} if is_function else {"name": "preference"}
                return {**kind, "function" if is_function else "model": str(reward)}
        if isinstance(reward, tuple) or _can_be_saved(reward):
            return {"name": "preference", "model": self._saved(reward, place)}
        if not callable(reward) or isinstance(reward, type):
            what = (
                "must be a function, a ppo_tune.Reward, the folder of a reward model or a mapping such as "
                f'{{"name": "rule", "include": {{…}}}}, but got {reward!r}'
            )
            raise ConfigError([Problem(place, what)])
        _check_call(reward, place)
        name, reason = _place_of(reward)
        return {"name": "python", "function": name or self._lone(reward, reason, place)}

    def _lone(self, reward: Any, reason: str, place: str) -> str:
        """The placeholder of an object that only this session has."""
        content, label = code_hash(reward), _label(reward)
        text = stand_in(reward, label, content)
        held = Held(reward, label, reason)
        return self._name(
            "reward", _Thing(place, "reward", ".py", lambda path: write_text(path, text), content, held)
        )


def _places(keywords: Mapping[str, Any]) -> dict[str, str]:
    """Places of a study file by the keywords that give them; a key within a block's mapping has its own name there."""
    places = {"study name": "name", "task.path": "prompts", "model.name": "model"}
    for key, block in HOMES.items():
        given = keywords.get(block)
        is_within = isinstance(given, Mapping | BaseModel) and key in dict(given)
        places |= {} if is_within else {f"{block}.{key}": key}
    scorers = {key: keywords.get(key) for key in ("reward", "objective", "gold")}
    judges = keywords.get("judges")
    scorers |= {
        f"judges.{name}": judge for name, judge in (judges.items() if isinstance(judges, Mapping) else ())
    }
    for keyword, scorer in scorers.items():
        is_whole = not isinstance(scorer, Mapping | BaseModel)
        places |= {
            f"task.{keyword}{key}": keyword for key in ("", *((".function", ".model") if is_whole else ()))
        }
    return {**places, "task.judges": "judges"}


def _sorted(
    keywords: Mapping[str, Any], others: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The blocks as far as they are plain data, and what is wrong with the keywords."""
    problems = []
    blocks: dict[str, dict[str, Any]] = {"task": {}, "model": {}, "ppo": {}, "space": {}, "search": {}}
    for name in BLOCKS:
        given = keywords.get(name)
        if isinstance(given, BaseModel):
            given = given.model_dump(exclude_unset=True)
        if isinstance(given, Mapping):
            blocks[name].update(_data(given))
        elif given is not None and name != "model":
            problems.append(Problem(name, f"must be a mapping, but got {given!r}"))
    for key, value in keywords.items():
        if key in (*OBJECTS, *BLOCKS):
            continue
        if key not in HOMES:
            choices = ("name", "out", *others, *OBJECTS, *BLOCKS, *HOMES)
            problems.append(Problem(key, unknown(key, choices, kind="argument")))
        elif key in blocks[HOMES[key]]:
            problems.append(Problem(key, f"stands in {HOMES[key]} too; keep one"))
        else:
            blocks[HOMES[key]][key] = _data(value)
    return blocks, problems


def _data(value: Any) -> Any:
    """A value as a file holds it: numbers of numpy are Python's, paths are texts."""
    match value:
        case Mapping():
            return {str(key): _data(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_data(inner) for inner in value]
        case Path():
            return str(value)
    is_number = getattr(value, "shape", None) == () and callable(getattr(value, "item", None))
    return value.item() if is_number else value


def _space(space: Any) -> Any:
    """A space in which each range says what it is: a pair of ends, a list of choices, or a mapping without its type."""
    if not isinstance(space, Mapping):
        raise ConfigError(
            [Problem("space", f"must be a mapping of names to ranges or choices, but got {space!r}")]
        )
    return {str(name): _param(str(name), given) for name, given in space.items()}


def _param(name: str, given: Any) -> Any:
    field = SEARCHABLE.get(name)
    kind = "int" if field is not None and int in _kinds(field.annotation) else "float"
    if isinstance(given, tuple) and len(given) == 2:
        return {"type": kind, "low": _data(given[0]), "high": _data(given[1])}
    if isinstance(given, list):
        return {"type": "categorical", "choices": _data(given)}
    if isinstance(given, Mapping) and "type" not in given:
        return {"type": "categorical" if "choices" in given else kind, **_data(given)}
    if isinstance(given, Mapping):
        return _data(given)
    what = f"must be (low, high), a list of choices or a mapping such as {{'low': …, 'high': …}}, but got {given!r}"
    raise ConfigError([Problem(f"space.{name}", what)])


def _kinds(annotation: Any) -> Sequence[Any]:
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)


def _can_be_saved(part: Any) -> bool:
    return callable(getattr(part, "save_pretrained", None))


def _check_call(reward: Any, place: str) -> None:
    """Refuse a function that cannot take what a reward is given."""
    if callable(getattr(reward, "score", None)):  # a `Reward`, whose call is ours
        return
    try:
        inspect.signature(reward).bind_partial(prompts=[], responses=[], references=[])
    except TypeError as error:
        what = f"must take prompts, responses and **columns, as lists by name, but {_label(reward)} does not: {error}"
        raise ConfigError([Problem(place, what)]) from None
    except ValueError:  # of C, which says nothing of its arguments
        return


def _place_of(reward: Any) -> tuple[str | None, str]:
    """`path/to/file.py:function` of a function that any process can import; else None, and why not, in words."""
    name, module = getattr(reward, "__qualname__", None), getattr(reward, "__module__", None)
    if not isinstance(name, str) or isinstance(reward, type):
        return None, "is an object of this session, and no other process can import it"
    if not name.isidentifier():
        return None, "has no name in a module, and no other process can import it"
    if module == "__main__":
        return None, "was made in this session, and no other process can import it"
    file = getattr(sys.modules.get(str(module)), "__file__", None) or ""
    if getattr(sys.modules.get(str(module)), name, None) is not reward or not file.endswith(".py"):
        return None, f"is not what module {module} has by that name, and no other process can import it"
    path = _from_here(Path(file))
    try:
        load_function(f"{path}:{name}")
    except PPOTuneError as error:
        return None, f"cannot be imported by another process ({error})"
    return f"{path}:{name}", ""


def _from_here(path: Path) -> str:
    """A file as one would write it in a study file: from the folder where one is, if it lies below that."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _label(reward: Any) -> str:
    return str(getattr(reward, "__qualname__", None) or type(reward).__qualname__)
