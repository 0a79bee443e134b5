"""The recipe of the embedded task's models changes with every statement it consists of, and with nothing else."""

import ast
from pathlib import Path

import pytest

import ppo_tune
from ppo_tune.config.blocks import RunConfig
from ppo_tune.data import recipes
from ppo_tune.data.recipes import SOURCES, recipe_hash, recipe_of, statements_of
from ppo_tune.data.user_files import check_user_files

PACKAGE = Path(ppo_tune.__file__).parent


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipe's sources, from where they are read now."""
    for name in SOURCES["support"]:
        (tmp_path / Path(name).name).write_text(
            (PACKAGE / name).read_text(encoding="utf-8"), encoding="utf-8"
        )
    names = tuple(str(tmp_path / Path(name).name) for name in SOURCES["support"])
    monkeypatch.setattr(recipes, "SOURCES", {"support": names})
    return tmp_path


def test_the_recipe_does_not_depend_on_where_its_sources_lie(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = recipe_hash("support")
    monkeypatch.undo()

    assert recipe_hash("support") == elsewhere


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("support_recipe.py", "epochs=3,", "epochs=1,"),
        ("support_recipe.py", "epochs=4,", "epochs=5,"),
        ("support_recipe.py", "return 2 * seed,", "return 3 * seed,"),
        ("support_recipe.py", "N_PREFERENCES = 4000", "N_PREFERENCES = 3999"),
        ("support_world.py", '"router"', '"switch"'),
        ("support_world.py", "0.4 * min(courtesy, 3)", "0.5 * min(courtesy, 3)"),
    ],
)
def test_another_setting_is_another_recipe(sources: Path, file: str, before: str, after: str) -> None:
    usual, path = recipe_hash("support"), sources / file
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1

    path.write_text(text.replace(before, after), encoding="utf-8")

    assert recipe_hash("support") != usual


@pytest.mark.parametrize("name", [Path(name).name for name in SOURCES["support"]])
def test_a_comment_a_docstring_and_the_layout_leave_the_recipe_as_it_is(sources: Path, name: str) -> None:
    usual, path = recipe_hash("support"), sources / name
    _, _, rest = path.read_text(encoding="utf-8").partition('"""\n')

    path.write_text(f'"""Other words."""\n# a remark\n\n\n{rest}\n"""A remark below."""\n', encoding="utf-8")

    assert recipe_hash("support") == usual


def test_only_what_does_nothing_is_left_out() -> None:
    source = '"""Says."""\nclass A:\n    """Says."""\n\n    x = 1  # why\n    """Says."""\ndef f():\n    """Says."""\n'

    assert statements_of(source) == "class A:\n    x = 1\n\ndef f():\n    pass"


def test_torch_is_part_of_the_recipe_and_the_kind_of_its_build_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashes = []
    for version in ("2.13.0+cpu", "2.13.0+cu126", "2.14.0"):
        monkeypatch.setattr(recipes, "version", lambda _, version=version: version)
        hashes.append(recipe_hash("support"))

    assert hashes[0] == hashes[1] != hashes[2]
    assert recipe_of("support") == f"models of recipe {hashes[2]}, fitted by torch 2.14.0"


def test_the_recipe_is_part_of_a_fingerprint_as_it_is_named() -> None:
    config = RunConfig.model_validate({"task": {"name": "support"}})

    assert check_user_files(config).hashes == {"task.name": recipe_of("support")}


def imports_of(file: str) -> set[str]:
    """The modules of ours that one imports, as files below the package."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    names = {
        f"{node.module}.{alias.name}" if node.module == "ppo_tune.tasks" else str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    ours = {name.removeprefix("ppo_tune.") for name in names if name.startswith("ppo_tune.")}
    return {f"{name.replace('.', '/')}.py" for name in ours}


def test_all_that_builds_is_part_of_the_recipe() -> None:
    """Of what the recipe imports nothing is left out but the rule by which prompts are split; nor of the fit."""
    recipe = "tasks/support_recipe.py"
    parts = {recipe, *(file for file in imports_of(recipe) if not file.startswith("data/"))}

    waiting = [*parts]
    while waiting:
        fits = {file for file in imports_of(waiting.pop()) if file.startswith("fitting/")}
        waiting += fits - parts
        parts |= fits

    assert {*SOURCES["support"]} == parts
