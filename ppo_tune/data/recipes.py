"""What an embedded task's models are built by, known without building them or loading torch.

The recipe is read as text: the function that builds, the task's world, the definitions they name, and those that these
name in turn, up to modules that decide nothing of a fit or compute what every policy does (`LEFT_OUT`). What else
stands beside these definitions, comments, descriptions and what a refusal says are no part of it; nor are the libraries
below torch.
"""

import ast
import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parent.parent

BUILDER = ("tasks.recipe", "build")
"""The module, below the package, and the function in it that builds the models of a world."""

LEFT_OUT = (
    "config.block", "data.chats", "data.model_folders", "errors", "files", "fitting.folders", "fitting.quality",
    "models.adalora", "models.adapters", "models.chat", "models.decoding", "models.dora", "models.fast",
    "models.ia3", "models.layout", "models.loading", "models.lora", "models.memory", "models.policy",
    "models.prefix", "models.read_back", "models.rows", "models.saving", "models.stops",
)  # fmt: skip
"""Beginnings of modules that are no part of a recipe."""


def recipe_of(task: str) -> str:
    """What the models of an embedded task are built by, as a fingerprint and a message have it."""
    return f"models of recipe {recipe_hash(task)}, fitted by torch {_torch()}"


def recipe_hash(task: str) -> str:
    """A hash of what the models of an embedded task, named as in the study file, are built by."""
    statements = (text for _, text in sorted(definitions_of(task).items()))
    return hashlib.sha256("\n".join([_torch(), *statements]).encode()).hexdigest()[:16]


def _torch() -> str:
    """Torch's version, the same for builds for CPUs and for GPUs."""
    return version("torch").partition("+")[0]


def definitions_of(task: str) -> dict[tuple[str, str], str]:
    """The source of every definition in the recipe of an embedded task, by its module and its name."""
    read, found, waiting = functools.cache(_bound), dict[tuple[str, str], str](), [BUILDER, world(task)]
    while waiting:
        module, name = waiting.pop()
        if (module, name) in found or module.startswith(LEFT_OUT):
            continue
        match read(module).get(name):
            case ast.stmt() as statement:
                found[module, name] = ast.unparse(statement)
                used = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
                waiting += [(module, other) for other in used & read(module).keys()]
            case None:  # a module, all of it
                waiting += [(f"{module}.{name}", other) for other in read(f"{module}.{name}")]
            case imported:
                waiting.append(imported)
    return found


def world(task: str) -> tuple[str, str]:
    """Where the world of an embedded task stands: its module, below the package, and its name there."""
    return f"tasks.worlds.{task}", "WORLD"


def _bound(module: str) -> dict[str, ast.stmt | tuple[str, str]]:
    """What the names in a module of ours mean: a statement of its own, or a name of another module of ours."""
    path = PACKAGE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found: dict[str, ast.stmt | tuple[str, str]] = {}
    for statement in statements_of(file.read_text(encoding="utf-8")):
        match statement:
            case ast.ImportFrom(module=str(origin), names=names) if origin.startswith("ppo_tune."):
                found |= {a.asname or a.name: (origin.removeprefix("ppo_tune."), a.name) for a in names}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] = statement
            case ast.Assign() | ast.AnnAssign():
                stored = [n for n in ast.walk(statement) if isinstance(getattr(n, "ctx", None), ast.Store)]
                found |= {n.id: statement for n in stored if isinstance(n, ast.Name)}
    return found


def statements_of(source: str) -> list[ast.stmt]:
    """Python source without what changes no model: comments, texts alone, descriptions of fields, words of refusals."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [one for one in node.body if not _is_text(one)] or [ast.Pass()]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field":
            node.keywords = [one for one in node.keywords if one.arg != "description"]
        elif isinstance(node, ast.Raise):
            node.exc = node.cause = None
    return tree.body


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
