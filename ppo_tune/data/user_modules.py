"""A user's Python file among its own modules: it finds what lies beside it, and nobody else meets that.

`python rewards/r.py` finds the modules in `rewards/`. So does a file here, for as long as its code runs: its import,
and every call. Two files in two folders may each have a helper of one name. Installed modules come first; where a
file means one of its own by the name of an installed one, that is refused and not guessed.
"""

import ast
import functools
import importlib
import importlib.util
import os
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_INSTALLED = frozenset(("site-packages", "dist-packages"))

_NOT_THE_USERS = tuple(
    os.path.join(folder, "")
    for place in (
        os.path.dirname(os.path.dirname(__file__)),
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
    )
    for folder in (place, os.path.realpath(place))
)
"""This package and the standard library."""


_IMPORTERS = frozenset(("import_module", "__import__"))
"""Functions that import what they are given by name."""


class ImportRefusedError(Exception):
    """A user's file cannot be imported; says why."""


class World:
    """What the files of one folder see when they import: all that is installed, then the folder.

    Args:
        folder: Of the file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = frozenset(name.removesuffix(".py") for name in os.listdir(folder))
        self._path = [*sys.path, str(folder)]
        self._modules: dict[str, ModuleType] = {}
        self._before: frozenset[str] | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within this block imports see the folder; what they bring in from it stays in this world."""
        if self._before is not None:  # within such a block
            yield
            return
        others = {n: m for n, m in sys.modules.items() if n in self._modules or self._is_stranger(n, m)}
        for name in others:
            del sys.modules[name]
        self._before = frozenset(sys.modules)
        sys.modules.update(self._modules)
        path, writes_no_bytecode = sys.path[:], sys.dont_write_bytecode
        sys.path[:] = self._path
        # Bytecode knows its source by second and size only; what runs must be what is hashed.
        sys.dont_write_bytecode = True
        try:
            yield
        finally:
            self._path, sys.path[:] = sys.path[:], path  # what the user's code added stays in its world
            sys.dont_write_bytecode = writes_no_bytecode
            self._modules = self.brought_in()
            for name in self._modules:
                del sys.modules[name]
            sys.modules.update(others)
            self._before = None

    def brought_in(self) -> dict[str, ModuleType]:
        """The modules of the folder that were imported within the block, now or in one before."""
        new = sys.modules.keys() - (self._before or ())
        return {n: sys.modules[n] for n in new if n in self._modules or self._is_own(sys.modules[n])}

    def adopt(self, module: ModuleType) -> None:
        """Make a module known by its name, within the block."""
        self._modules[module.__name__] = sys.modules[module.__name__] = module

    def file_of(self, name: str) -> Path | None:
        """The file in the folder that an import of a top-level name would mean."""
        places = (self.folder / name / "__init__.py", self.folder / f"{name}.py")
        return next((place for place in places if place.is_file()), None)

    def _is_own(self, module: ModuleType) -> bool:
        place = _place(module)
        return place is not None and Path(place).is_relative_to(self.folder)

    def _is_stranger(self, name: str, module: ModuleType) -> bool:
        """Whether this is a module of another folder of the user's, under the name of one of this folder's."""
        top = name.partition(".")[0]
        if top not in self._names or _place(module) is None or name == "__main__" or self._is_own(module):
            return False
        return self.file_of(top) is not None


@dataclass(frozen=True)
class UserModule:
    """An imported file.

    Attributes:
        module: What it defines.
        world: To be active while any of its code runs.
        helpers: The user's own files that its code imports, in whatever function and through whatever other of
            them. Their names do not depend on the machine: the path from the file's folder, else the module's.
        contents: What the file and its helpers held when they were imported.
    """

    module: ModuleType
    world: World
    helpers: Mapping[str, Path]
    contents: Mapping[Path, bytes]

    def is_current(self) -> bool:
        """Whether the files still hold what was imported."""
        return all(file.is_file() and file.read_bytes() == held for file, held in self.contents.items())


_imported: dict[Path, UserModule] = {}
"""By the file: as in Python, a file that has not changed is executed once."""


def import_file(path: Path) -> UserModule:
    """Import a file, or take it from before if neither it nor its helpers have changed.

    Raises:
        ImportRefusedError: If its code raises, or one of its imports is ambiguous.
    """
    path = path.resolve()
    known = _imported.get(path)
    if known is not None and known.is_current():
        return known
    importlib.invalidate_caches()
    world = World(path.parent)
    with world.active():
        try:
            module = _execute(path, world)
        except (Exception, SystemExit) as error:
            why = _ambiguity(path, world) or f"cannot be imported: {type(error).__name__}: {error}"
            raise ImportRefusedError(why) from error
        ambiguity = _ambiguity(path, world)
        if ambiguity:
            raise ImportRefusedError(ambiguity)
        files = _named_by(path)
        for name, helper in world.brought_in().items():
            place = _place(helper)
            if place is not None and os.path.isfile(place):
                files.setdefault(Path(place), name)
    files.pop(path, None)
    helpers = {_shown(file, name, world.folder): file for file, name in files.items()}
    contents = {file: file.read_bytes() for file in (path, *files)}
    _imported[path] = imported = UserModule(module, world, helpers, contents)
    return imported


def _execute(path: Path, world: World) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ppo_tune_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    world.adopt(module)  # dataclasses and pickle look for a class's module by its name
    spec.loader.exec_module(module)
    return module


def _named_by(path: Path) -> dict[Path, str]:
    """The user's files that a file names in its imports, and those name in turn, each with its module's name."""
    found: dict[Path, str] = {}
    waiting = deque([(path, "")])
    while waiting:
        file, package = waiting.popleft()
        for name in _imports(file, package):
            for inner, module in _files_of(name):
                if module not in found:
                    found[module] = inner
                    parent = inner if module.stem == "__init__" else inner.rpartition(".")[0]
                    waiting.append((module, parent))
    return found


def _imports(file: Path, package: str) -> Iterator[str]:
    """The names in a file's imports, in functions too; what `from` takes may be a module or not.

    Imports are statements, and calls of `import_module` and `__import__` with a name that stands there as text.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # not Python source, or not yet
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1] if package else []
                base = ".".join([*parents, *filter(None, [base])])
            if base:
                yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            yield from _called_for(node, package)


def _called_for(call: ast.Call, package: str) -> Iterator[str]:
    """The name that a call imports, if it is one of `import_module` or `__import__` with the name as text."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if name not in _IMPORTERS:
        return
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    given.update(zip(("name", "package"), call.args, strict=False))
    wanted = _text(given.get("name"))
    if name == "import_module" and wanted.startswith("."):
        with suppress(ImportError):  # the call fails too
            wanted = importlib.util.resolve_name(wanted, _text(given.get("package")) or package)
    if all(wanted.split(".")):
        yield wanted


def _text(node: ast.expr | None) -> str:
    """What stands in a program as text; nothing if it is something else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _files_of(name: str) -> Iterator[tuple[str, Path]]:
    """The user's files that an import of a dotted name executes: of its packages, then its own."""
    search = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        inner = ".".join(parts[:end])
        spec = _spec(inner, search)
        if spec is None:
            return
        if spec.origin is not None:
            if not _is_users(spec.origin):
                return
            yield inner, Path(spec.origin).resolve()
        search = spec.submodule_search_locations
        if search is None:
            return


def _spec(name: str, search: list[str] | None) -> ModuleSpec | None:
    """Where a module comes from: as it was imported, else as it would be; imports nothing."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is not None:
        return spec  # type: ignore[no-any-return]
    found = (finder.find_spec(name, search) for finder in sys.meta_path)
    return next(filter(None, found), None)


def _ambiguity(path: Path, world: World) -> str | None:
    """Says which import could mean a file of the folder and means another one."""
    for file in (path, *_named_by(path)):
        if not file.is_relative_to(world.folder):
            continue
        for top in sorted({name.partition(".")[0] for name in _imports(file, "")}):
            own, spec = world.file_of(top), _spec(top, None)
            if own is None or spec is None or top == __name__.partition(".")[0]:
                continue
            if spec.origin is None or Path(spec.origin).resolve() != own:
                is_file = spec.origin is not None and os.path.isfile(spec.origin)
                other = spec.origin if is_file else "the standard library's"
                return f"cannot be imported: {top} in {file.name} could mean {own} or {other}; rename yours"
    return None


def _shown(file: Path, name: str, folder: Path) -> str:
    if file.is_relative_to(folder):
        return file.relative_to(folder).as_posix()
    ending = f"/__init__{file.suffix}" if file.stem == "__init__" else file.suffix
    return name.replace(".", "/") + ending


def _place(module: ModuleType) -> str | None:
    """The file of a user's module, or the folder of one that has no file; None for all others."""
    facts = getattr(module, "__dict__", {})  # no attribute: some modules import when asked for one
    place = facts.get("__file__")
    if place is None and (folders := facts.get("__path__")) is not None:
        place = next(iter(folders), None)
    return place if isinstance(place, str) and _is_users(place) else None


@functools.cache
def _is_users(place: str) -> bool:
    place = os.path.abspath(place)
    is_installed = not _INSTALLED.isdisjoint(place.split(os.sep)) or any(
        place.startswith(os.path.join(folder, "")) and _holds_packages(folder)
        for folder in sys.path
        if folder
    )
    return not is_installed and not place.startswith(_NOT_THE_USERS) and os.path.exists(place)


@functools.cache
def _holds_packages(folder: str) -> bool:
    """Whether packages were installed into a folder, wherever it is, as by pip's --target."""
    return os.path.isdir(folder) and any(name.endswith(".dist-info") for name in os.listdir(folder))
