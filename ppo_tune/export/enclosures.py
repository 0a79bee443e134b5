"""What of the user's goes along in an export's folder: data, functions with their modules, folders of models.

The config of an export names it by its place there, so that the folder means the same wherever it is put.
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ppo_tune.calling import argument
from ppo_tune.config.block import Block, Named
from ppo_tune.data.formats import FORMATS
from ppo_tune.data.model_folders import ADAPTER, base_of, merging, read_facts
from ppo_tune.data.stand_ins import stands_for
from ppo_tune.data.user_files import IMPORTS
from ppo_tune.data.user_functions import helper_files
from ppo_tune.errors import ConfigError, PPOTuneError, StorageError
from ppo_tune.files import content_hash

MODEL, DATA, FUNCTIONS, MODULES = "model", "data", "functions", "modules"
"""Names in an export's folder: of the policy's model, and of the folders of data files, of functions with what lies
beside them, and of modules from elsewhere."""

HUB_NAME = re.compile(r"(?![./])[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
"""Names that a hub could have: `name` or `owner/name`, perhaps `@revision`."""

HASH = re.compile(r"[0-9a-f]{64}")
"""Of contents, as a study notes them; a hub name stands for itself or with its commit."""

B = TypeVar("B", bound=Block)


@dataclass(frozen=True)
class Enclosure:
    """A file or folder of the user's in an export's folder.

    Attributes:
        name: Its place there.
        source: Its place here.
        what: What it is, in words.
        is_linked: Whether a link to it stands there, for want of a copy.
        stands_for: What is missing, where the file only stands for it; see `ppo_tune.data.stand_ins`.
    """

    name: str
    source: Path
    what: str
    is_linked: bool = False
    stands_for: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether it is not here, so that it cannot be put there either."""
        return not self.source.exists()

    @property
    def is_model(self) -> bool:
        """Whether it is a model's folder, which scripts let a variable of the environment replace."""
        return "/" not in self.name

    @property
    def is_code(self) -> bool:
        """Whether it is a function's file, or lies beside one."""
        return self.name.startswith(FUNCTIONS)

    @property
    def shelf(self) -> str:
        """Within which it is needed once: the folder that holds it; nothing for all models."""
        return self.name.rpartition("/")[0].partition("/")[0]

    @property
    def variable(self) -> str:
        """The variable of the environment by which a script is told another model: MODEL or REWARD_MODEL."""
        return self.name.upper()

    @property
    def absence(self) -> str:
        """What a script says where a model's folder has not gone along, behind the place where it looked."""
        return (
            f" is not here: put {self.what} there, or set {self.variable} to a folder or to a model of a hub"
        )

    def put_into(self, folder: Path) -> None:
        """Copy it, or link to it; what stands there already and is the same stays.

        Raises:
            StorageError: If something else stands there, or it cannot be copied.
        """
        place = folder / self.name
        if self.is_missing or (place.exists() and place.samefile(self.source) and not place.is_symlink()):
            return
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_symlink():
                place.unlink()
            self._put(place)
        except OSError as error:
            raise StorageError(
                f"{self.source} cannot be put at {place}: {error.strerror or error}"
            ) from error

    def _put(self, place: Path) -> None:
        draft = place.with_name(f".{place.name}.{os.getpid()}.draft")
        if place.is_dir():
            if content_hash(place) == content_hash(self.source):
                return
            raise StorageError(
                f"{place} holds something else than {self.source}; take it away, or choose another folder"
            )
        if self.is_linked:
            draft.symlink_to(os.path.relpath(self.source.resolve(), place.parent.resolve()))
        elif self.source.is_dir():
            shutil.copytree(self.source, draft, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(self.source, draft)
        draft.replace(place)


def notes_on(enclosures: Sequence[Enclosure]) -> list[str]:
    """What must still go along, one sentence each."""
    missing = [
        f"{known.source} is not here, so it is not in the folder: put {known.what} there, as {known.name}"
        for known in enclosures
        if known.is_missing
    ]
    links = [known for known in enclosures if known.is_linked and not known.is_missing]
    if not links:
        return missing
    names = " and ".join(known.name for known in links)
    folders = " and ".join(str(known.source) for known in links)
    only, that = ("are only links", "those folders") if len(links) > 1 else ("is only a link", "that folder")
    return [
        *missing,
        f"{names} {only} to {folders}, and to another machine {that} must go along: copy by `cp -rL` or `rsync -aL`, "
        f"or export with {argument('copy_models', 'True')}",
    ]


class Enclosing:
    """Gives what a config names its place in an export's folder.

    Attributes:
        notes: What goes along and is not what was tuned, or may not be all, one sentence each.

    Args:
        copy_models: Copy folders of models, too, instead of linking to them.
        inputs: What the study noted of files by their places in its config: hashes of their contents, and hub names.
        here: What stands before the name of a model's folder, to tell it from a hub name.
    """

    def __init__(
        self, *, copy_models: bool = False, inputs: Mapping[str, str] | None = None, here: str = ""
    ) -> None:
        self.notes: list[str] = []
        self._copy_models, self._inputs, self._here = copy_models, inputs or {}, here
        self._found: dict[str, Enclosure] = {}

    @property
    def enclosures(self) -> tuple[Enclosure, ...]:
        """What goes along, by name."""
        return tuple(self._found[name] for name in sorted(self._found))

    def block(self, block: B, place: str = "") -> B:
        """A block that names everything by its place in the export's folder.

        Args:
            block: As the study has it.
            place: Its own in the config.
        """
        return block.renamed(self._name, place)

    def model(self, name: str, place: str = "model.name", *, copied: bool = False) -> str:
        """A folder of a model by its name in the export's folder; a hub name as it is.

        Args:
            name: The folder or hub name.
            place: In the config.
            copied: Copy it, whatever was asked for.

        Raises:
            PPOTuneError: If all models are to go along and it is an adapter of another folder.
        """
        source = Path(name)
        if not source.is_dir() and self._was_name(place) and HUB_NAME.fullmatch(name):
            return name
        self._check_base(source, place)
        kind = place.split(".")[-2]
        stem = MODEL if kind == MODEL else f"{kind}_{MODEL}"
        what = f"the {'' if kind == MODEL else 'reward '}model's folder {_base(source)!r}"
        return self._here + self._add(stem, source, what, is_linked=not (copied or self._copy_models))

    def _check_base(self, source: Path, place: str) -> None:
        """An adapter names its base as it lies on this machine, where no copy of it finds that.

        Raises:
            PPOTuneError: If the base is no model of a hub and the export is to hold all.
        """
        base = base_of(source, f"{place}: model folder {str(source)!r}") if source.is_dir() else None
        if base is None or (HUB_NAME.fullmatch(base) and not Path(base).is_dir()):
            return
        way_out = merging(
            read_facts(source / ADAPTER, place) or {},
            instead=f"its {ADAPTER} must name a base that a hub has",
        )
        told = (
            f"{place}: {str(source)!r} is an adapter, and its base, {base!r}, is a folder of this machine: elsewhere "
            f"it would not be found; {way_out}"
        )
        if self._copy_models:
            raise PPOTuneError(f"{told}, or export without --copy-models")
        self.notes.append(told)

    def _name(self, named: Named) -> str:
        match named.kind:
            case "recipe":
                return named.value
            case "model" | "judge":
                return self.model(named.value, named.place)
            case "function":
                return self._function(named)
            case "file":
                return self._data(named)

    def compare(self, place: str, source: Path) -> None:
        """Note where a file is not what it was when the study was searched."""
        before = self._inputs.get(place)
        if before is not None and source.is_file() and content_hash(source) != before:
            self.notes.append(
                f"{source} is not what it was when the study was searched; as it is now it goes along"
            )

    def _was_name(self, place: str) -> bool:
        """Whether what stands at a place was no file or folder here when the study was searched, as far as is known."""
        return HASH.fullmatch(self._inputs.get(place, "")) is None

    def _data(self, named: Named) -> str:
        path = Path(named.path)
        is_file = any(path.name.lower().endswith(ending) for ending in FORMATS)
        if not path.exists() and not is_file and self._was_name(named.place):
            return named.value  # of a hub
        self.compare(named.place, path)
        return self._add(f"{DATA}/{_base(path)}", path, "the data")

    def _function(self, named: Named) -> str:
        """A function's file with the user's own modules that it imports, placed so that it finds them again."""
        path = Path(named.path)
        folder = path.parent.resolve()
        root = self._root(folder)
        missing = stands_for(path)
        what = f"the place of {missing}, which is missing" if missing else f"the file of {named.place}"
        name = self._add(f"{root}/{path.name}", path, what, missing=missing)
        self.compare(named.place, path)
        helpers: dict[str, Path] = {}
        if path.is_file() and not missing:
            try:
                helpers = dict(helper_files(named.value, named.place))
            except ConfigError as error:
                self.notes.append(f"which modules it imports is not known, and they do not go along: {error}")
        for shown, file in helpers.items():
            within = file.is_relative_to(folder)
            place = f"{root}/{file.relative_to(folder).as_posix()}" if within else f"{MODULES}/{shown}"
            self._add(place, file, "a module that it imports")
            self.compare(f"{named.place}{IMPORTS}{shown}", file)
        return f"{name}:{named.value.rpartition(':')[2]}"

    def _root(self, folder: Path) -> str:
        """The folder for functions of a folder of the user's: two of them may each have a module of one name."""
        others = {
            name.partition("/")[0]: enclosure.source.parent.resolve()
            for name, enclosure in self._found.items()
            if name.startswith(FUNCTIONS) and name.count("/") == 1
        }
        known = next((root for root, source in others.items() if source == folder), None)
        return known or (f"{FUNCTIONS}_{len(others) + 1}" if others else FUNCTIONS)

    def _add(self, name: str, source: Path, what: str, *, is_linked: bool = False, missing: str = "") -> str:
        """Note that something goes along; returns its name: the one that it has there already, if any."""
        made = Enclosure(name, source, what, is_linked=is_linked, stands_for=missing)
        for found in self._found.values():
            if found.shelf == made.shelf and found.source.resolve() == source.resolve():
                return found.name
        stem, dot, ending = name.partition(".") if "/" in name else (name, "", "")
        number = 1
        while name in self._found:
            number += 1
            name = f"{stem}_{number}{dot}{ending}"
        self._found[name] = replace(made, name=name)
        return name


def _base(path: Path) -> str:
    """The last part of a path, also of one such as `.`."""
    return path.name or path.resolve().name
