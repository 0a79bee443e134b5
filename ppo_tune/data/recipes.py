"""What the embedded task's models are built by, known without building them or loading torch.

Their sources are read as text, so the recipe is the same until a statement in them changes: a comment or a docstring
is no part of it. The libraries below torch, and our modules below the fit, are not counted.
"""

import ast
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

SOURCES: Mapping[str, tuple[str, ...]] = {
    "support": (
        "tasks/support_recipe.py",
        "tasks/support_world.py",
        "config/fitting.py",
        "fitting/loop.py",
        "fitting/sft.py",
        "fitting/reward_model.py",
    )
}
"""By task: the modules that hold its settings, its texts and the fit of its models."""


def recipe_of(task: str) -> str:
    """What the models of an embedded task are built by, as a fingerprint and a message have it."""
    return f"models of recipe {recipe_hash(task)}, fitted by torch {_torch()}"


def recipe_hash(task: str) -> str:
    """A hash of what the models of an embedded task, named as in the study file, are built by."""
    package = Path(__file__).parent.parent
    statements = (statements_of((package / name).read_text(encoding="utf-8")) for name in SOURCES[task])
    return hashlib.sha256("\n".join([_torch(), *statements]).encode()).hexdigest()[:16]


def _torch() -> str:
    """Torch's version, the same for builds for CPUs and for GPUs."""
    return version("torch").partition("+")[0]


def statements_of(source: str) -> str:
    """Python source without what changes nothing: comments, the layout, and texts that stand alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [one for one in node.body if not _is_text(one)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
