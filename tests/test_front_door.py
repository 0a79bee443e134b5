"""The public interface: the imports of a type checker say where each name is at home, and all else agrees with them."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ppo_tune

TREE = ast.parse(Path(ppo_tune.__file__).read_text(encoding="utf-8"))


def test_the_imports_of_a_type_checker_the_table_and_all_are_one_list() -> None:
    (block,) = (node for node in TREE.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert imported == ppo_tune._HOMES
    assert ppo_tune.__all__ == sorted(imported)


@pytest.mark.parametrize("name", ppo_tune.__all__)
def test_each_name_is_at_home_where_the_imports_say(name: str) -> None:
    home = importlib.import_module(ppo_tune._HOMES[name])

    assert getattr(ppo_tune, name) is getattr(home, name)
    assert getattr(home, name).__doc__


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ppo_tune' has no attribute 'nothing'"):
        ppo_tune.nothing  # noqa: B018


def test_the_front_door_loads_nothing_before_it_is_asked() -> None:
    code = "import ppo_tune, sys; print(*(name for name in sys.modules if name.startswith('ppo_tune.')))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
