"""Where tests stand: folders mirror the package, and what several modules need is no test module."""

import ast
from pathlib import Path

from tests.record import RUNS, kept

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "ppo_tune"
LAYERS = {
    "equivalence": "laws that hold across folders, such as that a pack learns what a trial learns alone",
    "models/families": "every family of models against one contract",
    "benchmarks": "the replay of searches on the recorded landscape, in benchmarks/",
    "export/peers": "exports run by the released trainers' own code",
}
"""Folders that mirror none of the package's, and why."""

N_UNCHECKED = 103
"""Test modules that mypy leaves out; this number only falls."""

TREES = {
    str(path.relative_to(TESTS)): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(TESTS.rglob("*.py"))
}


def test_every_folder_mirrors_one_of_the_package_or_is_a_layer_of_its_own() -> None:
    folders = {str(path.parent.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")}

    homeless = {name for name in folders - LAYERS.keys() if not (PACKAGE / name / "__init__.py").is_file()}

    assert homeless == set()
    assert folders >= LAYERS.keys()


def test_nothing_is_imported_from_a_test_module() -> None:
    """What two modules need stands in a conftest, or in a module that is named after what it makes."""
    borrowed = {
        name: node.module
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and ".test_" in f".{node.module}"
    }

    assert borrowed == {}


def test_a_fixture_is_found_by_its_name_and_not_imported_into_a_test_module() -> None:
    """A fixture that is imported needs an `__all__`, or the linter takes it away."""
    importing = {
        name
        for name, tree in TREES.items()
        if Path(name).name.startswith("test_")
        and any(
            isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" for node in tree.body
        )
    }

    assert importing == set()


def test_no_new_test_module_is_left_out_of_the_type_check() -> None:
    """Those from before tests were checked begin with a comment; a file that is rewritten loses it."""
    unchecked = [
        path
        for path in TESTS.rglob("*.py")
        if path.read_text(encoding="utf-8").startswith("# mypy: ignore-errors")
    ]

    assert len(unchecked) <= N_UNCHECKED


def test_what_ci_leaves_out_was_green_when_it_last_ran() -> None:
    results = kept()

    assert results.keys() <= RUNS.keys()
    assert [name for name, result in results.items() if result["failures"] or result["errors"]] == []
    assert [name for name, result in results.items() if result["commit"].endswith("-dirty")] == []
